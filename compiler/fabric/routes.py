"""What the router hands back: routes, the programs of the switches, and a picture in text."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from hw.config import RDUConfig
from hw.rdn.program import SwitchProgram

from .ports import OPPOSITE, Fabric, Point

if TYPE_CHECKING:
    from .route import Flow

__all__ = ["Edge", "Route", "Routes", "program_of"]

Edge = tuple[Point, Point]


@dataclass(frozen=True)
class Route:
    """The way of one flow: ``tree`` (switch -> the switch before it), the label on each link, the entries in each switch.

    A dynamic flow has neither labels nor entries."""

    flow: Flow
    tree: dict[Point, Point | None]
    labels: dict[Edge, int]
    programs: dict[Point, SwitchProgram]

    @property
    def edges(self) -> list[Edge]:
        """The links between switches."""
        return [(parent, child) for child, parent in self.tree.items() if parent is not None]

    def edges_to(self, point: Point) -> list[Edge]:
        """The links on the way to ``point``."""
        edges = []
        while (before := self.tree[point]) is not None:
            edges.insert(0, (before, point))
            point = before
        return edges


def program_of(fabric: Fabric, flow: Flow, tree: dict, labels: dict[Edge, int]) -> dict[Point, SwitchProgram]:
    """The entries of one flow in each switch of its tree."""
    entry = fabric.source(flow.source, flow.name)
    out = defaultdict(set)
    for destination in flow.destinations:
        leave = fabric.destination(destination, flow.name)
        out[leave.point].add((leave.port, leave.label))
    into = {entry.point: (entry.port, entry.label)}
    for (parent, child), label in labels.items():
        port = fabric.graph.edges[parent, child]["port"]
        out[parent].add((port, label))
        into[child] = (OPPOSITE[port], label)
    if fabric.name == "control":
        return {point: SwitchProgram(control={target: into[point] for target in out[point]}) for point in tree}
    return {point: SwitchProgram(**{fabric.name: {into[point]: frozenset(out[point])}}) for point in tree}


class Routes:
    """Routes of one kernel.

    Members: ``routes``, one :class:`Route` a flow, in the order given; ``programs``, (row, column) -> the entries of these flows.
    """

    def __init__(self, config: RDUConfig, routes: list[Route], resident: dict[Point, SwitchProgram]):
        self.config, self.routes, self._resident = config, routes, resident
        self.programs: dict[Point, SwitchProgram] = {}
        for route in routes:
            for point, program in route.programs.items():
                self.programs[point] = self.programs.get(point, SwitchProgram()).merged(program)

    def words(self) -> dict[int, dict[int, int]]:
        """Config-network number of each switch -> {word index: value}.

        Flow-table entries in use, those of resident kernels too (a program that comes from the shadows replaces a switch's whole one),
        and the control selects of all switches. Entries of an earlier kernel that stay in a flow table do no harm: no packet
        carries their labels.
        """
        nothing = SwitchProgram()
        return {self.config.switch_id(*point):
                self._resident.get(point, nothing).merged(self.programs.get(point, nothing)).words(self.config.rdn)
                for point in self.config.grid}

    def route_of(self, name: str) -> Route:
        """The route of the flow called ``name``."""
        return next(route for route in self.routes if route.flow.name == name)

    def latency(self, name: str, destination: tuple) -> int:
        """Cycles from the transfer at the source's stream to valid at the destination's, without other traffic."""
        route = self.route_of(name)
        fabric = Fabric(self.config, route.flow.fabric)
        return len(route.edges_to(fabric.destination(destination, name).point)) + 1 + (route.flow.fabric != "control")

    def loads(self) -> dict[tuple[str, Edge], float]:
        """(fabric, link) -> sum of the rates of the flows on it; above 1 the flows slow each other down."""
        loads = defaultdict(float)
        for route in self.routes:
            for edge in route.edges:
                loads[route.flow.fabric, edge] += route.flow.rate
        return dict(loads)

    def describe(self) -> str:
        """Every flow with its links and labels, and a map of how many labels each link has in use."""
        lines = []
        for route in self.routes:
            flow = route.flow
            ends = ", ".join(map(str, flow.destinations))
            lines.append(f"{flow.fabric} {flow.name} (rate {flow.rate:g}): {flow.source} -> {ends}")
            lines += [f"    {a} -> {b} {'dynamic' if flow.dynamic else f'label {route.labels[a, b]}'}" for a, b in route.edges]
        for fabric in sorted({route.flow.fabric for route in self.routes}, reverse=True):
            lines += ["", f"{fabric}: labels in use (east/west between columns, south/north between rows)", *self._map(fabric)]
        over = [f"{fabric} link {a} -> {b}: rates add up to {load:g}"
                for (fabric, (a, b)), load in self.loads().items() if load > 1.0001]
        return "\n".join(lines + (["", *over] if over else []))

    def _map(self, fabric: str) -> list[str]:
        used = defaultdict(int)
        for route in self.routes:
            if route.flow.fabric == fabric:
                for edge in route.labels:
                    used[edge] += 1
        lines = []
        for row in range(self.config.rows):
            points = [(row, column) for column in range(self.config.columns)]
            gaps = [f" {used[a, b]}/{used[b, a]} " for a, b in pairwise(points)]
            lines.append("".join(f"[{r},{c}]{gap}" for (r, c), gap in zip(points, [*gaps, ""], strict=True)))
            if row + 1 < self.config.rows:
                below = [((row, column), (row + 1, column)) for _, column in points]
                lines.append("".join(f" {used[a, b]}/{used[b, a]}      " for a, b in below).rstrip())
        return lines
