"""When a channel refreshes."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .timing import DRAMTiming

__all__ = ["Refresher"]


class Refresher(wiring.Component):
    """Owes the device one REF every ``refi`` cycles, pays at once when idle, and at the latest every ``postpone`` intervals.

    Parameters: ``timing``; ``postpone``, 1 .. 8 (the standards allow eight).
    Members
    -------
    ``idle`` In: no request waits; ``settled``, ``can_refresh``, ``any_open`` In: from the bank machines.
    ``hold`` Out: no other command may be issued; ``precharge_all`` Out, ``refresh`` Out: PREA, REF are issued in this cycle.
    Contract: once forced, all that are owed are paid in a row. The average interval is ``refi``, the longest
    ``(postpone + 1) * refi`` and the time to settle. All channels with the same timing that left reset together are forced in the
    same cycle: a stream over several channels stands still once, not once for each.
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
        due, forced = Signal(), Signal()
        round_ = Signal(range(self.postpone), init=self.postpone - 1)     # intervals until the next forced payment
        m.d.comb += [
            due.eq(interval == 0),
            self.precharge_all.eq(self.hold & self.any_open & self.settled),
            self.refresh.eq(self.hold & self.can_refresh),
        ]
        with m.If(due):
            m.d.sync += [interval.eq(self.timing.refi - 1), round_.eq(Mux(round_ == 0, self.postpone - 1, round_ - 1))]
        with m.Else():
            m.d.sync += interval.eq(interval - 1)
        m.d.sync += owed.eq(owed + due - self.refresh)
        with m.If(due & (round_ == 0)):
            m.d.sync += forced.eq(1)
        with m.Elif(owed == 0):
            m.d.sync += forced.eq(0)
        with m.If(~self.hold), m.If((owed != 0) & (self.idle | forced)):
            m.d.sync += self.hold.eq(1)
        with m.Elif(self.refresh & (owed <= 1) & ~due):
            m.d.sync += self.hold.eq(0)
        return m
