"""Which slots of a store are free."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .queue import index_of, oldest

__all__ = ["SlotPool"]


class SlotPool(wiring.Component):
    """Hands out the numbers 0 .. size-1, each to one holder at a time.

    Members: ``slot`` Out, a free number, meaningful unless ``empty``; ``take`` In: it is taken; ``give`` In, ``given`` In: one
    comes back.
    Contract: one taken and one given back a cycle; a number given back can be taken in the next cycle.
    """

    def __init__(self, size: int):
        self.size = size
        super().__init__({"slot": Out(range(size)), "empty": Out(1), "take": In(1), "give": In(1), "given": In(range(size))})

    def elaborate(self, platform):
        m = Module()
        free, first = Signal(self.size, init=(1 << self.size) - 1), Signal(self.size)
        m.d.comb += [
            first.eq(oldest(free)),
            self.empty.eq(~free.any()),
            self.slot.eq(index_of(first)),
        ]
        back = Mux(self.give, (1 << self.given)[:self.size], 0)
        m.d.sync += free.eq((free & ~(first & self.take.replicate(self.size))) | back)
        return m
