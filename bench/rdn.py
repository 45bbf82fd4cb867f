"""Load and latency of a mesh of switches under dynamic traffic: ``rdu bench rdn [--mesh RxC --pattern NAME --rate R --slots N,N]``.

Every unit makes packets at random, at the same rate, for destinations that the pattern names; patterns as in BookSim 2: uniform (any
node, itself too), transpose, bit-complement, neighbour (row + 1, column + 1, round the edge), hotspot (a tenth of the packets
to one node in the middle, the rest uniform). Every packet's arrival is checked: at the right node, once, in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from hw.config import RDUConfig

from .common import metric, steps
from .rdn_traffic import PATTERNS, MeshTraffic, Point, mesh_size

__all__ = ["DESCRIPTION", "curve", "run", "saturation"]

DESCRIPTION = "load and latency of a mesh under dynamic traffic; --mesh RxC --pattern NAME|all --rate R --slots N,N"

ZERO_LOAD = 0.01
SLOW = 3                             # a network is saturated where its mean latency is this many times that of an empty one
RESOLUTION = 0.005


def zero_load(mesh: MeshTraffic, pattern: str) -> float:
    """Mean latency in cycles with next to no other traffic."""
    return mesh.run(pattern, ZERO_LOAD, measured=10_000).mean_latency


def saturation(mesh: MeshTraffic, pattern: str, empty: float, measured: int) -> float:
    """The highest rate, in packets per node and cycle, at which everything arrives with a mean latency below ``SLOW`` times ``empty``."""
    def fine(rate: float) -> bool:
        point = mesh.run(pattern, rate, measured=measured)
        return point.drained and point.mean_latency < SLOW * empty
    low, high = 0.0, 1.0
    if fine(high):
        return high
    while high - low > RESOLUTION:
        middle = (low + high) / 2
        low, high = (middle, high) if fine(middle) else (low, middle)
    return low


def curve(mesh: MeshTraffic, pattern: str, top: float, measured: int) -> Iterator[Point]:
    """Points from next to nothing to somewhat beyond ``top``."""
    last = min(1.0, 1.25 * top)
    count = min(12, ceil(last / 0.04))
    for step in range(1, count + 1):
        yield mesh.run(pattern, last * step / count, measured=measured, drain=0)


def _slots(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isdecimal() and 2 <= int(part) <= 16 for part in parts):
        raise ValueError(f"slots={text} must be numbers from 2 to 16, with commas between them")
    return [int(part) for part in parts]


def run(config: RDUConfig, console, *, full: bool = False, mesh: str = "4x4", pattern: str = "uniform", rate: float = 0.0,
        slots: str = "2,4,16", labels: int = 1) -> list[dict]:
    """With ``rate`` one point; without, the zero-load latency, the saturation rate and what is accepted when every unit makes a packet
    in each cycle; ``full``: the meshes 4x4 and 8x8, all patterns, and the whole curve of each."""
    meshes = ["4x4", "8x8"] if full else [mesh]
    patterns = PATTERNS if full or pattern == "all" else (pattern,)
    if pattern not in (*PATTERNS, "all"):
        raise ValueError(f"pattern={pattern} must be one of: {', '.join(PATTERNS)}, all")
    if not 0 <= rate <= 1:
        raise ValueError(f"rate={rate} must be from 0 to 1 packet per node and cycle")
    if not 1 <= labels <= 16:
        raise ValueError(f"labels={labels} must be from 1 to 16")
    sizes, depths, metrics = [mesh_size(text) for text in meshes], _slots(slots), []
    measured = 4000
    with steps(console, "building the switch", len(sizes) * len(depths) * len(patterns)) as step:
        for (rows, columns), depth in ((size, depth) for size in sizes for depth in depths):
            with MeshTraffic(rows, columns, slots=depth, labels=labels) as network:
                for name in patterns:
                    case = f"{rows}x{columns} {name}, {depth} slots"
                    step(case)
                    if name == "transpose" and rows != columns and len(patterns) > 1:
                        continue
                    metrics += _measure(network, name, case, rate, measured, full)
    return metrics


def _measure(network: MeshTraffic, pattern: str, case: str, rate: float, measured: int, whole: bool) -> list[dict]:
    unit = "packets/node/cycle"
    if rate:
        point = network.run(pattern, rate, measured=measured)
        return [metric("accepted_rate", case, point.accepted, unit), metric("mean_latency_cycles", case, point.mean_latency, "cycles"),
                metric("worst_latency_cycles", case, point.worst_latency, "cycles")]
    empty = zero_load(network, pattern)
    top = saturation(network, pattern, empty, measured)
    flooded = network.run(pattern, 1.0, measured=measured, drain=0)
    near = network.run(pattern, max(top, ZERO_LOAD), measured=measured)
    rows = [metric("zero_load_latency_cycles", case, empty, "cycles"), metric("saturation_rate", case, top, unit),
            metric("accepted_rate", case, flooded.accepted, unit), metric("mean_latency_cycles", case, near.mean_latency, "cycles")]
    if whole:
        for point in curve(network, pattern, top, measured):
            at = f"{case}, rate {point.offered:.3f}"
            rows += [metric("accepted_rate", at, point.accepted, unit), metric("mean_latency_cycles", at, point.mean_latency, "cycles")]
    return rows
