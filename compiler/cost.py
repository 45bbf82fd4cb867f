"""How long a kernel takes, predicted from its netlist, and what limits it.

A kernel is a pipeline: its time is what the slowest parts need for all their packets, and the time until the last packet has come through
the other parts on its way. Parts are the units (a packet, a systolic step or a drained vector a cycle), the AGCUs
(limited by the requests that they keep under way) and the memories (limited by their bandwidth). The constants are fitted to
launches on the RTL of `small` (docs/compiler.md).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from hw.agcu.program import Access
from hw.config import RDUConfig
from hw.pcu.layout import Reduce
from hw.pcu.program import SystolicProgram

from .netlist import Netlist, VirtualUnit

__all__ = ["VECTORS_PER_CYCLE", "Prediction", "predict"]

VECTORS_PER_CYCLE = 1.1       # from HBM, over all engines, of `small`: two channels of one beat a cycle, less turnarounds and refresh
BEATS_PER_CHANNEL = 0.55
PHASED_BEATS = 0.88           # the same where reads and writes take turns by blocks (compiler/woven.py)
DDR_BYTES_PER_CYCLE = 6.0
AGCU_RATE = 0.74              # vectors a cycle of one AGCU: its requests under way over the memory's latency
WORD_RATE = 0.9               # words a cycle of a load engine whose words lie in beats of their own, by the same limit
SCATTERED = 32                # bytes from one word to the next from which on they do
SHARPNESS = 3.8               # parts that are nearly as busy as the busiest hold it up: the norm by which their times add
RESOURCES = (("pcu", "pmu"), ("load", "store", "agcu"), ("hbm",), ("ddr",))
START, LOAD, STORE = 5, 25, 20
PCU_FILL, PMU_FILL, HOP = 28, 5, 1.4


@dataclass(frozen=True)
class Prediction:
    """``cycles`` of one launch, ``bottleneck``: "pcu", "agcu", "hbm", "ddr", "pmu" or "latency" and the unit, ``bytes`` by tier."""

    cycles: int
    bottleneck: str
    bytes: dict[str, int]


def predict(net: Netlist) -> Prediction:
    """The prediction for one launch of a kernel."""
    config = net.config
    work = {unit: _work(unit) for unit in net.units}
    fill = {unit: _fill(unit) for unit in net.units}
    ahead = _paths(net, fill)
    deepest = max(ahead.values())
    parts = [(count - min(fill[unit], count), f"{unit.kind} {unit.name}") for unit, count in work.items()]
    moved, beats = {"hbm": 0, "ddr": 0}, 0.0
    for unit in net.units:
        if unit.symbol:
            moved["ddr" if unit.program.segment else "hbm"] += unit.bytes
            if not unit.program.segment:
                beats += unit.bytes / config.beat_bytes
    rate = PHASED_BEATS if any(unit.note.get("phased") for unit in net.of_kind("store")) else BEATS_PER_CHANNEL
    parts.append((beats / (rate * config.hbm.channels), "hbm"))
    parts.append((moved["ddr"] / DDR_BYTES_PER_CYCLE, "ddr"))
    fetched = sum(unit.bytes / config.beat_bytes for unit in net.of_kind("load"))
    parts.append((fetched / (AGCU_RATE * min(len(config.agcu_ports), max(1, sum(1 for _ in net.of_kind("load"))))), "agcu"))
    busiest, what = max(parts)
    if busiest < deepest / 2:
        what = "latency"
    together = sum(_most(parts, kinds) ** SHARPNESS for kinds in RESOURCES) ** (1 / SHARPNESS)
    return Prediction(round(START + deepest + together), what, moved)


def _most(parts: list[tuple[float, str]], kinds: tuple[str, ...]) -> float:
    return max((time for time, what in parts if what.split()[0] in kinds), default=0.0)


def _work(unit: VirtualUnit) -> float:
    """Cycles in which a unit is busy, at full rate."""
    program = unit.program
    if unit.kind == "load" and not unit.is_word:
        return program.iterations / (1.0 if program.access is Access.FILL else AGCU_RATE if _sparse(unit) else 1.0)
    if unit.kind == "load" and abs(program.loops[0].stride) >= SCATTERED:
        return program.iterations / WORD_RATE
    if unit.kind in ("load", "store"):
        return program.iterations
    if unit.kind == "pmu":
        engines = [program.write, *program.reads]
        return max(prod(loop.bound for loop in engine.loops) for engine in engines if engine is not None)
    if isinstance(program, SystolicProgram):
        return prod(program.loops())
    return prod(program.loops)


def _sparse(unit: VirtualUnit) -> bool:
    """Whether most iterations of an engine fetch a beat of their own."""
    return unit.bytes >= 16 * unit.program.iterations


def _fill(unit: VirtualUnit) -> float:
    """Cycles from a unit's first input to its first output (for a store: until it is answered)."""
    program = unit.program
    if unit.kind == "load":
        return LOAD
    if unit.kind == "store":
        return STORE
    if unit.kind == "pmu":
        write = program.write
        return PMU_FILL + write.accesses
    if isinstance(program, SystolicProgram):
        return PCU_FILL + unit.note.get("row_packets", 0) + prod(program.loops()[:4])
    if program.reduce != Reduce.NONE:
        return PCU_FILL + prod(program.loops[:program.produce]) + 20
    return PCU_FILL


def _paths(net: Netlist, fill: dict[VirtualUnit, float]) -> dict[VirtualUnit, float]:
    """For each unit the longest time from the start until its first output."""
    before: dict[VirtualUnit, set[VirtualUnit]] = defaultdict(set)
    for flow in net.flows:
        for port in flow.destinations:
            before[port.unit].add(flow.source.unit)
    done: dict[VirtualUnit, float] = {}

    def time(unit: VirtualUnit) -> float:
        if unit not in done:
            done[unit] = 0.0
            done[unit] = fill[unit] + max((time(other) + HOP for other in before[unit]), default=0.0)
        return done[unit]
    for unit in net.units:
        time(unit)
    return done


@lru_cache
def peak_macs(config: RDUConfig) -> int:
    """MACs a cycle of all PCUs."""
    return sum(config.is_pcu(*point) for point in config.grid) * config.pcu.macs_per_cycle
