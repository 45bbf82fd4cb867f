"""The addresses of an engine, one iteration after the other."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.common.counter import AffineAddress, CounterChain
from hw.config import AGCUConfig

__all__ = ["AddressWalk"]


class AddressWalk(wiring.Component):
    """Counter chain and address of a load or store engine.

    Members: ``program`` In; ``execute`` In; ``scalar`` In stream, indices; ``valid`` Out, there is an iteration; ``offset`` Out, its
    byte address within the segment; ``level0_last`` Out, it is the last one of level 0; ``take`` In, the iteration is done.
    Contract: one iteration a cycle; ``valid`` two cycles after ``execute`` at the earliest and only if the program is enabled.
    """

    def __init__(self, config: AGCUConfig, layout):
        self.config = config
        super().__init__({
            "program": In(layout), "execute": In(1), "scalar": In(stream.Signature(32)),
            "valid": Out(1), "offset": Out(32), "level0_last": Out(1), "take": In(1),
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
            self.valid.eq(chain.active), self.offset.eq(affine.address), self.level0_last.eq(chain.last[0]),
        ]
        return m
