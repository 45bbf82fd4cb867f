"""Which engines use their banks in this cycle."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BankArbiter"]


class BankArbiter(wiring.Component):
    """Grants every set of requests whose banks do not meet.

    Parameters: ``engines``, ``banks``.
    Members: ``valid`` In, one bit per engine; ``wanted[e]`` In, the banks engine e needs; ``grant`` Out; ``conflict`` Out, an
    engine had to wait.
    Contract: combinational grants; two granted engines never share a bank; an engine that lost is first in a later cycle:
    it waits for at most ``engines - 1`` accesses.
    """

    def __init__(self, engines: int, banks: int):
        self.engines, self.banks = engines, banks
        super().__init__({
            "valid": In(engines), "wanted": In(banks).array(engines), "grant": Out(engines), "conflict": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        meet = {}
        for one in range(self.engines):
            for other in range(one):
                meet[one, other] = meet[other, one] = hit = Signal(name=f"meet_{other}_{one}")
                m.d.comb += hit.eq(self.valid[one] & self.valid[other] & (self.wanted[one] & self.wanted[other]).any())
        favoured = Signal(range(self.engines))
        m.d.comb += self.conflict.eq(0)
        m.d.comb += self.grant.eq(self.valid)
        with m.If(Cat(meet[one, other] for one in range(self.engines) for other in range(one)).any()):
            m.d.comb += self.conflict.eq(1)
            with m.Switch(favoured):
                for first in range(self.engines):
                    with m.Case(first):
                        self._grant_from(m, first, meet, favoured)
        return m

    def _grant_from(self, m, first, meet, favoured):
        order = [(first + step) % self.engines for step in range(self.engines)]
        granted = {}
        for place, engine in enumerate(order):
            lost = [meet[engine, earlier] & granted[earlier] for earlier in order[:place]]
            granted[engine] = Signal(name=f"granted_{first}_{engine}")
            m.d.comb += granted[engine].eq(self.valid[engine] & ~Cat(lost).any())
            m.d.comb += self.grant[engine].eq(granted[engine])
        # The next engine in turn that lost goes first: with three engines nobody can be passed over twice.
        for engine in reversed(order[1:]):
            with m.If(self.valid[engine] & ~granted[engine]):
                m.d.sync += favoured.eq(engine)
