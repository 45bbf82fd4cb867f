"""A delay of many bits by a few cycles."""

import itertools

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Delay"]


class Delay(wiring.Component):
    """``o`` is what was on ``i`` ``cycles`` cycles ago.

    Parameters: ``shape`` of the data, ``cycles`` >= 1.
    Contract: no stall; zero for the first ``cycles`` cycles. A shift register, not a ring with a pointer: while ``i`` stands still
    nothing in it moves, which lets a simulator leave an idle unit out (docs/decisions/0003).
    """

    def __init__(self, shape, cycles: int):
        self.shape, self.cycles = shape, cycles
        if cycles < 1:
            raise ValueError(f"cycles={cycles} must be at least 1")
        super().__init__({"i": In(shape), "o": Out(shape)})

    def elaborate(self, platform):
        m = Module()
        stages = [Signal(self.shape, name=f"stage_{cycle}") for cycle in range(self.cycles)]
        for before, after in itertools.pairwise([self.i, *stages]):
            m.d.sync += after.eq(before)
        m.d.comb += self.o.eq(stages[-1])
        return m
