"""A delay of many bits by a few cycles."""

from amaranth.hdl import Module, Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["Delay"]


class Delay(wiring.Component):
    """``o`` is what was on ``i`` ``cycles`` cycles ago.

    Parameters: ``shape`` of the data, ``cycles`` >= 1.
    Contract: no stall; zero for the first ``cycles`` cycles. A ring in a memory instead of a shift register: one write and one
    read a cycle, however long, which is what wide data costs in power and in a simulator.
    """

    def __init__(self, shape, cycles: int):
        self.shape, self.cycles = shape, cycles
        if cycles < 1:
            raise ValueError(f"cycles={cycles} must be at least 1")
        super().__init__({"i": In(shape), "o": Out(shape)})

    def elaborate(self, platform):
        m = Module()
        if self.cycles == 1:
            register = Signal(self.shape)
            m.d.sync += register.eq(self.i)
            m.d.comb += self.o.eq(register)
            return m
        m.submodules.ring = ring = Memory(shape=Shape.cast(self.shape), depth=self.cycles, init=[])
        write, read = ring.write_port(), ring.read_port(domain="comb")
        place = Signal(range(self.cycles))
        m.d.sync += place.eq(place + 1)
        with m.If(place == self.cycles - 1):
            m.d.sync += place.eq(0)
        # The place to be written still holds what was written there one round ago.
        m.d.comb += [write.addr.eq(place), read.addr.eq(place), write.en.eq(1), write.data.eq(self.i), self.o.eq(read.data)]
        return m
