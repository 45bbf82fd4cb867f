"""Proofs on one switch: nothing lost, doubled or out of order; credits never over- or underflow; every request is granted in time.

The environment obeys the link's rules and is free otherwise: any flow table that gives each (output, label) to one flow, any packet
in any cycle for which there is a credit, any credit back for a packet that was sent. Every packet names its flow and its number.
"""

import pytest
from amaranth.hdl import Array, Assert, Assume, Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import data

import hw.rdn.switch
from hw.rdn.dynamic import EAST, LOCAL, NORTH, SOUTH, WEST
from hw.rdn.mask import LevelCounters, RoundRobin
from hw.rdn.switch import Switch
from tests.pmu.formal import prove

from .known_bad import NoElders
from .test_switch_checks import GenerousCounters, StuckPointerSwitch

pytestmark = pytest.mark.long          # the first call of a yowasp tool on a machine compiles it, which takes minutes

PORTS, LABELS, DEPTH = 2, 2, 2
BITS = 3                               # of a packet's number


def bounded(m: Module, name: str, up, down, most: int) -> Signal:
    """A ghost counter 0..most with assertions that it stays so."""
    count = Signal(range(most + 2), name=name)
    m.d.comb += [Assert(count <= most), Assert(~down | (count != 0) | up)]
    m.d.sync += count.eq(count + up - down)
    return count


