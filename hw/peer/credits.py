"""The credits that a sender has for each receiver, kept as bit planes."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Credits"]


class Credits(wiring.Component):
    """One counter for each of ``lanes`` receivers, all from ``depth`` downwards.

    Members: ``spend`` In, ``back`` In: bit i takes one from, gives one to counter i; ``left`` Out, bit i: counter i is not zero.
    Contract: both may come in one cycle, of any lanes. ``spend[i]`` needs ``left[i]``; never more come back than were spent.
    """

    def __init__(self, lanes: int, depth: int):
        self.lanes, self.depth = lanes, depth
        super().__init__({"spend": In(lanes), "back": In(lanes), "left": Out(lanes)})

    def elaborate(self, platform):
        m = Module()
        bits = self.depth.bit_length()
        planes = [Signal(self.lanes, name=f"count_{bit}", init=(1 << self.lanes) - 1 if self.depth >> bit & 1 else 0)
                  for bit in range(bits)]
        up, down = self.back & ~self.spend, self.spend & ~self.back
        some = 0
        for plane in planes:
            some = some | plane
            m.d.sync += plane.eq(plane ^ up ^ down)
            up, down = up & plane, down & ~plane
        m.d.comb += self.left.eq(some)
        return m
