"""When a channel refreshes."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .timing import DRAMTiming

__all__ = ["Refresher"]


class Refresher(wiring.Component):
    """Owes the device one REF every ``refi`` cycles, pays at once when idle, and at the latest when ``postpone`` are owed.

    Parameters: ``timing``; ``postpone``, 1 .. 8 (the standards allow eight).
    Members
    -------
    ``idle`` In: no request waits; ``settled``, ``can_refresh``, ``any_open`` In: from the bank machines.
    ``hold`` Out: no other command may be issued; ``precharge_all`` Out, ``refresh`` Out: PREA, REF are issued in this cycle.
    Contract: once forced, all that are owed are paid in a row. The average interval is ``refi``, the longest
    ``(postpone + 1) * refi`` and the time to settle.
    """

    def __init__(self, timing: DRAMTiming, postpone: int):
        self.timing, self.postpone = timing, postpone
        super().__init__({
            "idle": In(1), "settled": In(1), "can_refresh": In(1), "any_open": In(1),
            "hold": Out(1), "precharge_all": Out(1), "refresh": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        interval = Signal(range(self.timing.refi), init=self.timing.refi - 1)
        owed = Signal(range(self.postpone + 3))
        due = Signal()
        m.d.comb += [
            due.eq(interval == 0),
            self.precharge_all.eq(self.hold & self.any_open & self.settled),
            self.refresh.eq(self.hold & self.can_refresh),
        ]
        with m.If(due):
            m.d.sync += interval.eq(self.timing.refi - 1)
        with m.Else():
            m.d.sync += interval.eq(interval - 1)
        m.d.sync += owed.eq(owed + due - self.refresh)
        with m.If(~self.hold), m.If((owed >= self.postpone) | ((owed != 0) & self.idle)):
            m.d.sync += self.hold.eq(1)
        with m.Elif(self.refresh & (owed <= 1) & ~due):
            m.d.sync += self.hold.eq(0)
        return m
