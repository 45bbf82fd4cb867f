"""Proofs on one switch: nothing lost, doubled or out of order; credits never over- or underflow; every request is granted in time.

The environment obeys the link's rules and is free otherwise: any flow table that gives each (output, label) to one flow, any packet
in any cycle for which there is a credit, any credit back for a packet that was sent. Every packet names its flow and its number.
"""

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, ResetSignal, Signal

import hw.rdn.switch
from hw.rdn.mask import LevelCounters, RoundRobin
from hw.rdn.switch import Switch
from tests.pmu.formal import prove

from .formal import LABELS, PORTS, dynamic_design, switch_design
from .known_bad import NoElders
from .test_switch_checks import GenerousCounters, StuckPointerSwitch

pytestmark = pytest.mark.long          # the first call of a yowasp tool on a machine compiles it, which takes minutes


def test_a_packet_with_a_credit_leaves_in_time():
    """In the turn of its label at the input and of its input at the output: labels x ports cycles."""
    passed, text = prove(*switch_design(bound=LABELS * PORTS), depth=9)
    assert passed, text


@pytest.mark.parametrize("change", ["a credit too many", "stuck pointer", "bound too small"])
def test_virtual_circuits_bite(change, monkeypatch):
    if change == "a credit too many":
        monkeypatch.setattr(hw.rdn.switch, "LevelCounters", GenerousCounters)
    design = switch_design(StuckPointerSwitch if change == "stuck pointer" else Switch, 1 if change == "bound too small" else None)
    passed, _ = prove(*design, depth=12)
    assert not passed


def test_virtual_circuits_for_ever():
    """Multicast included: from one cycle to the next, with what is always true of the switch's state, and from reset."""
    passed, text = prove(*switch_design(invariants=True), depth=1, induction=True)
    assert passed, text
    assert prove(*switch_design(invariants=True), depth=8)[0]


@pytest.mark.parametrize("change", ["a credit too many", "stuck pointer"])
def test_virtual_circuits_for_ever_bite(change, monkeypatch):
    if change == "a credit too many":
        monkeypatch.setattr(hw.rdn.switch, "LevelCounters", GenerousCounters)
    design = switch_design(StuckPointerSwitch if change == "stuck pointer" else Switch, invariants=True)
    assert not prove(*design, depth=8)[0]            # the beginning
    assert prove(*design, depth=1, induction=True)[0] == (change == "a credit too many")      # and the step, if the beginning were true


def test_dynamic_packets_for_ever():
    passed, text = prove(*dynamic_design(invariants=True), depth=1, induction=True)
    assert passed, text
    assert prove(*dynamic_design(invariants=True), depth=6)[0]


def test_dynamic_packets_bite(monkeypatch):
    monkeypatch.setattr(hw.rdn.switch, "DynamicInput", NoElders)
    assert not prove(*dynamic_design(), depth=7)[0]
    assert not prove(*dynamic_design(invariants=True), depth=1, induction=True)[0]


def counters_design(claimed: int = 0):
    """The thermometer beside counters; ``claimed``: ``nonzero`` is said to mean more than that (0 is the truth)."""
    m, width, depth = Module(), 2, 3
    dut = LevelCounters(width, depth, full=True)
    dut._MustUse__silence = True
    m.submodules.dut = dut.elaborate(None)           # now, so that its registers can be named below
    up, down = Signal(width), Signal(width)
    m.d.comb += [dut.up.eq(up), dut.down.eq(down), Assume(~ResetSignal())]
    for index in range(width):
        count = Signal(range(depth + 2), init=depth, name=f"count_{index}")
        m.d.comb += [Assume(~up[index] | down[index] | (count < depth)), Assume(~down[index] | (count > 0))]
        m.d.sync += count.eq(count + up[index] - down[index])
        m.d.comb += [Assert(count <= depth), Assert(dut.nonzero[index] == (count > claimed))]
        m.d.comb += [Assert(level[index] == (count > above)) for above, level in enumerate(dut.levels)]
    return m, [up, down]


def turns_design(width: int, most: int):
    """Requests that stay, and how many others were served before each; who is before whom makes it inductive."""
    m = Module()
    dut = RoundRobin(width)
    dut._MustUse__silence = True
    m.submodules.dut = dut.elaborate(None)
    requests, before = Signal(width), Signal(width)
    m.d.comb += [dut.requests.eq(requests), dut.done.eq(dut.pick.any()), Assume(~ResetSignal()), Assume((before & ~requests) == 0)]
    m.d.sync += before.eq(requests & ~dut.pick)
    m.d.comb += [Assert((dut.pick & ~requests) == 0), Assert((dut.pick & (dut.pick - 1)[:width]) == 0),
                 Assert(dut.pick.any() == requests.any())]
    for index in range(width):
        waited = Signal(range(width + 2), name=f"waited_{index}")
        m.d.sync += waited.eq(Mux(requests[index] & ~dut.pick[index], waited + 1, 0))
        m.d.comb += Assert(waited <= most)
        # Whoever waited n times has n others behind the pointer that come before it no more.
        m.d.comb += Assert((waited == 0) | (_distance(dut.after, index, width) + waited <= width - 1))
    return m, [requests]


def test_credit_counters_for_ever():
    """The thermometer is a counter: inductive, whatever steps come, if they stay within its range."""
    passed, text = prove(*counters_design(), depth=3, induction=True)
    assert passed, text
    assert prove(*counters_design(), depth=8)[0] and not prove(*counters_design(claimed=1), depth=8)[0]


def test_turns_are_bounded_for_ever():
    """A request that stays is picked after width - 1 others: by induction."""
    passed, text = prove(*turns_design(4, 3), depth=6, induction=True)
    assert passed, text
    assert prove(*turns_design(4, 3), depth=10)[0] and not prove(*turns_design(4, 2), depth=10)[0]


def _distance(after: Signal, index: int, width: int):
    """How many requests the turn can pass before it comes to ``index``: ``after`` is the mask of those above the last winner."""
    start = sum(~after[bit] & 1 for bit in range(width))       # the first that is above, or width
    first = Mux(start == width, 0, start)
    return Mux(first <= index, index - first, index + width - first)
