"""Fair shares, and known-bad switches that the tests of this folder must catch."""

import pytest
from amaranth.hdl import Const, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

import hw.rdn.output_port
import hw.rdn.switch
from hw.common.packet import scalar_packet
from hw.rdn.input_port import InputPort
from hw.rdn.mask import LevelCounters, lowest
from hw.rdn.switch import Switch
from sim.unit_bench import ProtocolError, UnitBench

from .test_switch import COUNT, DEPTH, LABELS, PORTS, random_flows, run, value


class GenerousCounters(LevelCounters):
    """Known-bad: one credit more than the receiver has places."""

    def __init__(self, width, depth, *, full):
        super().__init__(width, depth + 1, full=full)


class FixedPriority(wiring.Component):
    """Known-bad: the lowest request always wins."""

    def __init__(self, width):
        self.width = self.identity = width
        super().__init__({"requests": In(width), "pick": Out(width), "done": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.pick.eq(lowest(self.requests))
        return m


class StuckPointerInput(InputPort):
    """Known-bad: the read pointers never move."""

    def _storage(self, m, arrive, leave, turn):
        super()._storage(m, arrive, Const(0, self.labels), turn)


class StuckPointerSwitch(Switch):
    input_port = StuckPointerInput


def small_bench(switch=Switch):
    return UnitBench(switch(scalar_packet(8), PORTS, LABELS, DEPTH), link_depth=DEPTH, optimize="-O0")


def shares(bench) -> list[int]:
    """Every input wants output 0 all the time; how many packets of each came among the first 200."""
    flows = {(port, 1 if port < LABELS else 2): {(0, port)} for port in range(LABELS)}
    arrived, _, _ = run(bench, flows, source=0, sink=0, seed=0, count=100)
    assert all(len(data) == 100 for data in arrived.values())
    first = bench_labels(bench)[:200]
    return [first.count(label) for label in range(LABELS)]


def bench_labels(bench) -> list[int]:
    return [int(label) for label in bench.collect("outputs[0]").labels]


def test_equal_shares_of_an_output():
    with small_bench() as bench:
        assert max(shares(bench)) - min(shares(bench)) <= 1


def test_fixed_priority_is_caught(monkeypatch):
    monkeypatch.setattr(hw.rdn.output_port, "RoundRobin", FixedPriority)
    with small_bench() as bench:
        assert max(shares(bench)) - min(shares(bench)) > 50


def test_a_credit_too_many_is_caught(monkeypatch):
    monkeypatch.setattr(hw.rdn.switch, "LevelCounters", GenerousCounters)
    with small_bench() as bench, pytest.raises(ProtocolError, match="without a credit"):
        run(bench, random_flows(1), source=0, sink=0.7, seed=1)


def test_a_stuck_pointer_is_caught():
    flows = random_flows(1)
    with small_bench(StuckPointerSwitch) as bench:
        arrived, _, _ = run(bench, flows, source=0, sink=0, seed=1)
    (port, label), ends = next((flow, ends) for flow, ends in flows.items() if ends)
    assert any(arrived[end] != [value(port, label, index) for index in range(COUNT)] for end in ends)
