"""Dynamic packets: they carry their destination, and every switch sends them dimension-order (XY) towards it."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..hierarchy import instantiate
from .mask import RoundRobin, encode, lowest

__all__ = ["EAST", "LOCAL", "NORTH", "PORT_BITS", "SOUTH", "WEST",
           "DynamicInput", "DynamicOutput", "destination_layout", "dimension_order", "extended", "position_layout"]

NORTH, EAST, SOUTH, WEST, LOCAL = range(5)          # LOCAL is the first port to a unit; row 0 is the north edge
PORT_BITS = 3
PATIENCE = 4                # packets of other switches that may pass before one of the own units'


def position_layout(coordinate_bits: int) -> data.StructLayout:
    """Where a switch is in the grid."""
    return data.StructLayout({"row": coordinate_bits, "column": coordinate_bits})


def destination_layout(coordinate_bits: int, labels: int) -> data.StructLayout:
    """Where a dynamic packet leaves the network: at switch (``row``, ``column``) by output ``port`` with ``label``, which
    is the input of the unit behind that port."""
    return data.StructLayout({"label": range(max(labels, 2)), "port": PORT_BITS, "row": coordinate_bits, "column": coordinate_bits})


def extended(packet: data.StructLayout, destination: data.StructLayout | None) -> data.StructLayout:
    """``packet`` as it is on a link: with its destination, if there are dynamic packets at all."""
    return packet if destination is None else data.StructLayout(dict(packet.members) | {"destination": destination})


def dimension_order(destination, position, ports: int) -> Value:
    """One-hot output port: along the row first, then along the column, then out. A port that does not exist: zero."""
    west, east = destination.column < position.column, destination.column > position.column
    north, south = destination.row < position.row, destination.row > position.row
    turn = ~(west | east)
    here = turn & ~(north | south)
    out = Mux(here, 1 << destination.port, 0)[:ports]
    return out | Cat(turn & north, east, turn & south, west)


class DynamicInput(wiring.Component):
    """The dynamic half of one input of a switch: ``slots`` places for one packet each, every one with a credit of its own.

    Parameters: ``payload``, layout of a link's packet with its ``destination``; ``position``, a :func:`position_layout`;
    ``ports`` and ``labels`` of the switch; ``slots``.

    Members
    -------
    ``position`` In; ``arrive`` In, one-hot, the slot that takes ``arriving`` In; ``credits[p]`` In, of output p: the labels, then
    the slots behind it that are free; ``asks[s]`` Out, one-hot, the output that slot s's packet can go to now; ``onward[s]`` Out,
    the labels and slots with which it may leave; ``payloads[s]`` Out; ``leave`` In, the slots whose packets leave now;
    ``held`` Out, the slots in use.

    Contract: a packet asks one cycle after it crossed the link. Packets to different outputs do not wait for each other and may all
    leave in one cycle; packets to one output leave in the order in which they came. A packet whose destination names no
    port of the switch never leaves.
    """

    in_order = True

    def __init__(self, payload, position, ports: int, labels: int, slots: int):
        self.payload_layout, self.position_layout = payload, position
        self.ports, self.labels, self.slots = ports, labels, slots
        self.identity = (payload, position, ports, labels, slots)
        onward = labels + slots
        super().__init__({
            "position": In(position),
            "arrive": In(slots),
            "arriving": In(payload),
            "credits": In(onward).array(ports),
            "asks": Out(ports).array(slots),
            "onward": Out(onward).array(slots),
            "payloads": Out(payload).array(slots),
            "leave": In(slots),
            "held": Out(slots),
        })

    def elaborate(self, platform):
        m = Module()
        slots = range(self.slots)
        here, exits, onward = Signal(self.ports), Signal(), Signal(self.labels + self.slots)
        destination = self.arriving.destination
        m.d.comb += [
            here.eq(dimension_order(destination, self.position, self.ports)),
            exits.eq((destination.row == self.position.row) & (destination.column == self.position.column)),
            onward.eq(Mux(exits, 1 << destination.label, (1 << self.slots) - 1 << self.labels)),
        ]
        held = Signal(self.slots)
        self.wants = wants = [Signal(self.ports, name=f"wants_{slot}") for slot in slots]
        self.elders = [Signal(self.slots, name=f"elders_{slot}") for slot in slots]     # that came before and want the same output
        same = Signal(self.slots)             # slots whose packets want what the arriving one wants
        m.d.comb += same.eq(Cat((wants[slot] & here).any() for slot in slots))
        m.d.sync += held.eq(held & ~self.leave | self.arrive)
        m.d.comb += self.held.eq(held)
        for slot in slots:
            elders = self.elders[slot]
            open_ = Signal(self.ports, name=f"open_{slot}")
            with m.If(self.arrive[slot]):
                m.d.sync += [self.payloads[slot].eq(self.arriving), wants[slot].eq(here), self.onward[slot].eq(onward),
                             elders.eq(held & same & ~self.leave if self.in_order else 0)]
            with m.Else():
                m.d.sync += elders.eq(elders & ~self.leave)
            m.d.comb += open_.eq(Cat((credit & self.onward[slot]).any() for credit in self.credits))
            m.d.comb += self.asks[slot].eq(Mux(held[slot] & ~elders.any(), wants[slot] & open_, 0))
        return m


class DynamicOutput(wiring.Component):
    """The dynamic half of one output of a switch: the choice among the slots of all inputs.

    Parameters: ``payload``, layout of a link's packet; ``inputs``; ``labels``; ``slots``.

    Members
    -------
    ``asked[i]`` In, a mask over the slots of input i (one at most); ``onward[i * slots + s]``, ``payloads[i * slots + s]`` In, of
    that slot; ``credits`` In, labels and slots behind the output that are free; ``valid`` Out, somebody asks; ``go`` In, the link
    is free for it; ``label``, ``payload`` Out, the packet; ``pick`` Out, one-hot over the slots of all inputs and ``spent`` Out,
    one-hot over labels and slots: zero without ``go``.

    Contract: combinational. Inputs take turns. Packets on their way go before those that a unit of this switch sends (a network
    that takes in more than it delivers fills up), but no more than ``PATIENCE`` of them while one of those waits.
    """

    def __init__(self, payload, inputs: int, labels: int, slots: int):
        self.payload_layout, self.inputs, self.labels, self.slots = payload, inputs, labels, slots
        self.identity = (payload, inputs, labels, slots)
        onward = labels + slots
        super().__init__({
            "asked": In(slots).array(inputs),
            "onward": In(onward).array(inputs * slots),
            "payloads": In(payload).array(inputs * slots),
            "credits": In(onward),
            "valid": Out(1),
            "go": In(1),
            "label": Out(range(onward)),
            "payload": Out(payload),
            "pick": Out(inputs * slots),
            "spent": Out(onward),
        })

    def elaborate(self, platform):
        m = Module()
        turn = RoundRobin(self.inputs)
        m.submodules.turn = instantiate(platform, turn)
        wants, passing, mask = Signal(self.inputs), Signal(self.inputs), (1 << LOCAL) - 1
        patience, urgent = Signal(ceil_log2(PATIENCE + 1)), Signal()
        chosen, free = Signal(self.inputs * self.slots), Signal(self.labels + self.slots)
        m.d.comb += [
            wants.eq(Cat(asked.any() for asked in self.asked)),
            passing.eq(wants & mask),
            urgent.eq(patience == PATIENCE),
            turn.requests.eq(Mux(urgent & (wants & ~mask).any(), wants & ~mask, Mux(passing.any(), passing, wants))),
            turn.done.eq(self.go & self.valid),
            self.valid.eq(wants.any()),
            chosen.eq(Cat(Mux(turn.pick[index], asked, 0) for index, asked in enumerate(self.asked))),
            self.label.eq(encode(lowest(free))),
        ]
        with m.Switch(chosen):
            for index, payload in enumerate(self.payloads):
                with m.Case(1 << index):
                    m.d.comb += [free.eq(self.onward[index] & self.credits), self.payload.eq(payload)]
        with m.If(self.go):
            m.d.comb += [self.pick.eq(chosen), self.spent.eq(lowest(free))]
            with m.If((turn.pick & ~mask).any()):
                m.d.sync += patience.eq(0)
            with m.Elif(self.valid & (wants & ~mask).any() & ~urgent):
                m.d.sync += patience.eq(patience + 1)
        return m
