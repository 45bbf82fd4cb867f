"""One switch in an environment that obeys the link's rules and is free otherwise, with what is to be proven of it.

Any flow table that gives each (output, label) to one flow, any packet in any cycle for which there is a credit, any credit back for a
packet that was sent. Every packet names its flow and its number. ``invariants``: also what is always true of the switch's state; with it
the properties follow from one cycle to the next, so they hold for ever.
"""

from itertools import pairwise

from amaranth.hdl import Array, Assert, Assume, Cat, Elaboratable, Module, Mux, ResetSignal, Signal
from amaranth.lib import data

from hw.rdn.dynamic import EAST, LOCAL, NORTH, SOUTH, WEST
from hw.rdn.switch import Switch

__all__ = ["DEPTH", "LABELS", "PORTS", "dynamic_design", "switch_design"]

PORTS, LABELS, DEPTH = 2, 2, 2
BITS = 3                               # of a packet's number


def bounded(m: Module, name: str, up, down, most: int) -> Signal:
    """A ghost counter 0..most with assertions that it stays so."""
    count = Signal(range(most + 2), name=name)
    m.d.comb += [Assert(count <= most), Assert(~down | (count != 0) | up)]
    m.d.sync += count.eq(count + up - down)
    return count


class Invariants(Elaboratable):
    """Assertions on the insides of a switch that is elaborated before: ``made`` gives them when they are there."""

    def __init__(self, made):
        self.made = made

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [Assert(condition) for condition in self.made()]
        return m


def opened(switch):
    """The switch with a view of what its inputs' buffers hold: ``rows[label * DEPTH + place]``."""
    class Input(switch.input_port):
        def _storage(self, m, arrive, leave, turn):
            super()._storage(m, arrive, leave, turn)
            self.rows = []
            for address in range(LABELS * DEPTH):
                port = m.submodules.packets.read_port(domain="comb")
                m.d.comb += port.addr.eq(address)
                self.rows.append(port.data)

    class Opened(switch):
        input_port = Input
    return Opened


def levels(counters, index: int) -> list:
    return [level[index] for level in counters.levels]


def thermometer(counters, index: int, value) -> list:
    """One of the counters is ``value`` and in a legal state."""
    low = levels(counters, index)
    return [sum(low) == value, *(~high | below for below, high in pairwise(low))]


