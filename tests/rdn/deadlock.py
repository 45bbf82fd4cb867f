"""Units that fork and join flows on a mesh, and who waits for whom when they stand still."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from compiler.fabric.route import Flow, Router
from hw.hierarchy import instantiate
from hw.rdn.ends import MeshWithEnds
from hw.rdn.input_port import InputPort
from hw.rdn.node import switch_program

__all__ = ["JoinMesh", "SharedFifoInput", "Stuck", "drain"]


class SharedFifoInput(InputPort):
    """Known-bad: packets of all labels leave in the order in which they came."""

    def waiting(self, m, held, arrive, leave):
        bits = max(1, (self.labels - 1).bit_length())
        m.submodules.order = order = SyncFIFO(width=bits, depth=self.labels * self.depth)
        mask = Signal(self.labels)
        m.d.comb += [order.w_en.eq(arrive.any()), order.w_data.eq(self.link.label), order.r_en.eq(leave.any()),
                     mask.eq(Mux(order.r_rdy, 1 << order.r_data, 0))]
        return mask


class JoinUnit(wiring.Component):
    """Takes one packet from each of its inputs, then sends one to each of its outputs; a source has no inputs.

    Members: ``takes``, ``gives`` In, masks of inputs and outputs in use; ``limit`` In, how often; ``lazy`` In, holds back in 0 to 3 of 4
    cycles at random; ``fired`` Out; ``wrong`` Out, packets of one step did not have the same number.
    """

    def __init__(self, ports: int, data, packet, seed: int):
        self.ports, self.seed = ports, seed
        from amaranth.lib import stream
        super().__init__({"takes": In(ports), "gives": In(ports), "limit": In(8), "lazy": In(2), "fired": Out(8), "wrong": Out(1),
                          "inputs": In(stream.Signature(packet)).array(ports), "outputs": Out(stream.Signature(data)).array(ports)})

    def elaborate(self, platform):
        m = Module()
        noise = Signal(16, init=self.seed * 2654435761 % 65535 + 1)
        m.d.sync += noise.eq(Cat(noise[15] ^ noise[13] ^ noise[12] ^ noise[10], noise[:15]))
        unsent, number, fire = Signal(self.ports), Signal(8), Signal()
        valid, ready = (Cat(port.valid for port in self.inputs), Cat(port.ready for port in self.outputs))
        m.d.comb += fire.eq((~valid & self.takes == 0) & (unsent == 0) & (self.fired != self.limit) & (noise[:2] >= self.lazy))
        m.d.sync += unsent.eq(Mux(fire, self.gives, unsent & ~ready))
        with m.If(fire):
            m.d.sync += [self.fired.eq(self.fired + 1), number.eq(self.fired)]
        for index in range(self.ports):
            m.d.comb += [self.inputs[index].ready.eq(fire & self.takes[index]), self.outputs[index].valid.eq(unsent[index]),
                         self.outputs[index].p[0].eq(number)]
            with m.If(fire & self.takes[index] & (self.inputs[index].p.data[0] != self.fired)):
                m.d.sync += self.wrong.eq(1)
        return m


class JoinMesh(wiring.Component):
    """A mesh with a :class:`JoinUnit` on every switch. Members, one per unit: as of the mesh and of the unit; ``offered[n]`` Out, inputs
    at which a packet waits; ``stuck[n]`` Out, outputs that have one to send."""

    def __init__(self, rows: int, columns: int, config, ports: int):
        self.mesh, self.ports = MeshWithEnds(rows, columns, config, ports), ports
        count = rows * columns
        super().__init__({"program": In(switch_program(config)).array(count), "takes": In(ports).array(count),
                          "gives": In(ports).array(count), "limit": In(8), "lazy": In(2).array(count), "fired": Out(8).array(count),
                          "wrong": Out(1).array(count), "offered": Out(ports).array(count), "stuck": Out(ports).array(count),
                          "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        mesh = self.mesh
        mesh.identity = "join"
        m.submodules.mesh = instantiate(platform, mesh)
        for number, program in enumerate(self.program):
            unit = JoinUnit(self.ports, mesh.packet["data"].shape, mesh.packet, number)
            m.submodules[f"unit_{number}"] = unit
            m.d.comb += [mesh.program[number].eq(program), unit.limit.eq(self.limit)]
            m.d.comb += [getattr(unit, name).eq(getattr(self, name)[number]) for name in ("takes", "gives", "lazy")]
            m.d.comb += [self.fired[number].eq(unit.fired), self.wrong[number].eq(unit.wrong)]
            for port in range(self.ports):
                wiring.connect(m, mesh.sink[number * self.ports + port], unit.inputs[port])
                wiring.connect(m, unit.outputs[port], mesh.source[number * self.ports + port])
            m.d.comb += [self.offered[number].eq(Cat(port.valid for port in unit.inputs)),
                         self.stuck[number].eq(Cat(port.valid & ~port.ready for port in unit.outputs))]
        m.d.comb += self.done.eq(Cat((fired == self.limit) | ((takes | gives) == 0) for fired, takes, gives in
                                     zip(self.fired, self.takes, self.gives, strict=True)).all())
        return m


@dataclass
class Stuck(AssertionError):
    """Nothing moves any more; ``circle`` is who waits for whom."""

    circle: list[str]

    def __str__(self) -> str:
        return "nothing moves: " + " -> ".join([*self.circle, self.circle[0]]) if self.circle else "nothing moves"


def drain(bench, config, flows: list[Flow], *, steps: int, lazy: list[int], quiet: int = 300) -> int:
    """Runs the graph of ``flows`` until every unit has fired ``steps`` times; returns the cycles. Raises :class:`Stuck`."""
    bench.reset()
    routes = Router(config).route(flows)
    units = {point: number for number, point in enumerate(config.grid)}
    takes, gives = [0] * len(units), [0] * len(units)
    for flow in flows:
        gives[units[flow.source[1:3]]] |= 1 << flow.source[3]
        for end in flow.destinations:
            takes[units[end[1:3]]] |= 1 << end[3]
    for point, number in units.items():
        program = routes.programs.get(point)
        bench.set(f"program[{number}]", program.pack(config.rdn) if program else 0)
        for name, value in (("takes", takes), ("gives", gives), ("lazy", lazy)):
            bench.set(f"{name}[{number}]", value[number])
    bench.set("limit", steps)
    before, begin = None, bench.cycle
    while not bench.get("done"):
        bench.tick(quiet)
        fired = [bench.get(f"fired[{number}]") for number in units.values()]
        if fired == before:
            raise Stuck(_circle(bench, routes, units))
        before = fired
    assert not any(bench.get(f"wrong[{number}]") for number in units.values()), "packets of different steps met"
    return bench.cycle - begin


def _circle(bench, routes, units) -> list[str]:
    """Units wait for flows that bring nothing, flows for those that they share a link with and for the units that do not take them."""
    graph, fired = nx.DiGraph(), {point: bench.get(f"fired[{number}]") for point, number in units.items()}
    for route in routes.routes:
        flow, source = route.flow, route.flow.source[1:3]
        name = f"flow {flow.name}"
        for end in flow.destinations:
            waiting = bench.get(f"offered[{units[end[1:3]]}]") >> end[3] & 1
            under_way = fired[source] - fired[end[1:3]]
            if waiting:
                graph.add_edge(name, f"unit {end[1:3]}")
            else:
                graph.add_edge(f"unit {end[1:3]}", name if under_way > 0 else f"unit {source}")
        if bench.get(f"stuck[{units[source]}]") >> flow.source[3] & 1:
            graph.add_edge(f"unit {source}", name)
        for other in routes.routes:
            if other is not route and set(other.edges) & set(route.edges):
                graph.add_edge(name, f"flow {other.flow.name}")
    try:
        edges = nx.find_cycle(graph.subgraph(node for node in graph), [node for node in graph if node.startswith("unit")])
    except nx.NetworkXNoCycle:
        return []
    return [node for node, _ in edges]
