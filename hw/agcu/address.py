"""The addresses of an engine, one iteration after the other."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.common.counter import AffineAddress, CounterChain
from hw.config import AGCUConfig

__all__ = ["AddressWalk"]


class AddressWalk(wiring.Component):
    """Counter chain, address, indices and tokens of a load or store engine.

    Members
    -------
    ``program`` In; ``execute`` In, pulse; ``active`` Out, iterations are left.
    ``index`` In stream of words, for indexed programs. ``may_go`` In, the tokens the program waits for are there; ``taken``
    Out, they are taken in this cycle.
    ``valid`` Out, there is an iteration; ``offset`` Out, its byte address within the segment; ``row_end`` Out, it is the last
    one of level 0; ``buffer_end`` Out, it is the last one of a buffer; ``take`` In, it is done.

    Contract: one iteration a cycle, also when every iteration takes an index; one more cycle at the beginning of a buffer that
    waits for tokens. ``valid`` one cycle after ``execute``. An index is taken only for an iteration that exists.
    """

    def __init__(self, config: AGCUConfig, layout):
        self.config = config
        super().__init__({
            "program": In(layout), "execute": In(1), "active": Out(1), "index": In(stream.Signature(32)), "may_go": In(1),
            "taken": Out(1), "valid": Out(1), "offset": Out(32), "row_end": Out(1), "buffer_end": Out(1), "take": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, program = self.config, self.program
        m.submodules.chain = chain = CounterChain(config.counter_levels, config.counter_bits)
        m.submodules.affine = affine = AffineAddress(config.counter_levels, 32)
        start = Signal()
        m.d.comb += [
            start.eq(self.execute & program.enable),
            chain.bounds.eq(program.bounds), chain.start.eq(start), chain.advance.eq(self.take),
            affine.base.eq(program.base), affine.strides.eq(program.strides), affine.start.eq(start),
            affine.advance.eq(self.take), affine.last.eq(chain.last),
            self.active.eq(chain.active), self.row_end.eq(chain.last[0]),
            self.buffer_end.eq(Cat(1, chain.last).bit_select(program.handover, 1)),
        ]
        indexed, moved = self._index(m, chain)
        entered = self._tokens(m)
        m.d.comb += [
            self.valid.eq(chain.active & indexed & entered),
            self.offset.eq(affine.address + moved),
        ]
        return m

    def _index(self, m, chain):
        """Takes a word for every run of the inner loops. Returns (there is one, the distance it stands for)."""
        program = self.program
        held, distance, run_end = Signal(), Signal(32), Signal()
        m.d.comb += [
            run_end.eq(Cat(1, chain.last).bit_select(program.index_level, 1)),
            self.index.ready.eq(chain.active & program.indexed & (~held | (self.take & run_end & ~chain.last[-1]))),
        ]
        with m.If(self.execute | (self.take & run_end)):
            m.d.sync += held.eq(0)
        with m.If(self.index.ready & self.index.valid):
            m.d.sync += [held.eq(1), distance.eq((self.index.payload * program.index_stride)[:32])]
        return held | ~program.indexed, Mux(program.indexed, distance, 0)

    def _tokens(self, m):
        """Takes the tokens of every buffer before its first iteration. Returns that they have been taken."""
        waits, entered = Signal(), Signal()
        m.d.comb += [
            waits.eq(self.program.wait_tokens.any()),
            self.taken.eq(self.active & waits & ~entered & self.may_go),
        ]
        with m.If(self.execute | (self.take & self.buffer_end)):
            m.d.sync += entered.eq(0)
        with m.Elif(self.taken):
            m.d.sync += entered.eq(1)
        return entered | ~waits
