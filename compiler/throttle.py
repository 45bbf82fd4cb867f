"""Settings of the senders: destinations of dynamic flows, throttle rates from the flows' average rates."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import ceil

from .fabric import Fabric
from .routes import Route, Routes

__all__ = ["Throttle", "automatic", "sender_fields"]

MARGIN = 17 / 16                     # over the average rate, where a packet that waits holds up those of other flows
BURST = 2


@dataclass(frozen=True)
class Throttle:
    """A token bucket: ``rate`` in packets per cycle (0: off), ``burst`` packets back to back."""

    rate: float
    burst: int = BURST


def automatic(routes: Routes) -> dict[tuple[str, tuple], Throttle]:
    """(fabric, source) -> throttle of every flow of packets that shares a link and would be the better for one.

    Circuits on a link share its bandwidth only: each may send at its average rate scaled up until the link is full. Dynamic
    flows share buffers too: each may send little faster than on average, so that its packets do not wait in the network.
    Flows alone on their links, or with an average rate of 0 or 1, are left as they are.
    """
    users, loads = defaultdict(list), routes.loads()
    for route in routes.routes:
        for edge in route.edges:
            users[route.flow.fabric, edge].append(route)
    found = {}
    for route in routes.routes:
        flow = route.flow
        shared = [key for edge in route.edges if len(users[key := (flow.fabric, edge)]) > 1]
        if flow.fabric == "control" or not shared or not 0 < flow.rate < 1:
            continue
        dynamic = flow.dynamic and any(other.flow.dynamic for key in shared for other in users[key] if other is not route)
        rate = flow.rate * MARGIN if dynamic else min(flow.rate / max(loads[key], flow.rate) for key in shared)
        if rate < 1:
            found[flow.fabric, flow.source] = Throttle(rate)
    return found


def _path(config, fabric: str, source: tuple) -> str:
    links = config.rdn.local_links if fabric == "vector" and source[0] == "unit" else 1
    return f"scalar_link[{source[-1]}]" if fabric == "scalar" else f"vector_link_{source[-1] % links}[{source[-1] // links}]"


def sender_fields(config, routes: list[Route], throttles: dict[tuple[str, tuple], Throttle]) -> dict[tuple, dict[str, int]]:
    """Unit ("unit", row, column) or ("agcu", index) -> field of its program -> value."""
    fields, bits = defaultdict(dict), config.rdn.rate_bits
    for (fabric, source), throttle in throttles.items():
        path = _path(config, fabric, source)
        fields[source[:-1]] |= {f"{path}.rate": min(ceil(throttle.rate * 2**bits), 2**bits - 1) if throttle.rate < 1 else 0,
                                f"{path}.burst": throttle.burst}
    for route in routes:
        if route.flow.dynamic:
            flow = route.flow
            end = Fabric(config, flow.fabric).destination(flow.destinations[0], flow.name)
            where = {"row": end.point[0], "column": end.point[1], "port": end.port, "label": end.label}
            path = f"{_path(config, flow.fabric, flow.source)}.dynamic"
            fields[flow.source[:-1]] |= {f"{path}.enable": 1} | {f"{path}.destination.{name}": value for name, value in where.items()}
    return dict(fields)
