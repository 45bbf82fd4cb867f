"""The network as the router sees it: which switch port and label each port of each unit has, and how many labels there are."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from hw.config import RDUConfig
from hw.rdn.dynamic import destination_layout
from hw.rdn.node import EAST, LOCAL, NORTH, SOUTH, WEST

__all__ = ["FABRICS", "Attachment", "Fabric", "RouteError"]

FABRICS = ("vector", "scalar", "control")
STEPS = {NORTH: (-1, 0), EAST: (0, 1), SOUTH: (1, 0), WEST: (0, -1)}
OPPOSITE = {NORTH: SOUTH, SOUTH: NORTH, EAST: WEST, WEST: EAST}
Point = tuple[int, int]


class RouteError(ValueError):
    """Flows that the network cannot carry; the message names the flow, the place and the limit."""


@dataclass(frozen=True)
class Attachment:
    """Where a port of a unit meets the network: a switch, its port, and the label (or control wire) on the link between."""

    point: Point
    port: int
    label: int


class Fabric:
    """One of the three fabrics of a tile.

    Members: ``labels``, virtual circuits (or wires) of each link; ``graph``, a directed graph of switches whose edges carry the
    ``port`` by which they leave.
    """

    def __init__(self, config: RDUConfig, name: str):
        if name not in FABRICS:
            raise RouteError(f"fabric {name!r} does not exist; fabrics are: {', '.join(FABRICS)}")
        self.config, self.name = config, name
        self.labels = config.rdn.control_wires if name == "control" else config.rdn.labels
        self.graph = nx.DiGraph()
        self.graph.add_nodes_from(config.grid)
        for row, column in config.grid:
            for port, (down, right) in STEPS.items():
                if (there := (row + down, column + right)) in self.graph:
                    self.graph.add_edge((row, column), there, port=port)

    def source(self, endpoint: tuple, flow: str) -> Attachment:
        """Where output port ``endpoint`` enters the network."""
        return self._attach(endpoint, flow, output=True)

    def destination(self, endpoint: tuple, flow: str) -> Attachment:
        """Where input port ``endpoint`` leaves the network."""
        return self._attach(endpoint, flow, output=False)

    def exit(self, endpoint: tuple, flow: str) -> dict[str, int]:
        """Input port ``endpoint`` as a dynamic packet names it: the fields of :func:`hw.rdn.dynamic.destination_layout`."""
        end = self.destination(endpoint, flow)
        return {"row": end.point[0], "column": end.point[1], "port": end.port, "label": end.label}

    def word(self, endpoint: tuple, flow: str = "by data") -> int:
        """What the first word of a packet of a flow ``by_data`` has in its low bits (as many as the layout has) to go to input port
        ``endpoint``."""
        layout = destination_layout(self.config.rdn.coordinate_bits, self.labels)
        return layout.const(self.exit(endpoint, flow)).as_bits()

    def _attach(self, endpoint: tuple, flow: str, output: bool) -> Attachment:
        match endpoint:
            case ("unit", row, column, port) if (row, column) in self.graph:
                kind = "pcu" if self.config.is_pcu(row, column) else "pmu"
                self._check(kind, endpoint, port, flow, output)
                links = self.config.rdn.local_links if self.name == "vector" else 1
                return Attachment((row, column), LOCAL + port % links, port // links)
            case ("agcu", index, port) if 0 <= index < len(self.config.agcu_ports):
                self._check("agcu", endpoint, port, flow, output)
                row, edge = self.config.agcu_ports[index]
                column, side = (0, WEST) if edge == "west" else (self.config.columns - 1, EAST)
                return Attachment((row, column), side, port)
        raise RouteError(f"flow {flow!r}: {endpoint} does not exist on preset {self.config.name} ({self.config.rows} x "
                         f"{self.config.columns} units, {len(self.config.agcu_ports)} AGCUs); write ('unit', row, column, port) "
                         "or ('agcu', index, port)")

    def _check(self, kind: str, endpoint: tuple, port: int, flow: str, output: bool) -> None:
        side = "outputs" if output else "inputs"
        if self.name == "control":
            name = "control_wires"
        elif self.name == "vector" and kind == "agcu":
            name = "load_engines" if output else "store_engines"
        else:
            name = f"{self.name}_{side}"
        limit = getattr(getattr(self.config, kind), name)
        if not 0 <= port < limit:
            raise RouteError(f"flow {flow!r}: port {port} of {endpoint[:-1]} must be below {kind}.{name}={limit}")
