"""What can wait for what in the network: dynamic flows share buffers, so a circle of waiting among them is a deadlock.

A virtual circuit has buffers of its own at every hop: it waits for the unit at its end only. A dynamic packet waits for a slot that
packets of other flows may hold, and those for the units at their ends. A unit may stop taking until its outputs can send.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import networkx as nx

from .ports import Fabric, RouteError

if TYPE_CHECKING:
    from .routes import Route

__all__ = ["check_dependencies", "waiting"]


def waiting(fabrics: dict[str, Fabric], routes: list[Route]) -> nx.DiGraph:
    """Links of dynamic packets ("link", fabric, from, to) and units ("unit", ...) or ("agcu", ...); an edge means "may wait for", its
    ``flow`` is why. A unit's engines of an AGCU are independent of each other: each is a node of its own."""
    graph = nx.DiGraph()
    for route in routes:
        flow = route.flow
        if flow.fabric == "control":
            continue
        source = _unit(flow.source, "out")
        if not flow.dynamic:
            for end in flow.destinations:
                graph.add_edge(source, _unit(end, "in"), flow=flow.name)
            continue
        fabric = fabrics[flow.fabric]
        entry = fabric.source(flow.source, flow.name)
        for destination in flow.destinations:
            edges = route.edges_to(fabric.destination(destination, flow.name).point)
            links = [("link", fabric.name, entry.point, f"entry {entry.port}"), *(("link", fabric.name, a, b) for a, b in edges)]
            ends = [] if 0 < flow.window <= fabric.config.rdn.buffer_depth else [_unit(destination, "in")]
            for before, after in pairwise([source, *links, *ends]):
                graph.add_edge(before, after, flow=flow.name)
    return graph


def _unit(endpoint: tuple, side: str) -> tuple:
    """A PCU or PMU as a whole; of an AGCU a load and a store engine, which do not wait for each other."""
    return endpoint[:-1] if endpoint[0] == "unit" else (*endpoint, side)


def check_dependencies(fabrics: dict[str, Fabric], routes: list[Route]) -> None:
    """Raises :class:`RouteError` with the circle, if dynamic packets can wait for themselves."""
    if not any(route.flow.dynamic for route in routes):
        return
    graph = waiting(fabrics, routes)
    for part in nx.strongly_connected_components(graph):
        links = [node for node in part if node[0] == "link"]
        if not links:
            continue                       # circuits in a ring: a matter of stage buffers, not of the network
        try:
            circle = nx.find_cycle(graph.subgraph(part), links[0])
        except nx.NetworkXNoCycle:
            continue
        flows = list(dict.fromkeys(graph.edges[edge]["flow"] for edge in circle))
        text = " -> ".join(_name(node) for node, _ in circle) + f" -> {_name(circle[0][0])}"
        raise RouteError(f"flow {flows[0]!r}: dynamic packets can wait in a circle, {text} (flows {', '.join(flows)}); make one of "
                         "them a virtual circuit")


def _name(node: tuple) -> str:
    return f"{node[1]} link {node[2]} -> {node[3]}" if node[0] == "link" else " ".join(map(str, node))
