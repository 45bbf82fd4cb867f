"""A load engine: which beats a stream of vectors or words needs, and how they become that stream."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.common.packet import vector_data
from hw.config import AGCUConfig

from .address import AddressWalk
from .layout import Access, load_layout

__all__ = ["LoadEngine"]


class LoadEngine(wiring.Component):
    """Requests beats in the order of its program and delivers vectors (or words) in that order.

    Members
    -------
    ``program`` In; ``execute`` In, pulse; ``active`` Out, it has work or holds a result; ``index`` In, this engine's number;
    ``alone`` In, no other load engine is in use: this one has all slots of the reorder buffer instead of its share.
    ``word_index`` In stream, indices of indexed programs; ``may_go`` In, ``taken`` Out: tokens, see :class:`AddressWalk`;
    ``finished`` Out, the last vector of a buffer leaves the reorder buffer: its memory may be overwritten.
    ``want`` Out, a request waits; ``offset`` Out, its virtual byte address; ``misaligned`` Out, that address is not allowed;
    ``slot`` Out, where its beat will be kept; ``take`` In, it is issued in this cycle.
    ``wants_beat`` Out, the beat in ``fetch_slot`` Out is needed now; ``fetch`` In, it is there and is given as ``beat`` In.
    ``vector`` Out stream, ``word`` Out stream (access WORD); ``coalesced`` Out, an iteration needed no beat of its own;
    ``out_of_slots`` Out, a request waits for a slot.

    Contract: one iteration a cycle, for unaligned vectors too if they follow one another. A request is only made when a slot is
    free for it. A beat that the iteration before has fetched is not fetched again. The engine takes beats in the order of its
    requests.
    """

    def __init__(self, config: AGCUConfig):
        self.config = self.identity = config
        self.slot_bits = (config.outstanding - 1).bit_length()
        self.word_bits = (config.lanes - 1).bit_length()
        super().__init__({
            "program": In(load_layout(config)), "execute": In(1), "active": Out(1),
            "index": In(range(max(2, config.load_engines))),
            "alone": In(1), "word_index": In(stream.Signature(32)), "may_go": In(1), "taken": Out(1), "finished": Out(1),
            "want": Out(1), "offset": Out(32), "misaligned": Out(1), "slot": Out(self.slot_bits), "take": In(1),
            "wants_beat": Out(1), "fetch_slot": Out(self.slot_bits), "fetch": In(1), "beat": In(vector_data(config.lanes)),
            "vector": Out(stream.Signature(vector_data(config.lanes))), "word": Out(stream.Signature(32)), "coalesced": Out(1),
            "out_of_slots": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        # One entry per step of the delivery: take the next beat or not, emit a result or not, and from where in the beats.
        step = data.StructLayout({"fetch": 1, "emit": 1, "pair": 1, "end": 1, "word": self.word_bits})
        m.submodules.steps = steps = Memory(shape=step, depth=self.config.outstanding, init=[])
        pushed, popped = Signal(self.slot_bits + 1), Signal(self.slot_bits + 1)
        write, read = steps.write_port(), steps.read_port(domain="comb")
        full = Signal()
        m.d.comb += [
            full.eq(pushed == popped ^ self.config.outstanding),
            write.addr.eq(pushed), read.addr.eq(popped),
            self.active.eq((pushed != popped) | self.vector.valid | self.word.valid),
        ]
        push, entry = self._plan(m, full)
        m.d.comb += [write.en.eq(push), write.data.eq(entry)]
        pop = self._deliver(m, read.data, pushed != popped)
        m.d.sync += [pushed.eq(pushed + push), popped.eq(popped + pop)]
        return m

    def _plan(self, m, full):
        """Walks the iterations and decides which beats each needs. Returns (push, entry) for the delivery."""
        shift = self.word_bits + 2
        program = self.program
        m.submodules.walk = walk = AddressWalk(self.config, load_layout(self.config))
        wiring.connect(m, wiring.flipped(self.word_index), walk.index)
        m.d.comb += [walk.program.eq(program), walk.execute.eq(self.execute), walk.may_go.eq(self.may_go),
                     self.taken.eq(walk.taken)]
        with m.If(walk.active):
            m.d.comb += self.active.eq(1)
        # The beat requested last, and whether the one before it was its lower neighbour: both can still be delivered from.
        last, last_valid, neighbours = Signal(32 - shift), Signal(), Signal()
        low, pair, have_low, have_all = Signal(32 - shift), Signal(), Signal(), Signal()
        m.d.comb += [
            low.eq(walk.offset[shift:]),
            pair.eq((program.access == Access.UNALIGNED) & walk.offset[:shift].any()),
            self.misaligned.eq(Mux(program.access == Access.VECTOR, walk.offset[:shift].any(), walk.offset[:2].any())),
            have_low.eq(last_valid & (last == low)),
            have_all.eq((program.access == Access.FILL)
                        | (~self.misaligned & Mux(pair, last_valid & neighbours & (last == low + 1), have_low))),
        ]
        upper = pair & have_low & ~self.misaligned
        beat = Signal(32 - shift)
        room = self._slots(m)
        m.d.comb += [
            beat.eq(low + upper),
            self.offset.eq(Cat(Mux(self.misaligned, walk.offset[:shift], 0), beat)),
            self.want.eq(walk.valid & ~have_all & ~full & room),
            self.coalesced.eq(walk.valid & have_all & ~full),
            self.out_of_slots.eq(walk.valid & ~have_all & ~(room & ~full)),
        ]
        emit = ~pair | have_low | have_all
        m.d.comb += walk.take.eq((self.take | self.coalesced) & emit)
        with m.If(self.execute):
            m.d.sync += last_valid.eq(0)
        with m.Elif(self.take):
            m.d.sync += [last.eq(beat), last_valid.eq(1), neighbours.eq(last_valid & (beat == last + 1))]
        return self.take | self.coalesced, Cat(self.take, emit, pair, walk.buffer_end & emit, walk.offset[2:shift])

    def _slots(self, m):
        """Slots of the reorder buffer, used in a ring: a share of it, or all of it. Returns whether one is free."""
        head, tail = Signal(self.slot_bits + 1), Signal(self.slot_bits + 1)
        share_bits = (self.config.outstanding // self.config.load_engines).bit_length() - 1
        share = 1 << share_bits
        for slot, pointer in ((self.slot, tail), (self.fetch_slot, head)):
            m.d.comb += slot.eq(Mux(self.alone, pointer, Cat(pointer[:share_bits], self.index)))
        m.d.sync += [tail.eq(tail + self.take), head.eq(head + self.fetch)]
        used = (tail - head)[:self.slot_bits + 1]
        return used != Mux(self.alone, self.config.outstanding, share)

    def _deliver(self, m, step, waiting):
        """Steps through the planned entries. Returns that one is done."""
        newer, older = Signal.like(self.beat), Signal.like(self.beat)
        is_word = self.program.access == Access.WORD
        free = Mux(is_word, ~self.word.valid | self.word.ready, ~self.vector.valid | self.vector.ready)
        can = Signal()
        done = Signal()
        m.d.comb += [
            can.eq(waiting & (~step.emit | free)),
            self.wants_beat.eq(can & step.fetch),
            done.eq(can & (~step.fetch | self.fetch)),
            self.finished.eq(done & step.end),
        ]
        for out in (self.vector, self.word):
            with m.If(out.ready):
                m.d.sync += out.valid.eq(0)
        result = Signal.like(self.beat)
        m.d.comb += result.eq(newer)
        with m.If(step.fetch):
            m.d.comb += result.eq(self.beat)
        with m.If(done):
            with m.If(step.fetch):
                m.d.sync += [newer.eq(self.beat), older.eq(newer)]
            with m.If(step.emit & is_word):
                m.d.sync += [self.word.valid.eq(1), self.word.payload.eq(result.as_value().word_select(step.word, 32))]
            with m.Elif(step.emit):
                m.d.sync += [self.vector.valid.eq(1), self.vector.payload.eq(result)]
                with m.If(step.pair):
                    below = Mux(step.fetch, newer.as_value(), older.as_value())
                    m.d.sync += self.vector.payload.eq(Cat(below, result) >> Cat(Signal(5), step.word))
        with m.If(self.execute & (self.program.access == Access.FILL)):
            m.d.sync += newer.eq(Cat(self.program.base for _ in range(self.config.lanes)))
        return done
