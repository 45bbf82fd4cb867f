"""A switch of the vector or the scalar fabric: label-switched virtual circuits with multicast."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..common.program import program_layout
from ..hierarchy import instantiate
from .input_port import InputPort
from .link import Link
from .mask import LevelCounters, RoundRobin, encode, lowest

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
    ``flows`` In, see :func:`flow_table`; ``inputs[p]`` In(Link), ``outputs[p]`` Out(Link);
    ``events`` Out: masks over the ports: ``forwarded`` (by output: a packet left), ``blocked`` (by input: a packet waits for a
    credit), ``lost`` (by input: a packet could go, and every output it can go to served another input).

    Contract: one cycle (a packet that crosses an input link in cycle t can cross the output link in cycle t + 1); one packet
    per link per cycle. Packets of one label stay in order on every branch. A label without credit never holds up another.
    Any input may go to any output, its own included; one label may go to several labels of one output (one a cycle).
    A request with a credit is served within ``labels * ports`` packets of its input and output; outputs take the inputs in
    turn. No two inputs may send to one (output, label).
    ``outputs[p]`` depend combinationally on registers only, ``inputs[p].credit`` too.
    Source: architecture.md section 3 (RDN); SN40L paper IV.C (flow IDs rewritten at every switch port).
    """

    def __init__(self, payload, ports: int, labels: int, depth: int):
        self.payload_layout, self.ports, self.labels, self.depth = payload, ports, labels, depth
        self.identity = (payload, ports, labels, depth)
        super().__init__({
            "flows": In(flow_table(ports, labels)),
            "inputs": In(Link(payload, labels)).array(ports),
            "outputs": Out(Link(payload, labels)).array(ports),
            "events": Out(data.StructLayout({name: ports for name in SWITCH_EVENTS})),
        })

    def elaborate(self, platform):
        m = Module()
        branches = self.ports * self.labels
        credits = LevelCounters(branches, self.depth, full=True, name="credits")
        inputs = [self._input(m, platform, index, credits.nonzero) for index in range(self.ports)]
        chosen = [self._output(m, index, inputs) for index in range(self.ports)]
        spent = Cat(label for _, label in chosen)
        credits.update(m, up=Cat(port.credit for port in self.outputs), down=spent)
        for index, port in enumerate(inputs):
            winners = Cat(winner[index].replicate(self.labels) for winner, _ in chosen)
            m.d.comb += port.grant.eq(spent & winners)
        m.d.comb += [
            self.events.forwarded.eq(Cat(port.valid for port in self.outputs)),
            self.events.blocked.eq(Cat(port.blocked for port in inputs)),
            self.events.lost.eq(Cat(port.lost for port in inputs)),
        ]
        return m

    def _input(self, m: Module, platform, index: int, credits: Signal) -> InputPort:
        port = InputPort(self.payload_layout, self.labels, self.depth, self.ports * self.labels)
        m.submodules[f"input_{index}"] = instantiate(platform, port)
        wiring.connect(m, port.link, wiring.flipped(self.inputs[index]))
        m.d.comb += port.credits.eq(credits)
        for label in range(self.labels):
            m.d.comb += port.routes[label].eq(self.flows[index * self.labels + label].branches)
        return port

    def _output(self, m: Module, index: int, inputs: list[InputPort]) -> tuple[Signal, Signal]:
        """One output: returns (the input that is served, the label it goes out with), both one-hot."""
        link = self.outputs[index]
        first = index * self.labels
        asked = [port.request[first:first + self.labels] for port in inputs]
        wanted, label = Signal(self.labels, name=f"wanted_{index}"), Signal(self.labels, name=f"label_{index}")
        turn = RoundRobin(self.ports, f"output_{index}")
        winner = turn.build(m, requests=Cat(labels.any() for labels in asked), done=link.valid)
        with m.Switch(winner):
            for number, port in enumerate(inputs):
                with m.Case(1 << number):
                    m.d.comb += [wanted.eq(asked[number]), link.payload.eq(port.payload)]
        m.d.comb += [label.eq(lowest(wanted)), link.valid.eq(winner.any()), link.label.eq(encode(label))]
        return winner, label
