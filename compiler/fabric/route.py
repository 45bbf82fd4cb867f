"""Routes: from flows between placed units to the program of every switch.

    routes = Router(config).route([Flow(name="x", source=("agcu", 0, 0), destinations=(("unit", 0, 1, 2),))])
    routes.words()                  # unit number of a switch -> {word index: value}
    print(routes.describe())

Every flow becomes a tree of links. Trees are found one after the other, each by cheapest paths from what is already reached to
the nearest destination left; a link that is short of labels gets dearer for everyone until nobody needs more than there are
(negotiated congestion). Labels are then counted off link by link: a label means something on one link only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import networkx as nx

from hw.config import RDUConfig
from hw.rdn.program import SwitchProgram

from .dependency import check_dependencies
from .ports import FABRICS, Fabric, RouteError
from .routes import Edge, Route, Routes, program_of

__all__ = ["Flow", "RouteError", "Router", "Routes"]

MOST_ROUNDS = 60


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One source to one or more destinations.

    Attributes
    ----------
    name: for messages.
    source, destinations: ports of units: ("unit", row, column, port) or ("agcu", index, engine).
    fabric: "vector", "scalar" or "control".
    rate: packets per cycle on average; links are shared so that the rates on one stay below 1 where possible.
    merge: other flows (all of them with ``merge``) may end at the same destination.
    dynamic: its packets carry their destination and go dimension-order, in slots that all dynamic flows share; one destination.
    by_data: of a dynamic flow: each packet names one of the ``destinations`` in its first word (:meth:`Fabric.word`).
    window: packets that can be under way at once, 0 = any number: a recurrence has one. The unit's input holds ``rdn.buffer_depth``;
        a flow of no more never fills the network, whatever its unit waits for.
    """

    name: str
    source: tuple
    destinations: tuple[tuple, ...]
    fabric: str = "vector"
    rate: float = 1.0
    merge: bool = False
    dynamic: bool = False
    by_data: bool = False
    window: int = 0


