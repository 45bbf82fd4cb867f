"""The address generation and coalescing unit: streams of the tile to and from memory."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.common.packet import FaultCause, MemoryPort, fault_layout
from hw.common.unit import DataflowUnit
from hw.config import AGCUConfig
from hw.hierarchy import instantiate
from hw.pmu.tokens import TokenCounters
from hw.tln.arbiter import RoundRobin

from .answers import Answers
from .layout import Access, agcu_layout
from .load import LoadEngine
from .store import StoreEngine
from .translate import Translate

__all__ = ["AGCU", "EVENTS"]

EVENTS = ["busy", "starved", "back_pressured", "packets_in", "packets_out", "beats_read", "beats_written", "coalesced",
          "memory_stall", "slot_stall"]


class AGCU(DataflowUnit):
    """Load and store engines between a tile and the TLN.

    Members (beyond those of a dataflow unit)
    -----------------------------------------
    ``memory`` Out(MemoryPort). ``fault`` Out(fault_layout()): the first fault since reset. ``quiesce`` In: no engine issues a
    request while it is up (it may be taken back). ``drained`` Out: no request is waiting or outstanding.

    Load engine e emits to ``vector_out[e]``, store engine e takes from ``vector_in[e]``.

    Contract
    --------
    One request a cycle, engines round robin; one beat a cycle delivered, engines round robin; up to ``outstanding`` reads and
    as many writes under way, answers in any order, results in program order. ``execute`` to the first ``memory.request`` is 3
    cycles; a response to its vector 2 cycles. Engines are independent: one whose output is blocked keeps its own slots only.
    ``busy`` falls when every load is delivered and every write answered. After a fault nothing more is issued, answers are
    still taken, ``busy`` stays up until reset. Reset is safe while ``drained``.
    Source: SN40L paper IV.D (AGCU: translation between the tile and the TLN, coalescing); faults and segments are this project's.
    """

    def __init__(self, config: AGCUConfig):
        super().__init__(
            config=config, program=agcu_layout(config), events=EVENTS, vector_inputs=config.store_engines,
            vector_outputs=config.load_engines, scalar_inputs=config.scalar_inputs, scalar_outputs=config.scalar_outputs,
            extra={
                "memory": Out(MemoryPort(beat_bytes=config.beat_bytes, tag_bits=config.tag_bits)),
                "fault": Out(fault_layout()), "quiesce": In(1), "drained": Out(1),
            })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        loads = [LoadEngine(config) for _ in range(config.load_engines)]
        stores = [StoreEngine(config) for _ in range(config.store_engines)]
        for kind, engines in (("load", loads), ("store", stores)):
            for number, engine in enumerate(engines):
                m.submodules[f"{kind}{number}"] = instantiate(platform, engine)
                m.d.comb += [engine.program.eq(self.program[f"{kind}{number}"]), engine.execute.eq(self.execute)]
        m.submodules.translate = translate = Translate(config)
        m.submodules.answers = answers = Answers(config)
        self._issue(m, loads, stores, translate, answers)
        self._return(m, loads, answers)
        self._streams(m, loads, stores)
        self._scalars(m, loads, stores)
        self._tokens(m, loads, stores, answers)
        self._faults(m, translate, answers)
        self._status(m, [*loads, *stores], translate, answers)
        return m

    def _issue(self, m, loads, stores, translate, answers) -> None:
        """One request a cycle, of any engine, to the segment table."""
        engines = [*loads, *stores]
        m.submodules.issue = arbiter = RoundRobin(len(engines))
        go = Signal()
        granted = Signal(len(engines))
        wants = Cat(*(load.want for load in loads), *(store.want & answers.write_ready for store in stores))
        m.d.comb += [
            go.eq(translate.i.ready & ~self.quiesce & ~self.fault.valid),
            arbiter.requests.eq(wants), arbiter.advance.eq(go),
            translate.segments.eq(self.program.segments), translate.blocked.eq(self.fault.valid),
            translate.i.valid.eq(granted.any()),
        ]
        with m.If(go):
            m.d.comb += granted.eq(arbiter.grant)
        connect(m, translate.o, flipped(self.memory.request))
        request = translate.i.payload
        for number, engine in enumerate(engines):
            is_store = number >= len(loads)
            m.d.comb += engine.take.eq(granted[number])
            with m.If(granted[number]):
                program = self.program[f"store{number - len(loads)}" if is_store else f"load{number}"]
                m.d.comb += [
                    request.segment.eq(program.segment), request.offset.eq(engine.offset),
                    request.misaligned.eq(engine.misaligned), request.write.eq(is_store), request.engine.eq(number),
                    request.tag.eq(answers.write_tag if is_store else engine.slot),
                ]
                if is_store:
                    m.d.comb += [request.mask.eq(engine.mask), request.data.eq(engine.data),
                                 answers.writing.eq(1 << (number - len(loads)))]
        m.d.comb += [
            answers.issue.eq(granted.any()), answers.issue_tag.eq(request.tag), answers.issue_segment.eq(request.segment),
            answers.issue_offset.eq(request.offset),
        ]

    def _return(self, m, loads, answers) -> None:
        """One beat a cycle from the reorder buffer to a load engine that needs it."""
        connect(m, flipped(self.memory.response), answers.response)
        m.submodules.deliver = arbiter = RoundRobin(len(loads))
        enabled = [self.program[f"load{number}"].enable for number in range(len(loads))]
        m.d.comb += [
            arbiter.requests.eq(Cat(load.wants_beat & answers.present.bit_select(load.fetch_slot, 1) for load in loads)),
            arbiter.advance.eq(1),
        ]
        for number, load in enumerate(loads):
            m.d.comb += [
                load.index.eq(number), load.alone.eq(~Cat(enabled[:number] + enabled[number + 1:]).any()),
                load.beat.eq(answers.beat), load.fetch.eq(arbiter.grant[number]),
            ]
            with m.If(arbiter.grant[number]):
                m.d.comb += [answers.fetch_slot.eq(load.fetch_slot), answers.fetch.eq(1 << load.fetch_slot)]

    def _streams(self, m, loads, stores) -> None:
        """Engines to the ports of the unit."""
        for load, vector in zip(loads, self.vector_out, strict=True):
            connect(m, load.vector, flipped(vector))
        for store, vector in zip(stores, self.vector_in, strict=True):
            connect(m, flipped(vector), store.vector)
        for number, scalar in enumerate(self.scalar_out):
            chosen = Cat(load.word.valid & (self.program[f"load{index}"].scalar_output == number)
                         for index, load in enumerate(loads))
            m.d.comb += scalar.valid.eq(chosen.any())
            for index, load in enumerate(loads):
                with m.If(chosen[index]):
                    m.d.comb += [scalar.payload.eq(load.word.payload), load.word.ready.eq(scalar.ready)]

    def _scalars(self, m, loads, stores) -> None:
        """Scalar inputs to the engine that its program says: as indices, or as words to store."""
        readers = [(self.program[f"load{number}"], load.word_index) for number, load in enumerate(loads)]
        readers += [(self.program[f"store{number}"], store.index) for number, store in enumerate(stores)]
        readers = [(program.indexed, program.index_input, stream) for program, stream in readers]
        for number, store in enumerate(stores):
            program = self.program[f"store{number}"]
            readers.append((program.access == Access.WORD, program.scalar_input, store.word))
        for used, number, stream in readers:
            for index, scalar in enumerate(self.scalar_in):
                with m.If(used & (number == index)):
                    m.d.comb += [stream.valid.eq(scalar.valid), stream.payload.eq(scalar.payload.data)]
                    with m.If(stream.ready):
                        m.d.comb += scalar.ready.eq(1)

    def _tokens(self, m, loads, stores, answers) -> None:
        engines = [*loads, *stores]
        names = [f"load{number}" for number in range(len(loads))] + [f"store{number}" for number in range(len(stores))]
        m.submodules.tokens = tokens = TokenCounters(len(engines), self.config.control_wires)
        m.d.comb += [tokens.arrived.eq(self.control_in), self.control_out.eq(tokens.sent)]
        for number, (name, engine) in enumerate(zip(names, engines, strict=True)):
            m.d.comb += [
                tokens.wait[number].eq(self.program[name].wait_tokens), tokens.send[number].eq(self.program[name].send_tokens),
                engine.may_go.eq(tokens.may_go[number]), tokens.taken[number].eq(engine.taken),
                tokens.finished[number].eq(engine.finished),
            ]
        m.d.comb += [store.pending.eq(answers.pending[number]) for number, store in enumerate(stores)]

    def _faults(self, m, translate, answers) -> None:
        """Keeps the first fault. An answer is older than a request that is only now being checked."""
        for source in (translate, answers):
            with m.If((source.cause != FaultCause.NONE) & ~self.fault.valid):
                m.d.sync += [self.fault.valid.eq(1), self.fault.cause.eq(source.cause), self.fault.segment.eq(source.segment),
                             self.fault.offset.eq(source.offset)]

    def _status(self, m, engines, translate, answers) -> None:
        outstanding = Signal(range(2 * self.config.outstanding + 1))
        request = self.memory.request
        issued = request.valid & request.ready
        m.d.sync += outstanding.eq(outstanding + issued - answers.answered)
        m.d.comb += [
            self.drained.eq(translate.idle & (outstanding == 0)),
            self.busy.eq(Cat(engine.active for engine in engines).any() | ~self.drained | self.fault.valid),
        ]
        loads = [engine for engine in engines if isinstance(engine, LoadEngine)]
        stores = [engine for engine in engines if isinstance(engine, StoreEngine)]
        m.d.comb += [
            self.events.busy.eq(self.busy),
            self.events.starved.eq(Cat(store.starved for store in stores).any()),
            self.events.back_pressured.eq(Cat(vector.valid & ~vector.ready for vector in self.vector_out).any()),
            self.events.packets_in.eq(Cat(stream.valid & stream.ready for stream in (*self.vector_in, *self.scalar_in)).any()),
            self.events.packets_out.eq(Cat(vector.valid & vector.ready for vector in self.vector_out).any()),
            self.events.beats_read.eq(issued & ~request.payload.write),
            self.events.beats_written.eq(issued & request.payload.write),
            self.events.coalesced.eq(Cat(*(load.coalesced for load in loads), *(store.combined for store in stores)).any()),
            self.events.memory_stall.eq(request.valid & ~request.ready),
            self.events.slot_stall.eq(Cat(load.out_of_slots for load in loads).any()),
        ]
