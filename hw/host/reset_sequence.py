"""How a tile is reset without losing a memory response."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RESET_CYCLES", "SETTLE_CYCLES", "ResetSequence"]

SETTLE_CYCLES = 8       # from quiesce until drained is believed
RESET_CYCLES = 8        # length of the tile's reset


class ResetSequence(wiring.Component):
    """Quiesce, drain, reset.

    Members: ``request`` In, pulse; ``drained`` In, nothing is outstanding (looked at from SETTLE_CYCLES after ``quiesce``);
    ``quiesce`` Out, from the request until the reset is over; ``tile_reset`` Out; ``active`` Out; ``done`` Out, pulse.
    Contract: the memory answers every request, so the sequence ends; a further request while it is active is the same one.
    """

    def __init__(self):
        super().__init__({"request": In(1), "drained": In(1), "quiesce": Out(1), "tile_reset": Out(1), "active": Out(1),
                          "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        timer = Signal(range(max(SETTLE_CYCLES, RESET_CYCLES) + 1))
        m.d.comb += self.quiesce.eq(self.active)
        m.d.sync += self.done.eq(0)
        with m.If(~self.active):
            m.d.sync += [self.active.eq(self.request), timer.eq(SETTLE_CYCLES)]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(self.tile_reset):
            m.d.sync += [self.tile_reset.eq(0), self.active.eq(0), self.done.eq(1)]
        with m.Elif(self.drained):
            m.d.sync += [self.tile_reset.eq(1), timer.eq(RESET_CYCLES - 1)]
        return m
