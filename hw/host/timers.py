"""Which groups run a kernel, for how long, and when one has finished."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BUSY_LATENCY", "KernelTimers"]

BUSY_LATENCY = 8        # cycles after execute within which a tile must show busy


class KernelTimers(wiring.Component):
    """Follows the kernel of each group from Execute until no unit of the group is busy.

    Parameters: ``groups``.
    Members: ``start`` In, bit per group; ``busy`` In, from the tile; ``clear`` In: forget all kernels (the tile is reset);
    ``running`` Out; ``done`` Out, pulse per group; ``cycles[g]`` Out, from ``start`` to finished, of the last kernel;
    ``count[g]`` Out, kernels finished; ``total[g]`` Out, cycles in which a kernel ran, of all of them.
    Contract: ``running`` follows ``start`` by one cycle. ``busy`` is ignored during the first ``BUSY_LATENCY`` cycles: a kernel
    counts as at least that long, and one without units ends then.
    """

    def __init__(self, groups: int):
        self.groups = groups
        numbers = data.ArrayLayout(unsigned(32), groups)
        super().__init__({
            "start": In(groups), "busy": In(groups), "clear": In(1),
            "running": Out(groups), "done": Out(groups), "cycles": Out(numbers), "count": Out(numbers),
            "total": Out(numbers),
        })

    def elaborate(self, platform):
        m = Module()
        young = [Signal(BUSY_LATENCY, name=f"young_{group}") for group in range(self.groups)]
        ended = Signal(self.groups)
        for group in range(self.groups):
            m.d.comb += ended[group].eq(self.running[group] & ~young[group].any() & ~self.busy[group])
            m.d.sync += young[group].eq(Mux(self.start[group], (1 << BUSY_LATENCY) - 1, young[group] >> 1))
            with m.If(self.start[group]):
                m.d.sync += self.cycles[group].eq(0)
            with m.Elif(self.running[group]):
                m.d.sync += [self.cycles[group].eq(self.cycles[group] + 1), self.total[group].eq(self.total[group] + 1)]
            with m.If(ended[group] & ~self.clear):
                m.d.sync += self.count[group].eq(self.count[group] + 1)
        m.d.comb += self.done.eq(ended & ~self.clear.replicate(self.groups))
        m.d.sync += self.running.eq(((self.running & ~ended) | self.start) & ~self.clear.replicate(self.groups))
        return m