def switch_design(switch=Switch, bound: int | None = None):
    m = Module()
    packet = data.StructLayout({"data": BITS, "flow": 2})
    m.submodules.dut = dut = switch(packet, PORTS, LABELS, DEPTH)
    ends = [(port, label) for port in range(PORTS) for label in range(LABELS)]
    ports, fixed = [], Signal(init=0)
    m.d.sync += fixed.eq(1)
    m.d.comb += Assume(~ResetSignal())
    for number, entry in enumerate(dut.flows):
        table, before = Signal(len(ends), name=f"table_{number}"), Signal(len(ends), name=f"before_{number}")
        ports.append(table)
        m.d.sync += before.eq(table)
        m.d.comb += [entry.eq(table), Assume(~fixed | (table == before)), Assume(table != 0)]
        if bound:                      # a multicast waits for all its branches, and so for ever if one has no credit
            m.d.comb += Assume((table & (table - 1)[:len(ends)]) == 0)
    for one in range(len(ends)):
        m.d.comb += [Assume((dut.flows[one] & dut.flows[other]) == 0) for other in range(one)]
    for port, link in enumerate(dut.inputs):
        valid, label = Signal(name=f"valid_{port}"), Signal(range(LABELS), name=f"label_{port}")
        ports += [valid, label]
        m.d.comb += [link.valid.eq(valid), link.label.eq(label), link.payload.flow.eq(port * LABELS + label)]
        for number in range(LABELS):
            sends = Signal(name=f"sends_{port}_{number}")
            m.d.comb += sends.eq(valid & (label == number))
            held = bounded(m, f"held_{port}_{number}", sends, link.credit[number], DEPTH)
            m.d.comb += Assume(~sends | (held < DEPTH))
            count = Signal(BITS, name=f"count_{port}_{number}")
            m.d.sync += count.eq(count + sends)
            with m.If(sends):
                m.d.comb += link.payload.data.eq(count)
    for port, link in enumerate(dut.outputs):
        credit = Signal(LABELS, name=f"credit_{port}")
        ports.append(credit)
        m.d.comb += link.credit.eq(credit)
        for number in range(LABELS):
            came = Signal(name=f"came_{port}_{number}")
            m.d.comb += came.eq(link.valid & (link.label == number))
            held = bounded(m, f"behind_{port}_{number}", came, credit[number], DEPTH)
            m.d.comb += Assume(~credit[number] | (held != 0))
            expected, end = Signal(BITS, name=f"expected_{port}_{number}"), port * LABELS + number
            m.d.sync += expected.eq(expected + came)
            source = Signal(4, name=f"source_{port}_{number}")
            m.d.comb += source.eq(Cat(table[end] for table in dut.flows))
            m.d.comb += Assert(~came | ((link.payload.data == expected) & (source == 1 << link.payload.flow)))
            if bound:
                # The number of the newest packet of the flow that feeds this end: a packet is here that has not left, and may.
                made = Signal(BITS, name=f"made_{port}_{number}")
                counts = [Signal(BITS, name=f"arrived_{port}_{number}_{flow}") for flow in range(len(ends))]
                for flow, arrived in enumerate(counts):
                    into = dut.inputs[flow // LABELS]
                    m.d.sync += arrived.eq(arrived + (into.valid & (into.label == flow % LABELS)))
                m.d.comb += made.eq(Mux(source[0], counts[0], Mux(source[1], counts[1], Mux(source[2], counts[2], counts[3]))))
                waits = Signal(8, name=f"waits_{port}_{number}")
                stays = (source != 0) & (made != expected) & (held < DEPTH) & ~came
                m.d.sync += waits.eq(Mux(stays, waits + 1, 0))
                m.d.comb += Assert(waits <= bound)
    return m, ports


def test_virtual_circuits():
    """12 cycles from reset, multicast included."""
    passed, text = prove(*switch_design(), depth=12)
    assert passed, text


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




def dynamic_design(slots: int = 2):
    """Two inputs send dynamic packets anywhere; order is per input and output."""
    m = Module()
    ports_, inputs = LOCAL + 1, (WEST, LOCAL)
    packet = data.StructLayout({"data": BITS, "flow": 1})
    m.submodules.dut = dut = Switch(packet, ports_, 1, 2, slots=slots, coordinate_bits=2)
    m.d.comb += [dut.position.row.eq(1), dut.position.column.eq(1), Assume(~ResetSignal())]
    free = []
    sent = {}
    for number, port in enumerate(inputs):
        link = dut.inputs[port]
        valid, slot, row, column = (Signal(width, name=f"{name}_{port}") for name, width in
                                    (("valid", 1), ("slot", range(slots)), ("row", 2), ("column", 2)))
        free += [valid, slot, row, column]
        destination = link.payload.destination
        m.d.comb += [link.valid.eq(valid), link.label.eq(1 + slot), link.payload.flow.eq(number), destination.row.eq(row),
                     destination.column.eq(column), destination.port.eq(LOCAL)]
        out = Signal(range(ports_), name=f"out_{port}")
        m.d.comb += out.eq(Mux(column < 1, WEST, Mux(column > 1, EAST, Mux(row < 1, NORTH, Mux(row > 1, SOUTH, LOCAL)))))
        for index in range(slots):
            sends = Signal(name=f"sends_{port}_{index}")
            m.d.comb += sends.eq(valid & (slot == index))
            held = bounded(m, f"held_{port}_{index}", sends, link.credit[1 + index], 1)
            m.d.comb += Assume(~sends | (held == 0))
        counts = [Signal(BITS, name=f"count_{port}_{way}") for way in range(ports_)]
        for way, count in enumerate(counts):
            m.d.sync += count.eq(count + (valid & (out == way)))
        m.d.comb += link.payload.data.eq(Array(counts)[out])
        sent[number] = counts
    for port, link in enumerate(dut.outputs):
        credit = Signal(1 + slots, name=f"credit_{port}")
        free.append(credit)
        m.d.comb += link.credit.eq(credit)
        for index in range(1 + slots):
            came = Signal(name=f"came_{port}_{index}")
            m.d.comb += came.eq(link.valid & (link.label == index))
            held = bounded(m, f"behind_{port}_{index}", came, credit[index], 1 if index else 2)
            m.d.comb += Assume(~credit[index] | (held != 0))
        m.d.comb += Assert(~link.valid | ((link.label == 0) == (port == LOCAL)))
        for number in range(2):
            expected, came = Signal(BITS, name=f"expected_{port}_{number}"), Signal(name=f"from_{number}_at_{port}")
            m.d.comb += came.eq(link.valid & (link.payload.flow == number))
            m.d.sync += expected.eq(expected + came)
            m.d.comb += Assert(~came | ((link.payload.data == expected) & (expected != sent[number][port])))
    return m, free


def test_dynamic_packets():
    passed, text = prove(*dynamic_design(), depth=7)
    assert passed, text


def test_dynamic_packets_bite(monkeypatch):
    monkeypatch.setattr(hw.rdn.switch, "DynamicInput", NoElders)
    passed, _ = prove(*dynamic_design(), depth=7)
    assert not passed


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
