"""Settings of the senders of a kernel: where dynamic flows go, sequence IDs, throttle rates from the flows' average rates."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import ceil

from hw.rdn.sender import BURST_BITS

from .ports import Fabric, RouteError
from .routes import Route, Routes

__all__ = ["Sequence", "Throttle", "automatic", "sender_fields"]

MARGIN = 17 / 16                     # over the average rate, where a packet that waits holds up those of other flows
BURST = 2


@dataclass(frozen=True)
class Throttle:
    """A token bucket: ``rate`` in packets per cycle (0 or 1: off), ``burst`` packets back to back."""

    rate: float
    burst: int = BURST

    def fields(self, config, source: tuple) -> dict[str, int]:
        """Fields of a sender's port. Errors: :class:`RouteError` naming the source and the value."""
        if not 0 <= self.rate <= 1 or not 0 <= self.burst < 1 << BURST_BITS:
            raise RouteError(f"throttle of {source}: rate={self.rate} must be from 0 to 1 and burst={self.burst} below {1 << BURST_BITS}")
        steps = 1 << config.rdn.rate_bits
        return {"rate": min(ceil(self.rate * steps), steps - 1) if self.rate < 1 else 0, "burst": self.burst}


@dataclass(frozen=True)
class Sequence:
    """Sequence IDs: packet n since the launch has ``base + stride * (n mod modulo)``; ``modulo`` 0: as many as there are IDs."""

    stride: int = 1
    base: int = 0
    modulo: int = 0

    def fields(self, config, source: tuple) -> dict[str, int]:
        """Fields of a sender's port. Errors: :class:`RouteError` naming the source, the field and the limit."""
        for name in ("stride", "base", "modulo"):
            if not 0 <= getattr(self, name) < 1 << config.rdn.sequence_bits:
                raise RouteError(f"sequence IDs of {source}: {name}={getattr(self, name)} must be from 0 to "
                                 f"{(1 << config.rdn.sequence_bits) - 1} (rdn.sequence_bits={config.rdn.sequence_bits})")
        return {"stride": self.stride, "base": self.base, "modulo": self.modulo}


def automatic(routes: Routes) -> dict[tuple[str, tuple], Throttle]:
    """(fabric, source) -> throttle of every flow of packets that shares a link and would be the better for one.

    Circuits on a link share its bandwidth only: each may send at its average rate scaled up until the link is full (where the
    rates of a link exceed it already, it is left to the switches, which take turns). Dynamic flows share buffers too: each may send
    little faster than on average, packet by packet, so that none waits in the network. Flows alone
    on their links, with an average rate of 0 or 1, or with a window (they wait for answers) are left as they are.
    """
    users, loads = defaultdict(list), routes.loads()
    for route in routes.routes:
        for edge in route.edges:
            users[route.flow.fabric, edge].append(route)
    found = {}
    for route in routes.routes:
        flow = route.flow
        shared = [key for edge in route.edges if len(users[key := (flow.fabric, edge)]) > 1]
        if flow.fabric == "control" or flow.window or not shared or not 0 < flow.rate < 1:
            continue
        dynamic = flow.dynamic and any(other.flow.dynamic for key in shared for other in users[key] if other is not route)
        rate = flow.rate * MARGIN if dynamic else min(flow.rate / max(loads[key], flow.rate) for key in shared)
        if flow.rate < rate < 1:
            found[flow.fabric, flow.source] = Throttle(rate, 1 if dynamic else BURST)
    return found


def _path(config, fabric: str, source: tuple) -> str:
    links = config.rdn.local_links if fabric == "vector" and source[0] == "unit" else 1
    return f"scalar_link[{source[-1]}]" if fabric == "scalar" else f"vector_link_{source[-1] % links}[{source[-1] // links}]"


def sender_fields(config, routes: list[Route], throttles: dict[tuple[str, tuple], Throttle],
                  sequences: dict[tuple[str, tuple], Sequence] | None = None) -> dict[tuple, dict[str, int]]:
    """Unit ("unit", row, column) or ("agcu", index) -> field of its program -> value."""
    fields = defaultdict(dict)
    for settings in (throttles, sequences or {}):
        for (fabric, source), setting in settings.items():
            path = _path(config, fabric, source)
            fields[source[:-1]] |= {f"{path}.{name}": value for name, value in setting.fields(config, source).items()}
    for route in routes:
        if route.flow.dynamic:
            flow = route.flow
            path = f"{_path(config, flow.fabric, flow.source)}.dynamic"
            where = Fabric(config, flow.fabric).exit(flow.destinations[0], flow.name)
            fixed = {f"{path}.destination.{name}": value for name, value in where.items()}
            fields[flow.source[:-1]] |= {f"{path}.enable": 1} | ({f"{path}.by_data": 1} if flow.by_data else fixed)
    return dict(fields)
