"""A switch of the vector or the scalar fabric: label-switched virtual circuits with multicast."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..common.program import program_layout
from ..hierarchy import instantiate
from .dynamic import DynamicInput, DynamicOutput, destination_layout, extended, position_layout
from .input_port import InputPort
from .link import Link
from .mask import LevelCounters
from .output_port import OutputPort

__all__ = ["SWITCH_EVENTS", "Switch", "flow_table"]

SWITCH_EVENTS = ("forwarded", "blocked", "lost")


def flow_table(ports: int, labels: int) -> data.ArrayLayout:
    """Program of a switch: entry ``input * labels + label`` has ``branches``, a mask over ``output * labels + next label``.

    Every entry has words of its own, so a kernel is loaded without touching the entries of a resident one.
    """
    return data.ArrayLayout(program_layout({"branches": ports * labels}), ports * labels)


class Switch(wiring.Component):
    """Moves packets from the inputs to the outputs that the flow table names.

    Parameters: ``payload``, layout of a unit's packet; ``ports``; ``labels`` per link; ``depth``, packets per label and input;
    ``slots``, places for dynamic packets per input (0: they do not exist); ``coordinate_bits`` of their destinations.

    Members
    -------
    ``flows[e]`` In, the masks of :func:`flow_table`; ``inputs[p]`` In(Link), ``outputs[p]`` Out(Link); with slots ``position`` In;
    ``events`` Out: masks over the ports: ``forwarded`` (by output: a packet left), ``blocked`` (by input: packets wait, all for
    credits), ``lost`` (by input: a packet could go, and every output it can go to served another input).

    Contract: one cycle (a packet that crosses an input link in cycle t can cross the output link in cycle t + 1); one packet
    per link per cycle. Packets of one label stay in order on every branch. A label without credit never holds up another.
    Any input may go to any output, its own included; one label may go to several labels of one output (one a cycle).
    A request with a credit is served within ``labels * ports`` packets of its input and output; outputs take the inputs in
    turn. No two inputs may send to one (output, label).
    A packet on label ``labels + s`` is dynamic: it goes dimension-order to the destination it carries, and there leaves with the
    label that it names. Where a link is wanted by packets of both kinds they take turns; dynamic packets cost the others
    nothing when there are none.
    ``outputs[p]`` depend combinationally on registers only, ``inputs[p].credit`` too.
    Source: architecture.md section 3 (RDN); SN40L paper IV.C (flow IDs rewritten at every switch port).
    """

    input_port = InputPort

    def __init__(self, payload, ports: int, labels: int, depth: int, *, slots: int = 0, coordinate_bits: int = 4):
        self.payload_layout, self.ports, self.labels, self.depth, self.slots = payload, ports, labels, depth, slots
        self.identity = (payload, ports, labels, depth, slots, coordinate_bits)
        self.position_layout = position_layout(coordinate_bits)
        self.packet = extended(payload, destination_layout(coordinate_bits, labels) if slots else None)
        link = Link(self.packet, labels, slots)
        super().__init__({
            **({"position": In(self.position_layout)} if slots else {}),
            "flows": In(ports * labels).array(ports * labels),
            "inputs": In(link).array(ports),
            "outputs": Out(link).array(ports),
            "events": Out(data.StructLayout({name: ports for name in SWITCH_EVENTS})),
        })

    def elaborate(self, platform):
        m = Module()
        branches = self.ports * self.labels
        self.credits = credits = LevelCounters(branches, self.depth, full=True)
        m.submodules.credits = instantiate(platform, credits)
        self.input_ports = inputs = [self.input_port(self.payload_layout, self.labels, self.depth, branches) for _ in range(self.ports)]
        outputs = [OutputPort(self.payload_layout, self.ports, self.labels) for _ in range(self.ports)]
        hold = Signal(self.ports)              # outputs whose link a dynamic packet takes in this cycle
        m.d.comb += [
            credits.up.eq(Cat(link.credit[:self.labels] for link in self.outputs)),
            credits.down.eq(Cat(port.spent for port in outputs)),
        ]
        for index, port in enumerate(inputs):
            m.submodules[f"input_{index}"] = instantiate(platform, port)
            self._enter(m, self.inputs[index], port.link)
            granted = [Mux(output.winner[index], output.spent, 0) for output in outputs]
            m.d.comb += [port.credits.eq(credits.nonzero), port.grant.eq(Cat(granted))]
            m.d.comb += [port.routes[label].eq(self.flows[index * self.labels + label]) for label in range(self.labels)]
        for index, port in enumerate(outputs):
            m.submodules[f"output_{index}"] = instantiate(platform, port)
            link, first = self.outputs[index], index * self.labels
            m.d.comb += [link.valid.eq(port.valid), link.label.eq(port.label), port.hold.eq(hold[index])]
            m.d.comb += [link.payload[name].eq(port.payload[name]) for name in self.payload_layout.members]
            for number, source in enumerate(inputs):
                m.d.comb += [
                    port.asked[number].eq(source.request[first:first + self.labels]),
                    port.payloads[number].eq(source.payload),
                ]
        m.d.comb += [
            self.events.forwarded.eq(Cat(link.valid for link in self.outputs)),
            self.events.blocked.eq(Cat(port.blocked for port in inputs)),
            self.events.lost.eq(Cat(port.lost for port in inputs)),
        ]
        if self.slots:
            self._dynamic(m, platform, inputs, outputs, credits, hold)
        return m

    def _enter(self, m: Module, link, label_link) -> None:
        """The part of an input link that carries virtual circuits."""
        m.d.comb += [label_link.label.eq(link.label), link.credit[:self.labels].eq(label_link.credit)]
        m.d.comb += label_link.valid.eq(link.valid & (link.label < self.labels if self.slots else 1))
        m.d.comb += [label_link.payload[name].eq(link.payload[name]) for name in self.payload_layout.members]

    def _dynamic(self, m: Module, platform, inputs: list, outputs: list, credits: LevelCounters, hold: Signal) -> None:
        """Beside the virtual circuits: slots at every input, a second choice at every output, turns between the two."""
        sizes = (self.ports, self.labels, self.slots)
        self.dynamic_inputs = slots = [DynamicInput(self.packet, self.position_layout, *sizes) for _ in range(self.ports)]
        self.free = [Signal(self.slots, init=(1 << self.slots) - 1, name=f"free_{index}") for index in range(self.ports)]
        picks = [DynamicOutput(self.packet, *sizes) for _ in range(self.ports)]
        every = range(self.ports * self.slots)
        left, turn, both = Signal(len(every)), Signal(self.ports), Signal(self.ports)
        m.d.comb += left.eq(reduce(or_, (pick.pick for pick in picks)))
        m.d.comb += both.eq(Cat(pick.valid & output.wanted for pick, output in zip(picks, outputs, strict=True)))
        m.d.comb += hold.eq(Cat(pick.valid for pick in picks) & (turn | ~Cat(output.wanted for output in outputs)))
        m.d.sync += turn.eq(turn ^ both)
        for index, (side, port) in enumerate(zip(slots, inputs, strict=True)):
            m.submodules[f"dynamic_input_{index}"] = instantiate(platform, side)
            link, first = self.inputs[index], index * self.slots
            m.d.comb += [
                side.position.eq(self.position), side.arriving.eq(link.payload), side.leave.eq(left[first:first + self.slots]),
                side.arrive.eq(Cat(link.valid & (link.label == self.labels + slot) for slot in range(self.slots))),
                link.credit[self.labels:].eq(side.leave),
            ]
            asks = Cat(side.asks).any() | port.asks
            m.d.comb += self.events.blocked[index].eq((port.blocked | side.held.any()) & ~asks)
            m.d.comb += self.events.lost[index].eq(asks & ~(side.leave.any() | port.asks & ~port.lost))
        for index, (pick, output) in enumerate(zip(picks, outputs, strict=True)):
            m.submodules[f"dynamic_output_{index}"] = instantiate(platform, pick)
            link, free = self.outputs[index], self.free[index]
            m.d.sync += free.eq(free & ~pick.spent[self.labels:] | link.credit[self.labels:])
            m.d.comb += [
                pick.credits.eq(Cat(credits.nonzero[index * self.labels:(index + 1) * self.labels], free)),
                pick.go.eq(hold[index]),
                credits.down[index * self.labels:(index + 1) * self.labels].eq(output.spent | pick.spent[:self.labels]),
            ]
            m.d.comb += [asked.eq(Cat(ask[index] for ask in side.asks)) for asked, side in zip(pick.asked, slots, strict=True)]
            for number in every:
                side, slot = slots[number // self.slots], number % self.slots
                m.d.comb += [pick.onward[number].eq(side.onward[slot]), pick.payloads[number].eq(side.payloads[slot])]
            m.d.comb += [side.credits[index].eq(pick.credits) for side in slots]
            with m.If(hold[index]):
                m.d.comb += [link.valid.eq(1), link.label.eq(pick.label), link.payload.eq(pick.payload)]
