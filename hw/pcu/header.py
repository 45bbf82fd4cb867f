"""The header: input streams, the counter chain, unpacking, and the decision to issue an iteration."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.common.counter import CounterChain
from hw.common.packet import scalar_packet, vector_data, vector_packet
from hw.config import PCUConfig

from .bundle import context_layout, step_layout
from .layout import SLOTS, Mode, levels, pcu_layout
from .storage import unpack, unpack_bytes
from .systolic import StepControl

__all__ = ["Header"]


class Header(wiring.Component):
    """Issues iterations (SIMD) or steps (systolic) into stage 0.

    Parameters: ``config``.
    Members
    -------
    ``program`` In; ``start`` In, pulse; ``active`` Out, there are iterations left.
    ``vector_in``, ``scalar_in`` In, the unit's streams; in systolic mode only vector input 0 (weights) is taken here.
    ``room`` In, the output FIFO can take one more vector; ``reserve`` Out, the issued iteration will make one.
    ``half_ready``, ``sums_ready`` In, systolic: the half of the broadcast buffer is filled, the tile's accumulators (and the
    scales of its weights) are ready; ``open_tile``, ``close_tile``, ``issue_step``, ``release_half`` Out, pulses; ``block`` Out, the
    feature block of the step issued now.
    ``valid``, ``slots``, ``context`` Out, the iteration that enters stage 0; ``step`` Out, the systolic step (its weight
    vector is slot 0).
    ``starved`` Out, an input is missing; ``full`` Out, all inputs are there but not the room.

    Contract
    --------
    One iteration a cycle when all used inputs have data. An input of level l is popped by the iteration in which the counters
    below l are all on their last iteration; until then its head is used again. Of a packed vector input of level l, an
    iteration uses the half that counter l's lowest bit says (of an INT8 one the quarter of its lowest two bits), and the vector is
    popped with its last part or at the end of that loop. The unit's reset value of a level, 0, means: every iteration.
    """

    def __init__(self, config: PCUConfig):
        self.config = config
        super().__init__({
            "program": In(pcu_layout(config)),
            "start": In(1),
            "active": Out(1),
            "vector_in": In(stream.Signature(vector_packet(config.lanes, config.sequence_bits))).array(config.vector_inputs),
            "scalar_in": In(stream.Signature(scalar_packet(config.sequence_bits))).array(config.scalar_inputs),
            "room": In(1), "reserve": Out(1),
            "half_ready": In(1), "sums_ready": In(1),
            "open_tile": Out(1), "close_tile": Out(1), "issue_step": Out(1), "issue_iteration": Out(1), "release_half": Out(1),
            "block": Out(range(config.accumulators)),
            "valid": Out(1),
            "slots": Out(data.ArrayLayout(vector_data(config.lanes), SLOTS)),
            "context": Out(context_layout(config)),
            "step": Out(step_layout(config)),
            "starved": Out(1), "full": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.chain = chain = CounterChain(levels(self.config), self.config.counter_bits)
        m.submodules.steps = steps = StepControl(self.config)
        simd, missing, allowed, issue = Signal(), Signal(), Signal(), Signal()
        produces = Signal()
        m.d.comb += [
            simd.eq(self.program.mode == Mode.SIMD),
            chain.bounds.eq(self.program.bounds), chain.start.eq(self.start), chain.advance.eq(issue),
            self.active.eq(chain.active),
            allowed.eq(Mux(simd, self.room | ~produces, self.half_ready & (self.sums_ready | ~chain.first[3]))),
            issue.eq(chain.active & ~missing & allowed),
            self.starved.eq(chain.active & (missing | (~simd & ~self.half_ready))),
            self.full.eq(chain.active & ~self.starved & ~allowed),
        ]
        m.d.comb += missing.eq(self._inputs(m, chain, issue))
        self._context(m, chain, produces, issue & simd)
        m.d.comb += [
            self.reserve.eq(issue & simd & produces),
            steps.program.eq(self.program), steps.index.eq(chain.index), steps.last.eq(chain.last),
            steps.issue.eq(issue & ~simd), steps.start.eq(self.start),
            self.issue_iteration.eq(issue & simd), self.issue_step.eq(issue & ~simd),
            self.open_tile.eq(issue & ~simd & chain.first[3]), self.close_tile.eq(issue & ~simd & chain.last[3]),
            self.block.eq(chain.index[1]),
            self.release_half.eq(issue & ~simd & steps.release),
            self.step.eq(steps.step),
        ]
        m.d.sync += self.valid.eq(issue & simd)
        return m

    def _below_last(self, chain, level):
        """The counters below ``level`` are all on their last iteration."""
        return (Cat(Const(1, 1), chain.last) >> level)[0]

    def _inputs(self, m, chain, issue):
        """Pop and unpack every input; returns whether one that the program uses is missing."""
        parity, second = Cat(index[0] for index in chain.index), Cat(index[1] for index in chain.index)
        missing = []
        for number, port in enumerate([*self.vector_in, *self.scalar_in]):
            vector = number < len(self.vector_in)
            fields = self.program.vector_input[number] if vector else self.program.scalar_input[number - len(self.vector_in)]
            # In systolic mode inputs 1 and up belong to the broadcast buffer and the accumulators.
            used = fields.used & ((self.program.mode == Mode.SIMD) | (number == 0))
            half, pop, quarter = Signal(name=f"half_{number}"), Signal(name=f"pop_{number}"), Signal(name=f"quarter_{number}")
            m.d.comb += [
                half.eq((parity >> fields.level)[0]), quarter.eq((second >> fields.level)[0]),
                pop.eq(self._below_last(chain, fields.level)
                       & (Mux(fields.int8, half & quarter, ~fields.packed | half) | (chain.at_end >> fields.level)[0])),
                port.ready.eq(used & issue & pop),
            ]
            missing.append(used & ~port.valid)
            if vector and number < SLOTS:
                payload = port.payload.data
                with m.If(fields.int8):
                    m.d.sync += self.slots[number].eq(unpack_bytes(payload, self.config.lanes, Cat(half, quarter)))
                with m.Elif(fields.packed):
                    m.d.sync += self.slots[number].eq(unpack(payload, self.config.lanes, half))
                with m.Else():
                    m.d.sync += self.slots[number].eq(payload)
        return Cat(missing).any()

    def _context(self, m, chain, produces, issue):
        """What travels with the iteration, and whether it makes an output."""
        program, lanes = self.program, self.config.lanes
        element = Signal(self.config.counter_bits)
        begins, ends = self._accumulation(m, chain, issue)
        pairs = Mux(program.accumulate_used, 0, program.produce)        # the loop whose neighbours share a packed vector
        last = Mux(program.accumulate_used, ends, self._below_last(chain, program.produce))
        flush, mask = Signal(), Signal(lanes)
        place = (lanes - 1).bit_length()
        half = (Cat(index[0] for index in chain.index) >> pairs)[0]
        m.d.comb += [
            produces.eq(last & flush),
            flush.eq(~program.output_packed | half | (chain.at_end >> pairs)[0]),
            element.eq(Value.cast(chain.index).word_select(program.mask_level, self.config.counter_bits)),
        ]
        with m.If(~program.mask_used):
            m.d.comb += mask.eq(~0)
        with m.Else():
            m.d.comb += mask.eq(Cat(
                Cat(Const(lane, place), element) < program.mask_bound for lane in range(lanes)))
        context = self.context
        below_first = (Cat(Const(1, 1), chain.first) >> program.produce)[0]
        m.d.sync += [
            context.scalars.eq(Cat(port.payload.data for port in self.scalar_in)),
            context.counters.eq(chain.index), context.element.eq(element),
            context.first.eq(below_first), context.last.eq(last),
            context.accumulate.eq(issue & program.accumulate_used), context.zero.eq(begins),
            context.packet.half.eq(half & program.output_packed), context.packet.flush.eq(flush), context.packet.mask.eq(mask),
        ]

    def _accumulation(self, m, chain, issue):
        """Counts the sums below the accumulating loops; returns whether those loops begin and end with this iteration."""
        program, count = self.program, levels(self.config)
        number, following = Signal(range(self.config.accumulators)), Signal(range(self.config.accumulators))
        inner, loops = Signal(count), Signal(count)        # one bit per loop: below the accumulating ones; these
        m.d.comb += [
            inner.eq(~(Const(-1, count) << program.accumulate)),
            loops.eq(~(Const(-1, count) << program.produce) & ~inner),
            following.eq(Mux((chain.at_end | ~inner).all(), 0, number + 1)),
        ]
        with m.If(self.start):
            m.d.sync += number.eq(0)
        with m.Elif(issue):
            m.d.sync += number.eq(following)
        m.d.sync += self.context.sum.eq(number)
        at_zero = Cat(index == 0 for index in chain.index)
        return (at_zero | ~loops).all(), (chain.at_end | ~loops).all()
