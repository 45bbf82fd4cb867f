"""A switch of the vector or the scalar fabric: label-switched virtual circuits with multicast."""

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..common.program import program_layout
from ..hierarchy import instantiate
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

    Parameters: ``payload``, layout of a packet; ``ports``; ``labels`` per link; ``depth``, packets per label and input.

    Members
    -------
    ``flows[e]`` In, the masks of :func:`flow_table`; ``inputs[p]`` In(Link), ``outputs[p]`` Out(Link);
    ``events`` Out: masks over the ports: ``forwarded`` (by output: a packet left), ``blocked`` (by input: packets wait, all for
    credits), ``lost`` (by input: a packet could go, and every output it can go to served another input).

    Contract: one cycle (a packet that crosses an input link in cycle t can cross the output link in cycle t + 1); one packet
    per link per cycle. Packets of one label stay in order on every branch. A label without credit never holds up another.
    Any input may go to any output, its own included; one label may go to several labels of one output (one a cycle).
    A request with a credit is served within ``labels * ports`` packets of its input and output; outputs take the inputs in
    turn. No two inputs may send to one (output, label).
    ``outputs[p]`` depend combinationally on registers only, ``inputs[p].credit`` too.
    Source: architecture.md section 3 (RDN); SN40L paper IV.C (flow IDs rewritten at every switch port).
    """

    input_port = InputPort

    def __init__(self, payload, ports: int, labels: int, depth: int):
        self.payload_layout, self.ports, self.labels, self.depth = payload, ports, labels, depth
        self.identity = (payload, ports, labels, depth)
        super().__init__({
            "flows": In(ports * labels).array(ports * labels),
            "inputs": In(Link(payload, labels)).array(ports),
            "outputs": Out(Link(payload, labels)).array(ports),
            "events": Out(data.StructLayout({name: ports for name in SWITCH_EVENTS})),
        })

    def elaborate(self, platform):
        m = Module()
        branches = self.ports * self.labels
        credits = LevelCounters(branches, self.depth, full=True)
        m.submodules.credits = instantiate(platform, credits)
        inputs = [self.input_port(self.payload_layout, self.labels, self.depth, branches) for _ in range(self.ports)]
        outputs = [OutputPort(self.payload_layout, self.ports, self.labels) for _ in range(self.ports)]
        m.d.comb += [
            credits.up.eq(Cat(link.credit for link in self.outputs)),
            credits.down.eq(Cat(port.spent for port in outputs)),
        ]
        for index, port in enumerate(inputs):
            m.submodules[f"input_{index}"] = instantiate(platform, port)
            wiring.connect(m, port.link, wiring.flipped(self.inputs[index]))
            granted = [Mux(output.winner[index], output.spent, 0) for output in outputs]
            m.d.comb += [port.credits.eq(credits.nonzero), port.grant.eq(Cat(granted))]
            m.d.comb += [port.routes[label].eq(self.flows[index * self.labels + label]) for label in range(self.labels)]
        for index, port in enumerate(outputs):
            m.submodules[f"output_{index}"] = instantiate(platform, port)
            link, first = self.outputs[index], index * self.labels
            m.d.comb += [link.valid.eq(port.valid), link.label.eq(port.label), link.payload.eq(port.payload)]
            for number, source in enumerate(inputs):
                m.d.comb += [
                    port.asked[number].eq(source.request[first:first + self.labels]),
                    port.payloads[number].eq(source.payload),
                ]
        m.d.comb += [
            self.events.forwarded.eq(Cat(port.valid for port in outputs)),
            self.events.blocked.eq(Cat(port.blocked for port in inputs)),
            self.events.lost.eq(Cat(port.lost for port in inputs)),
        ]
        return m
