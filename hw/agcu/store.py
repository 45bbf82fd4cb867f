"""A store engine: a stream of vectors or words to writes."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.common.packet import vector_data, vector_packet
from hw.config import AGCUConfig

from .address import AddressWalk
from .layout import Access, store_layout

__all__ = ["StoreEngine"]


class StoreEngine(wiring.Component):
    """Makes writes of the vectors (access WORD: words) that arrive; neighbours that share a beat are combined.

    Members
    -------
    ``program`` In; ``execute`` In, pulse; ``active`` Out, writes are still to be issued, or tokens to be sent.
    ``vector`` In stream of packets; ``word`` In stream (access WORD); ``index`` In stream (indexed programs); ``may_go``,
    ``taken``: tokens, see :class:`AddressWalk`; ``finished`` Out, a buffer is complete in memory.
    ``want`` Out, a write waits; ``offset``, ``misaligned``, ``mask``, ``data`` Out, what it is; ``take`` In, it is issued in
    this cycle;
    ``pending`` In, writes of this engine are unanswered.
    ``starved`` Out, nothing has come; ``combined`` Out, an iteration needed no write of its own.

    Contract: one vector a cycle, aligned or not, if they follow one another; in order; what comes before ``execute`` waits. A
    beat that is covered in part waits for its rest until the next iteration is elsewhere, or a buffer that sends tokens ends,
    or the program ends. An engine that sends tokens stands still at the end of a buffer until its writes are answered.
    """

    def __init__(self, config: AGCUConfig):
        self.config = self.identity = config
        self.shift = (config.beat_bytes - 1).bit_length()
        self.piece = data.StructLayout({"beat": 32 - self.shift, "mask": config.beat_bytes, "data": vector_data(config.lanes)})
        super().__init__({
            "program": In(store_layout(config)), "execute": In(1), "active": Out(1),
            "vector": In(stream.Signature(vector_packet(config.lanes, config.sequence_bits))),
            "word": In(stream.Signature(32)), "index": In(stream.Signature(32)),
            "may_go": In(1), "taken": Out(1), "finished": Out(1),
            "want": Out(1), "offset": Out(32), "misaligned": Out(1), "mask": Out(config.beat_bytes),
            "data": Out(vector_data(config.lanes)), "take": In(1), "pending": In(1), "starved": Out(1), "combined": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.walk = walk = AddressWalk(self.config, store_layout(self.config))
        wiring.connect(m, wiring.flipped(self.index), walk.index)
        ending, is_word, arrived = Signal(), Signal(), Signal()
        held, held_valid, sent = Signal(self.piece), Signal(), Signal(self.piece)
        m.d.comb += [
            walk.program.eq(self.program), walk.execute.eq(self.execute), walk.may_go.eq(self.may_go), self.taken.eq(walk.taken),
            is_word.eq(self.program.access == Access.WORD),
            arrived.eq(walk.valid & ~ending & Mux(is_word, self.word.valid, self.vector.valid)),
            self.starved.eq(walk.valid & ~ending & ~Mux(is_word, self.word.valid, self.vector.valid)),
            self.vector.ready.eq(walk.take & ~is_word), self.word.ready.eq(walk.take & is_word),
            self.active.eq(walk.active | held_valid | ending),
        ]
        low, high_mask, bad = self._piece(m, walk, is_word)
        joined, elsewhere = self._join(m, low, bad, held, held_valid)
        # A beat that is complete goes out at once; so does one that is left behind.
        over, complete = high_mask.any(), Signal()
        m.d.comb += [
            complete.eq(over | joined.mask.all() | bad),
            self.want.eq(Mux(arrived, elsewhere | complete, held_valid & (held.mask.all() | ~walk.active | ending))),
            self.misaligned.eq(arrived & ~elsewhere & bad),
            walk.take.eq(arrived & Mux(elsewhere, self.take & ~over & ~bad, self.take | ~complete)),
            self.combined.eq(arrived & ~elsewhere & ~complete),
        ]
        send = Mux(arrived & ~elsewhere, joined.as_value(), held.as_value())
        m.d.comb += [
            sent.eq(send),
            self.mask.eq(sent.mask), self.data.eq(sent.data),
            self.offset.eq(Cat(Mux(self.misaligned, walk.offset[:self.shift], 0), sent.beat)),
        ]
        with m.If(arrived & elsewhere & self.take):
            m.d.sync += [held.eq(low), held_valid.eq(walk.take)]
        with m.Elif(arrived & ~elsewhere & complete & self.take):
            m.d.sync += [held.beat.eq(low.beat + 1), held.mask.eq(high_mask), held.data.eq(low.data), held_valid.eq(over)]
        with m.Elif(self.combined):
            m.d.sync += [held.eq(joined), held_valid.eq(1)]
        with m.Elif(self.take):
            m.d.sync += held_valid.eq(0)
        # The end of a buffer that sends tokens: everything out, then all answers, then the tokens.
        m.d.comb += self.finished.eq(ending & ~held_valid & ~self.pending)
        with m.If(self.finished):
            m.d.sync += ending.eq(0)
        with m.Elif(walk.take & walk.buffer_end & self.program.send_tokens.any()):
            m.d.sync += ending.eq(1)
        return m

    def _piece(self, m, walk, is_word):
        """The iteration's bytes in place. Returns (piece in the lower beat, mask of what reaches into the next beat,
        misaligned)."""
        beat_bytes, program = self.config.beat_bytes, self.program
        low, high_mask, bad = Signal(self.piece), Signal(beat_bytes), Signal()
        covered, tail = Signal(beat_bytes), Signal(self.shift)
        within = walk.offset[:self.shift]
        m.d.comb += [
            tail.eq(program.tail_bytes),
            covered.eq(Mux(is_word, 0b1111, Mux(walk.row_end & tail.any(), (1 << tail) - 1, -1))),
            Cat(low.mask, high_mask).eq(covered << within),
            low.beat.eq(walk.offset[self.shift:]),
            bad.eq(Mux(program.access == Access.VECTOR, within.any(), within[:2].any())),
        ]
        vector = self.vector.payload.data.as_value()
        with m.Switch(program.access):
            with m.Case(Access.WORD):
                m.d.comb += low.data.eq(self.word.payload.replicate(self.config.lanes))
            with m.Case(Access.UNALIGNED):
                back = Signal(self.shift - 2)             # a rotation up by n words is one down by -n
                m.d.comb += [back.eq(-within[2:]), low.data.eq(Cat(vector, vector) >> Cat(Signal(5), back))]
            with m.Default():
                m.d.comb += low.data.eq(vector)
        return low, high_mask, bad

    def _join(self, m, low, bad, held, held_valid):
        """The beat kept from before together with the new piece. Returns (that beat, the piece lies elsewhere)."""
        joined, elsewhere = Signal(self.piece), Signal()
        # A word is never shared by two pieces that do not overlap: pieces begin at words. What overlaps is written in order.
        m.d.comb += [
            elsewhere.eq(held_valid & ((held.beat != low.beat) | (held.mask & low.mask).any() | bad)),
            joined.eq(low),
        ]
        with m.If(held_valid):
            m.d.comb += joined.mask.eq(low.mask | held.mask)
            for lane in range(self.config.lanes):
                with m.If(held.mask.word_select(lane, 4).any()):
                    m.d.comb += joined.data[lane].eq(held.data[lane])
        return joined, elsewhere