def circuits(dut, tables, held, counts, behind, expected):
    """What is always true of virtual circuits, DEPTH = 2. The packets of a flow that are here are its last ones, oldest first; a branch has
    got all others, and the oldest one if it is marked as sent."""
    for number, table in enumerate(tables):
        port, label = dut.input_ports[number // LABELS], number % LABELS
        one, two = levels(port.held, label)[:2]
        sent = port.sent[label] & table
        write, read = (pointer[0][label] for pointer in (port.write_pointer, port.read_pointer))
        places = Array(port.rows[label * DEPTH:(label + 1) * DEPTH])
        yield from thermometer(port.held, label, held[number])
        yield (write ^ read) == (one & ~two)
        yield Mux(one, sent != table, sent == 0)
        for here, place, back in ((one, read, held[number]), (two, ~read, 1)):
            yield ~here | ((places[place].data == (counts[number] - back)[:BITS]) & (places[place].flow == number))
        for end, next_ in enumerate(expected):
            left = Mux(one & sent[end], held[number] - 1, held[number])
            yield ~table[end] | (next_ == (counts[number] - left)[:BITS])
    for end, count in enumerate(behind):
        yield from thermometer(dut.credits, end, DEPTH - count)


def switch_design(switch=Switch, bound: int | None = None, *, invariants: bool = False):
    m = Module()
    packet = data.StructLayout({"data": BITS, "flow": 2})
    m.submodules.dut = dut = (opened(switch) if invariants else switch)(packet, PORTS, LABELS, DEPTH)
    ghosts = held_, counts_, behind_, expected_ = [], [], [], []
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
            held_.append(held)
            counts_.append(count)
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
            behind_.append(held)
            expected_.append(expected)
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
    if invariants:
        m.submodules.invariants = Invariants(lambda: circuits(dut, ports[:len(ends)], *ghosts))
    return m, ports


def dynamic_packets(dut, inputs, sent, expected, ways, held, behind):
    """What is always true of dynamic packets, two slots per input. The packets that are here for one output are the last of those sent
    there, and the elder is the one that the other waits for."""
    for number, port in enumerate(inputs):
        side = dut.dynamic_inputs[port]
        for slot in range(2):
            here, want, elders, packet = side.held[slot], side.wants[slot], side.elders[slot], side.payloads[slot]
            both = side.held.all() & (side.wants[0] == side.wants[1])
            yield here == held[number][slot]
            yield elders == Mux(both & elders.any(), 2 >> slot, 0)
            yield ~both | (side.elders[0].any() ^ side.elders[1].any())
            yield ~here | (packet.flow == number)
            for way in range(dut.ports):
                yield ~(here & want[way]) | (want == 1 << way)
                waits = ~elders.any() & both
                back = Mux(waits, 2, 1)                      # this one has not left, and one more may have come after it
                yield ~(here & want[way]) | (packet.data == (sent[number][way] - back)[:BITS])
                gone = sent[number][way] - (side.held[0] & side.wants[0][way]) - (side.held[1] & side.wants[1][way])
                yield expected[way][number] == gone[:BITS]
            yield ~here | (want == ways(packet.destination))
            yield ~here | (side.onward[slot] == Mux(want[LOCAL], 1, 6))
    for port, side in enumerate(dut.dynamic_inputs):
        yield dut.input_ports[port].held.nonzero == 0
        if port not in inputs:
            yield side.held == 0
    for port, free in enumerate(dut.free):
        yield from thermometer(dut.credits, port, 2 - behind[port][0])
        yield from (free[slot] == (behind[port][1 + slot] == 0) for slot in range(2))


def dynamic_design(slots: int = 2, *, invariants: bool = False):
    """Two inputs send dynamic packets anywhere; order is per input and output."""
    m = Module()
    ports_, inputs = LOCAL + 1, (WEST, LOCAL)
    packet = data.StructLayout({"data": BITS, "flow": 1})
    m.submodules.dut = dut = Switch(packet, ports_, 1, 2, slots=slots, coordinate_bits=2)
    m.d.comb += [dut.position.row.eq(1), dut.position.column.eq(1), Assume(~ResetSignal())]
    free, sent, arrived, held_, behind_ = [], {}, {}, [], []

    def way(destination):
        """The output to a destination, by its number."""
        return Mux(destination.column < 1, WEST, Mux(destination.column > 1, EAST,
                   Mux(destination.row < 1, NORTH, Mux(destination.row > 1, SOUTH, LOCAL))))
    for number, port in enumerate(inputs):
        link = dut.inputs[port]
        valid, slot, row, column = (Signal(width, name=f"{name}_{port}") for name, width in
                                    (("valid", 1), ("slot", range(slots)), ("row", 2), ("column", 2)))
        free += [valid, slot, row, column]
        destination = link.payload.destination
        m.d.comb += [link.valid.eq(valid), link.label.eq(1 + slot), link.payload.flow.eq(number), destination.row.eq(row),
                     destination.column.eq(column), destination.port.eq(LOCAL)]
        out = Signal(range(ports_), name=f"out_{port}")
        m.d.comb += out.eq(way(destination))
        held_.append([])
        for index in range(slots):
            sends = Signal(name=f"sends_{port}_{index}")
            m.d.comb += sends.eq(valid & (slot == index))
            held = bounded(m, f"held_{port}_{index}", sends, link.credit[1 + index], 1)
            held_[-1].append(held)
            m.d.comb += Assume(~sends | (held == 0))
        counts = [Signal(BITS, name=f"count_{port}_{other}") for other in range(ports_)]
        for other, count in enumerate(counts):
            m.d.sync += count.eq(count + (valid & (out == other)))
        m.d.comb += link.payload.data.eq(Array(counts)[out])
        sent[number] = counts
    for port, link in enumerate(dut.outputs):
        credit = Signal(1 + slots, name=f"credit_{port}")
        free.append(credit)
        m.d.comb += link.credit.eq(credit)
        arrived[port], here = [], []
        behind_.append(here)
        for index in range(1 + slots):
            came = Signal(name=f"came_{port}_{index}")
            m.d.comb += came.eq(link.valid & (link.label == index))
            held = bounded(m, f"behind_{port}_{index}", came, credit[index], 1 if index else 2)
            here.append(held)
            m.d.comb += Assume(~credit[index] | (held != 0))
        m.d.comb += Assert(~link.valid | ((link.label == 0) == (port == LOCAL)))
        for number in range(2):
            expected, came = Signal(BITS, name=f"expected_{port}_{number}"), Signal(name=f"from_{number}_at_{port}")
            arrived[port].append(expected)
            m.d.comb += came.eq(link.valid & (link.payload.flow == number))
            m.d.sync += expected.eq(expected + came)
            m.d.comb += Assert(~came | ((link.payload.data == expected) & (expected != sent[number][port])))
    if invariants:
        m.submodules.invariants = Invariants(lambda: dynamic_packets(dut, inputs, sent, arrived, lambda to: (1 << way(to))[:ports_],
                                                                     held_, behind_))
    return m, free
