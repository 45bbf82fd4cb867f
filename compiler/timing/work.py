"""Work of units: the cycles in which they do something, counted as the device's counters count it (compiler/timing/measure.py).

A PCU works a cycle for each iteration or systolic step, a PMU for each vector of its busiest engine, an AGCU for each request to
memory, and the channels of HBM share all requests to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from math import prod

import numpy as np

from hw.agcu.program import Access, LoadProgram, StoreProgram
from hw.pcu.program import SystolicProgram

from ..fabric.netlist import Netlist, VirtualUnit

__all__ = ["MEMORY", "requests", "work", "work_by_unit"]

MEMORY = "memory"
EXAMINED = 8192          # iterations of an engine that are looked at one by one; longer programs go on as they began


def work(unit: VirtualUnit, beat_bytes: int) -> int:
    """Cycles of one unit or AGCU engine."""
    program = unit.program
    if unit.kind in ("load", "store"):
        return requests(program, beat_bytes)
    if unit.kind == "pmu":
        return max(prod(loop.bound for loop in engine.loops) for engine in (program.write, *program.reads) if engine is not None)
    return prod(program.loops() if isinstance(program, SystolicProgram) else program.loops)


@lru_cache(4096)
def requests(program: LoadProgram | StoreProgram, beat_bytes: int) -> int:
    """Beats that an engine reads or writes: one that neighbouring iterations share counts once. Rows of a gather follow each other."""
    if program.access is Access.FILL:
        return 0
    address, left, factor = np.array([program.base]), EXAMINED, 1
    bounds = []
    for loop in program.loops:                   # innermost first: as many iterations of the outer loops as are looked at
        bounds.append(min(loop.bound, max(left, 1)))
        left //= max(loop.bound, 1)
        factor *= loop.bound / bounds[-1]
    for number in range(len(bounds) - 1, -1, -1):
        stride = program.loops[number].stride
        if program.index is not None and number >= program.index.loops:
            stride = program.index.stride
        address = (address[:, None] + np.arange(bounds[number]) * stride).ravel()
    first = address // beat_bytes
    last = first
    if program.access is Access.UNALIGNED:
        width = np.full(len(address), beat_bytes)
        if tail := getattr(program, "tail_bytes", 0):
            width[bounds[0] - 1::bounds[0]] = tail
        last = (address + width - 1) // beat_bytes
    fresh = (first[1:] != first[:-1]) & (first[1:] != last[:-1])
    fresh = fresh.sum() + ((last[1:] != first[1:]) & (last[1:] != last[:-1]) & (last[1:] != first[:-1])).sum()
    return round((1 + int(last[0] != first[0]) + int(fresh)) * factor)


def work_by_unit(net: Netlist, where: Mapping[VirtualUnit, tuple] | None = None) -> dict[str, float]:
    """Work by the names of the counters: "pcu(0,1)", "agcu2", "memory". Without places: as if each unit had one of its own, and the AGCUs
    shared all requests."""
    beat, found = net.config.beat_bytes, defaultdict(float)
    for number, unit in enumerate(net.units):
        amount = work(unit, beat)
        if unit.kind in ("load", "store"):
            name = f"agcu{where[unit][1]}" if where else f"agcu of {unit.name}"
            if unit.symbol and not unit.program.segment:
                found[MEMORY] += amount / net.config.hbm.channels
        else:
            name = f"{unit.kind}({where[unit][1]},{where[unit][2]})" if where else f"{unit.kind} {number}"
        found[name] += amount
    if not where:
        agcus = [name for name in found if name.startswith("agcu")]
        most = max((found[name] for name in agcus), default=0)
        total = sum(found.pop(name) for name in agcus)
        found["agcu"] = max(most, total / len(net.config.agcu_ports))
    return dict(found)
