"""Round-robin choice among requests, as bit vectors."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RoundRobin", "pick_lowest", "select"]


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
