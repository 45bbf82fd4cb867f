"""Waiting times of many banks at once, kept as bit planes."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ActivateWindow", "LaneTimers"]


class LaneTimers(wiring.Component):
    """One down counter for each of ``lanes`` banks, groups or channels, all with the same waiting time.

    Parameters: ``lanes``; ``cycles``, the waiting time, at least 1.
    Members: ``start`` In, bit i starts counter i; ``idle`` Out, bit i: counter i is not running.
    Contract: after ``start[i]`` in cycle t, ``idle[i]`` is 0 in cycles t+1 .. t+cycles-1 and 1 from t+cycles on: a command that
    waits for
    ``idle`` comes at least ``cycles`` after the one that started it. A running counter starts again.

    Bit k of all counters is one signal: a decrement of all lanes costs a few operations on whole vectors.
    """

    def __init__(self, lanes: int, cycles: int):
        self.lanes, self.cycles = lanes, cycles
        super().__init__({"start": In(lanes), "idle": Out(lanes)})

    def elaborate(self, platform):
        m = Module()
        load = max(0, self.cycles - 1)
        planes = [Signal(self.lanes, name=f"count_{bit}") for bit in range(load.bit_length())]
        busy = 0
        for plane in planes:
            busy = busy | plane
        borrow = Signal(self.lanes)
        m.d.comb += [borrow.eq(busy), self.idle.eq(~borrow)]
        for bit, plane in enumerate(planes):
            after = (plane ^ borrow) & ~self.start
            m.d.sync += plane.eq(after | self.start if load >> bit & 1 else after)
            following = Signal(self.lanes, name=f"borrow_{bit}")
            m.d.comb += following.eq(borrow & ~plane)
            borrow = following
        return m


class ActivateWindow(wiring.Component):
    """At most ``activates`` activates within ``cycles`` (tFAW).

    Members: ``start`` In, an activate; ``idle`` Out, one more is allowed.
    Contract: ``idle`` is 0 exactly while ``activates`` activates lie less than ``cycles`` back.
    """

    def __init__(self, activates: int, cycles: int):
        self.activates, self.cycles = activates, cycles
        super().__init__({"start": In(1), "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        history = Signal(max(1, self.cycles - 1))
        count = Signal(range(self.activates + 1))
        m.d.sync += [history.eq(Cat(self.start, history)), count.eq(count + self.start - history[-1])]
        m.d.comb += self.idle.eq(count != self.activates)
        return m
