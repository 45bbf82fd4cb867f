"""A queue of requests in a port of the TLN."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["PortQueue"]


class PortQueue(wiring.Component):
    """First in, first out.

    Parameters: ``layout`` of an entry; ``depth``, a power of two.
    Members: ``push`` In, ``i`` In: an entry comes in (only while not ``full``); ``full`` Out; ``valid`` Out, ``o`` Out: the oldest entry;
    ``pop`` In, it leaves (only while ``valid``).
    Contract: an entry shows at ``o`` one cycle after its ``push`` if none is before it; one in and one out a cycle; ``full`` and
    ``valid`` are functions of registers. Nothing moves while nothing is pushed or popped.
    Errors: ValueError for another depth.
    """

    def __init__(self, layout: data.StructLayout, depth: int):
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth={depth} must be a power of two, 2 or more")
        self.layout, self.depth = layout, depth
        self.identity = (layout, depth)
        super().__init__({"push": In(1), "i": In(layout), "full": Out(1), "valid": Out(1), "o": Out(layout), "pop": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.entries = entries = Memory(shape=self.layout, depth=self.depth, init=[])
        write, read = entries.write_port(), entries.read_port(domain="comb")
        used = Signal(range(self.depth + 1))
        m.d.comb += [
            write.en.eq(self.push), write.data.eq(self.i), self.o.eq(read.data),
            self.valid.eq(used.any()), self.full.eq(used[-1]),
        ]
        with m.If(self.push):
            m.d.sync += write.addr.eq(write.addr + 1)
        with m.If(self.pop):
            m.d.sync += read.addr.eq(read.addr + 1)
        with m.If(self.push ^ self.pop):
            m.d.sync += used.eq(used + self.push - self.pop)
        return m
