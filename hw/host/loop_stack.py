"""The loops that a schedule is in."""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .command import LENGTH_BITS
from .instructions import LOOP_DEPTH

__all__ = ["LoopStack", "loop_layout"]


def loop_layout() -> data.StructLayout:
    """``body``: index of its first word; ``end``: of the word after it; ``left``: iterations to do, the present one included."""
    return data.StructLayout({"body": LENGTH_BITS, "end": LENGTH_BITS, "left": 32})


class LoopStack(wiring.Component):
    """A stack of LOOP_DEPTH loops.

    Members: ``clear`` In; ``push`` In with ``loop`` In, not while ``full``; ``pop`` In and ``step`` In (an iteration is done), not
    while ``empty``; ``top`` Out, the innermost loop; ``full``, ``empty`` Out.
    """

    def __init__(self):
        super().__init__({"clear": In(1), "push": In(1), "loop": In(loop_layout()), "pop": In(1), "step": In(1),
                          "top": Out(loop_layout()), "full": Out(1), "empty": Out(1)})

    def elaborate(self, platform):
        m = Module()
        stack = [self.top, *(Signal(loop_layout(), name=f"outer_{level}") for level in range(1, LOOP_DEPTH))]
        used = Signal(LOOP_DEPTH)
        m.d.comb += [self.full.eq(used[-1]), self.empty.eq(~used[0])]
        with m.If(self.step):
            m.d.sync += self.top.left.eq(self.top.left - 1)
        with m.If(self.push):
            m.d.sync += [*(below.eq(above) for above, below in pairwise(stack)), self.top.eq(self.loop),
                         used.eq((used << 1) | 1)]
        with m.If(self.pop):
            m.d.sync += [*(above.eq(below) for above, below in pairwise(stack)), used.eq(used >> 1)]
        with m.If(self.clear):
            m.d.sync += used.eq(0)
        return m
