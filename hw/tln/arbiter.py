"""Round-robin choice among requests, as bit vectors."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BurstRoundRobin", "RoundRobin", "pick_lowest", "select"]


def pick_lowest(requests):
    """One-hot: the lowest set bit of ``requests`` (zero if there is none)."""
    return requests & (~requests + 1)[:len(requests)]


def select(m: Module, grant, values, into, domain: str = "comb") -> None:
    """``into`` becomes the value whose bit is set in the one-hot ``grant`` (nothing is assigned if none is).

    A case statement rather than a sum of products: a simulator then copies one wide value instead of masking all of them.
    """
    with m.Switch(grant):
        for index, value in enumerate(values):
            with m.Case(*["-" * (len(grant) - 1 - index) + "1" + "-" * index]):
                m.d[domain] += into.eq(value)


class RoundRobin(wiring.Component):
    """Grants one of ``count`` requests, the next one after the last winner first.

    Members: ``requests`` In(count); ``advance`` In, the grant is used in this cycle; ``grant`` Out(count), one-hot, zero only
    if there is no request.
    Contract: combinational from ``requests`` to ``grant``; ``grant`` does not depend on ``advance``. A request that stays up is
    granted and used within ``count`` uses at the latest.
    """

    def __init__(self, count: int):
        self.count = count
        super().__init__({"requests": In(count), "advance": In(1), "grant": Out(count)})

    def elaborate(self, platform):
        m = Module()
        if self.count == 1:
            m.d.comb += self.grant.eq(self.requests)
            return m
        after = Signal(self.count)           # the requesters behind the last winner
        preferred = Signal(self.count)
        m.d.comb += [
            preferred.eq(self.requests & after),
            self.grant.eq(Mux(preferred.any(), pick_lowest(preferred), pick_lowest(self.requests))),
        ]
        # Bits above the winner: -grant is ones from the winner upwards.
        upwards = (~self.grant + 1)[:self.count]
        with m.If(self.advance & self.requests.any()):
            m.d.sync += after.eq(Cat(0, upwards)[:self.count])
        return m


class BurstRoundRobin(wiring.Component):
    """Round robin in runs: who has been granted keeps the grant while it keeps requesting, for ``run`` uses at most.

    Parameters: ``count``; ``run``; ``express``, a mask of requesters that interrupt a run for one use whenever they ask; ``light``,
    the others may do so once in every ``light`` cycles without a grant (two can be saved up).
    Members: as :class:`RoundRobin`.
    Contract: combinational from ``requests`` to ``grant``, which does not depend on ``advance``. While a requester waits, each other
    one begins at most one run; at most every second use is an interruption (if there are others).

    Memory likes runs: a row that is open is used up, and two streams over the same interleaved channels, one run apart, do not
    meet any more. Those who need little (a copy, a table look-up, the launcher) do not wait for them.
    """

    def __init__(self, count: int, run: int, express: int = 0, light: int = 12):
        self.count, self.run, self.express, self.light = count, run, express, light
        super().__init__({"requests": In(count), "advance": In(1), "grant": Out(count)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.turn = turn = RoundRobin(self.count)
        m.submodules.hurry = hurry = RoundRobin(self.count)
        owner, used, interrupted = Signal(self.count), Signal(range(self.run + 1)), Signal()
        mine, normal, keeps, interrupts = Signal(self.count), Signal(self.count), Signal(), Signal()
        light, first = Signal(self.count), Signal(self.count)
        going = self.advance & self.requests.any()
        m.d.comb += [
            normal.eq(self.requests & ~self.express),
            mine.eq(owner & self.requests), keeps.eq(mine.any() & (used != self.run)),
            turn.requests.eq(normal),
            first.eq(self.requests & self.express),
            hurry.requests.eq(Mux(first.any(), first, Mux(keeps, self.requests & light & ~owner, 0))),
            interrupts.eq(hurry.requests.any() & ~(interrupted & normal.any())),
            self.grant.eq(Mux(interrupts, hurry.grant, Mux(keeps, mine, turn.grant))),
            hurry.advance.eq(self.advance & interrupts), turn.advance.eq(self.advance & ~interrupts & ~keeps),
        ]
        with m.If(going):
            m.d.sync += interrupted.eq(interrupts)
            with m.If(~interrupts):
                m.d.sync += [owner.eq(self.grant), used.eq(Mux(keeps, used + 1, 1))]
        for number in range(self.count):
            saved = Signal(range(2 * self.light + 1), name=f"saved_{number}", init=self.light)
            m.d.comb += light[number].eq(saved >= self.light)
            with m.If(going & self.grant[number]):
                m.d.sync += saved.eq(Mux(light[number], saved - self.light, 0))
            with m.Elif(saved != 2 * self.light):
                m.d.sync += saved.eq(saved + 1)
        return m