class Router:
    """Finds routes on one tile. The same flows always get the same routes.

    Errors: :class:`RouteError` naming the flow, the place and the limit: a port that is not there, a source or a destination used
    twice, a link whose labels do not suffice, dynamic flows that can wait for each other in a circle.
    """

    def __init__(self, config: RDUConfig):
        self.config = config
        self.fabrics = {name: Fabric(config, name) for name in FABRICS}

    def route(self, flows: Iterable[Flow], reserved: Sequence[Flow | Routes] = ()) -> Routes:
        """Routes ``flows``; ``reserved`` are flows (routed first, by themselves) or finished routes of kernels that stay loaded:
        nothing of theirs is shared, moved or overwritten."""
        flows = list(flows)
        resident = [item for item in reserved if isinstance(item, Routes)]
        if fresh := [item for item in reserved if isinstance(item, Flow)]:
            resident.append(self.route(fresh, reserved=resident))
        kept = [route for routes in resident for route in routes.routes]
        self._check_ends([*(route.flow for route in kept), *flows])
        found = []
        for name, fabric in self.fabrics.items():
            wanted = [flow for flow in flows if flow.fabric == name]
            resting = [route for route in kept if route.flow.fabric == name]
            fixed = [self._dimension_order(fabric, flow) for flow in wanted if flow.dynamic]
            found += fixed + self._negotiate(fabric, [flow for flow in wanted if not flow.dynamic], [*resting, *fixed])
        check_dependencies(self.fabrics, [*kept, *found])
        order = {id(flow): index for index, flow in enumerate(flows)}
        found.sort(key=lambda route: order[id(route.flow)])
        shared: dict[tuple[int, int], SwitchProgram] = {}
        for routes in resident:
            for point, program in routes.programs.items():
                shared[point] = shared.get(point, SwitchProgram()).merged(program)
        return Routes(self.config, found, shared)

    def _check_ends(self, flows: list[Flow]) -> None:
        """Every endpoint exists, no source has two flows, no destination two unless they merge."""
        sources: dict[tuple, Flow] = {}
        ends: dict[tuple, Flow] = {}
        for flow in flows:
            fabric = self.fabrics.get(flow.fabric)
            if fabric is None:
                raise RouteError(f"flow {flow.name!r}: fabric {flow.fabric!r} does not exist; fabrics are: {', '.join(FABRICS)}")
            if not flow.destinations or len(set(flow.destinations)) != len(flow.destinations):
                raise RouteError(f"flow {flow.name!r}: destinations {flow.destinations} must be at least one, each once")
            if flow.dynamic or flow.by_data:
                self._check_dynamic(flow)
            if flow.rate < 0 or flow.rate > 1:
                raise RouteError(f"flow {flow.name!r}: rate={flow.rate} must be from 0 to 1 packet per cycle")
            other = sources.setdefault((fabric.name, fabric.source(flow.source, flow.name)), flow)
            if other is not flow:
                raise RouteError(f"flow {flow.name!r}: source {flow.source} already sends flow {other.name!r}; give one flow "
                                 "several destinations instead")
            for destination in flow.destinations:
                other = ends.setdefault((fabric.name, fabric.destination(destination, flow.name)), flow)
                if other is not flow and not (flow.merge and other.merge and flow.fabric != "control"):
                    raise RouteError(f"flow {flow.name!r}: destination {destination} already takes flow {other.name!r} "
                                     "(packet flows that shall meet there need merge=True, all of them)")

    def _check_dynamic(self, flow: Flow) -> None:
        if not self.config.rdn.dynamic_slots:
            raise RouteError(f"flow {flow.name!r}: preset {self.config.name} has no dynamic packets (rdn.dynamic_slots=0)")
        if flow.fabric == "control" or (not flow.by_data and len(flow.destinations) != 1):
            raise RouteError(f"flow {flow.name!r}: a dynamic flow is of packets and has one destination, not "
                             f"{len(flow.destinations)} on the {flow.fabric} fabric (by_data=True: each packet names one of several)")
        if not flow.dynamic:
            raise RouteError(f"flow {flow.name!r}: by_data=True needs dynamic=True: a circuit's packets carry no destination")

    @staticmethod
    def _dimension_order(fabric: Fabric, flow: Flow) -> Route:
        """The ways that the switches themselves take: along the row, then along the column."""
        start = fabric.source(flow.source, flow.name).point
        tree = {start: None}
        for destination in flow.destinations:
            at, end = start, fabric.destination(destination, flow.name).point
            while at != end:
                (row, column), (low, right) = at, end
                step = (row, column + (1 if right > column else -1)) if column != right else (row + (1 if low > row else -1), column)
                tree[step], at = at, step
        return Route(flow, tree, {}, {})

    def _negotiate(self, fabric: Fabric, flows: list[Flow], kept: list[Route]) -> list[Route]:
        """Routes of ``flows`` that leave each link at most ``fabric.labels`` users, the kept routes included."""
        taken: dict[Edge, dict[int, str]] = defaultdict(dict)
        load: dict[Edge, float] = defaultdict(float)
        for route in kept:
            for edge, label in route.labels.items():
                taken[edge][label] = route.flow.name
            for edge in route.edges:
                load[edge] += route.flow.rate
        users: dict[Edge, list[Flow]] = defaultdict(list)
        history: dict[Edge, float] = defaultdict(float)
        trees: dict[Flow, dict] = {}
        for pressure in (2.0 ** min(number, 20) for number in range(MOST_ROUNDS)):
            for flow in flows:
                for edge in _edges(trees.pop(flow, {})):
                    users[edge].remove(flow)
                    load[edge] -= flow.rate

                def cost(a, b, _, flow=flow, pressure=pressure):
                    excess = len(users[a, b]) + 1 + len(taken[a, b]) - fabric.labels
                    crowd = max(0.0, load[a, b] + flow.rate - 1)
                    return (1 + history[a, b] + 0.5 * load[a, b] + 4 * crowd) * (1 + pressure * max(0, excess))

                trees[flow] = _grow(fabric, flow, cost)
                for edge in _edges(trees[flow]):
                    users[edge].append(flow)
                    load[edge] += flow.rate
            full = [edge for edge in users if len(users[edge]) + len(taken[edge]) > fabric.labels]
            if not full:
                return self._label(fabric, flows, trees, taken)
            for edge in full:
                history[edge] += 1
        (a, b) = edge = full[0]
        names = ", ".join(sorted([*(flow.name for flow in users[edge]), *taken[edge].values()]))
        kind = "wires" if fabric.name == "control" else "labels"
        raise RouteError(f"flow {users[edge][-1].name!r}: no free label on the {fabric.name} link {a} -> {b} after {MOST_ROUNDS} "
                         f"rounds of rerouting: {fabric.labels} {kind}, wanted by {names}")

    @staticmethod
    def _label(fabric: Fabric, flows: list[Flow], trees: dict, taken: dict) -> list[Route]:
        routes = []
        for flow in flows:
            labels = {}
            for edge in _edges(trees[flow]):
                labels[edge] = next(label for label in range(fabric.labels) if label not in taken[edge])
                taken[edge][labels[edge]] = flow.name
            routes.append(Route(flow, trees[flow], labels, program_of(fabric, flow, trees[flow], labels)))
        return routes


def _grow(fabric: Fabric, flow: Flow, cost) -> dict:
    """A tree over the switches, child -> parent (the root's is None), that reaches all destinations."""
    root = fabric.source(flow.source, flow.name).point
    tree = {root: None}
    left = {fabric.destination(end, flow.name).point for end in flow.destinations} - {root}
    while left:
        distance, paths = nx.multi_source_dijkstra(fabric.graph, set(tree), weight=cost)
        nearest = min(left, key=lambda point: (distance[point], point))
        for parent, child in zip(paths[nearest], paths[nearest][1:], strict=False):
            tree.setdefault(child, parent)
        left -= set(tree)
    return tree


def _edges(tree: dict) -> list[Edge]:
    return [(parent, child) for child, parent in tree.items() if parent is not None]
