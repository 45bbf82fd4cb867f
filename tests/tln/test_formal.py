"""The round-robin arbiter, proven: it grants one of the requesters, and nobody is passed twice by the same other one."""

import pytest
from amaranth.hdl import Assert, Module, Mux, Signal

from hw.tln.arbiter import RoundRobin, pick_lowest
from tests.pmu.formal import prove

COUNT, WATCHED = 6, 2


class FixedPriority(RoundRobin):
    """The mistake that the proof must find."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.grant.eq(pick_lowest(self.requests))
        return m


def contract(arbiter):
    """The arbiter with its promises; ``served``: who has won since requester WATCHED began to wait."""
    m = Module()
    m.submodules.arbiter = arbiter
    grant, served = arbiter.grant, Signal(COUNT)
    waits = arbiter.requests[WATCHED] & ~(grant[WATCHED] & arbiter.advance)
    m.d.sync += served.eq(Mux(waits, served | Mux(arbiter.advance, grant, 0), 0))
    m.d.comb += [
        Assert((grant & ~arbiter.requests) == 0),
        Assert((grant & (grant - 1)[:COUNT]) == 0),
        Assert(grant.any() == arbiter.requests.any()),
    ]
    with m.If(arbiter.advance & arbiter.requests[WATCHED]):
        m.d.comb += Assert((served & grant) == 0)
    return m


@pytest.mark.long
def test_nobody_is_passed_twice():
    """Bounded, twice as deep as the longest path through the states (last winner, who has been served)."""
    arbiter = RoundRobin(COUNT)
    m = contract(arbiter)
    passed, text = prove(m, [arbiter.requests, arbiter.advance], depth=2 * COUNT + 2)
    assert passed, text


@pytest.mark.long
def test_the_proof_bites():
    arbiter = FixedPriority(COUNT)
    m = contract(arbiter)
    passed, text = prove(m, [arbiter.requests, arbiter.advance], depth=6)
    assert not passed and "Assert failed" in text, text
