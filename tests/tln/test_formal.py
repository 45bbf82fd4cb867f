"""The round-robin arbiters, proven: they grant one of the requesters, and nobody is passed twice by the same other one. The queues of a
port: what goes in n-th comes out n-th."""

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, ResetSignal, Signal
from amaranth.lib import data

from hw.tln.arbiter import BurstRoundRobin, RoundRobin, pick_lowest
from hw.tln.queue import PortQueue
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


def burst_contract(arbiter, run: int):
    """The arbiter of runs with its promises. ``ended``: who had a run, now over, while WATCHED waited; ``served``: had a part of it."""
    m = Module()
    m.submodules.arbiter = arbiter
    grant, watched, express = arbiter.grant, arbiter.requests[WATCHED], arbiter.express
    used = arbiter.advance & grant.any()
    owner, length, before, interrupts = Signal(COUNT), Signal(range(run + 2)), Signal(), Signal()
    ended, served = Signal(COUNT), Signal(COUNT)
    waits = watched & ~(grant[WATCHED] & arbiter.advance)
    # A use by another than the owner of the run, while the run could go on, is an interruption.
    m.d.comb += interrupts.eq(((owner & arbiter.requests) != 0) & (length < run) & (grant != owner) | (grant & express).any())
    m.d.sync += [ended.eq(Mux(waits, ended, 0)), served.eq(Mux(waits, served | Mux(used & ~interrupts, grant, 0), 0))]
    with m.If(used):
        m.d.sync += before.eq(interrupts)
        m.d.comb += Assert(~(before & interrupts) | ((arbiter.requests & ~express) == 0), "interrupted twice in a row")
        with m.If(~interrupts):
            m.d.sync += [owner.eq(grant), length.eq(Mux((grant == owner) & (length < run), length + 1, 1))]
            with m.If(waits & (grant != owner)):
                m.d.sync += ended.eq(ended | (owner & served))
            m.d.comb += [Assert(~watched | ((ended & grant) == 0), "a second run"),
                         Assert(~(waits & (grant == owner) & (length == run)), "a run too long")]
    m.d.comb += [
        Assert((grant & ~arbiter.requests) == 0),
        Assert((grant & (grant - 1)[:COUNT]) == 0),
        Assert(grant.any() == arbiter.requests.any()),
    ]
    return m


@pytest.mark.long
def test_nobody_is_passed_by_two_runs():
    arbiter = BurstRoundRobin(COUNT, 3, 0b110000)
    passed, text = prove(burst_contract(arbiter, 3), [arbiter.requests, arbiter.advance], depth=12)
    assert passed, text


@pytest.mark.long
def test_the_proof_of_runs_bites():
    arbiter = BurstRoundRobin(COUNT, 4, 0b110000)       # runs one longer than promised
    passed, text = prove(burst_contract(arbiter, 3), [arbiter.requests, arbiter.advance], depth=12)
    assert not passed and "Assert failed" in text, text


def queue_design(room: bool):
    """A queue of four; the entry with number ``which`` (any) is remembered when it goes in and compared when it comes out. ``room``:
    nothing is pushed while it is full."""
    m = Module()
    m.submodules.queue = queue = PortQueue(data.StructLayout({"value": 4}), 4)
    which, before, first = Signal(4), Signal(4), Signal(init=1)
    entered, left, value, push, pop = Signal(4), Signal(4), Signal(4), Signal(), Signal()
    m.d.sync += [before.eq(which), first.eq(0), entered.eq(entered + queue.push), left.eq(left + queue.pop)]
    m.d.comb += [
        Assume(~ResetSignal()), Assume(first | (which == before)),
        queue.push.eq(push & ~(queue.full & room)), queue.pop.eq(pop & queue.valid),
        Assert(queue.valid == (entered != left)), Assert(queue.full == (entered - left == 4)),
    ]
    with m.If(queue.push & (entered == which)):
        m.d.sync += value.eq(queue.i.value)
    with m.If(queue.pop & (left == which)):
        m.d.comb += Assert(queue.o.value == value)
    return m, [which, push, pop, queue.i.as_value()]


@pytest.mark.long
def test_a_port_s_queue_is_a_queue():
    passed, text = prove(*queue_design(room=True), depth=14)
    assert passed, text


@pytest.mark.long
def test_the_proof_of_the_queue_bites():
    passed, text = prove(*queue_design(room=False), depth=14)
    assert not passed and "Assert failed" in text, text
