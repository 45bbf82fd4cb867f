"""Placement of a netlist by simulated annealing, and the kernel that results.

The cost of a placement is the sum over all flows of packets times the links of a shortest tree's half perimeter, and how unevenly
the AGCUs share the traffic with memory: each sends one request a cycle, and its engines divide the requests that it can have under
way. The same netlist and seed always give the same placement.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections import defaultdict

from hw.agcu.program import AGCUProgram
from hw.config import RDUConfig
from hw.pmu.bank_bits import banked
from sw_driver.kernel import Kernel

from ..errors import CompileError
from .kernel import KernelBuilder, Unit
from .netlist import Capacity, Netlist, Port, VirtualUnit
from .route import RouteError, Router

__all__ = ["build_kernel", "place", "route_netlist"]

TRIES = 3
CROWDED = 100            # what it costs if one AGCU carries all traffic, in packets (as weighed) times links


class _Sites:
    """Places of each kind of unit, and where a port at one meets the network."""

    def __init__(self, config: RDUConfig):
        self.config = config
        points = config.grid
        self.places = {"pcu": [("unit", *p) for p in points if config.is_pcu(*p)],
                       "pmu": [("unit", *p) for p in points if not config.is_pcu(*p)]}
        for kind, count in (("load", config.agcu.load_engines), ("store", config.agcu.store_engines)):
            self.places[kind] = [("agcu", index, engine) for index in range(len(config.agcu_ports)) for engine in range(count)]
        edges = [(row, -1 if edge == "west" else config.columns) for row, edge in config.agcu_ports]
        self.point = {place: edges[place[1]] if place[0] == "agcu" else place[1:] for places in self.places.values() for place in places}


def place(netlist: Netlist, seed: int = 0) -> dict[VirtualUnit, tuple]:
    """A place for each unit: ("unit", row, column) or ("agcu", index, engine). Raises :class:`CompileError` if there are too few."""
    config, random_ = netlist.config, random.Random(seed)
    if problem := netlist.used().exceeded(Capacity.of(config)):
        raise CompileError(f"kernel {netlist.name!r} needs {problem}", way_out="use a larger preset or less fusion")
    sites = _Sites(config)
    where = _first_fit(netlist, sites)
    touching = defaultdict(list)
    for number, flow in enumerate(netlist.flows):
        for port in (flow.source, *flow.destinations):
            if number not in touching[port.unit]:
                touching[port.unit].append(number)
    weight = [1 + math.log2(1 + flow.packets) for flow in netlist.flows]

    ends = [[port.unit for port in (flow.source, *flow.destinations)] for flow in netlist.flows]

    def length(number: int) -> float:
        points = [sites.point[where[unit]] for unit in ends[number]]
        rows, columns = zip(*points, strict=True)
        return weight[number] * (max(rows) - min(rows) + max(columns) - min(columns) + 0.3 * len(points))

    moved = {unit: unit.bytes for unit in netlist.units if unit.kind in ("load", "store")}
    most, agcus = max(sum(moved.values()), 1), len(config.agcu_ports)
    words = any(unit.is_word or unit.scalar_inputs for unit in moved)

    def crowd() -> float:
        """How unevenly the AGCUs share the traffic."""
        share = [0.0] * agcus
        for unit, count in moved.items():
            share[where[unit][1]] += count / most
        return CROWDED * sum(part * part for part in share)

    units = netlist.units
    steps = 150 * len(units) if len(units) > 2 else 0
    temperature = 4.0
    for _ in range(steps):
        temperature = max(0.02, temperature * (1 - 6 / steps))
        unit = random_.choice(units)
        target = random_.choice(sites.places[unit.kind])
        other = next((u for u in units if u.kind == unit.kind and where[u] == target), None)
        if target == where[unit] or not _may_be(unit, target) or (other and not _may_be(other, where[unit])):
            continue
        changed = list(dict.fromkeys(touching[unit] + (touching[other] if other else [])))
        engine = unit in moved
        before = sum(map(length, changed)) + (crowd() if engine else 0)
        old = where[unit]
        where[unit] = target
        if other:
            where[other] = old
        rise = sum(map(length, changed)) + (crowd() if engine else 0) - before
        if (engine and words and not _agcus_fit(netlist, where)) or (rise > 0 and random_.random() >= math.exp(-rise / temperature / 4)):
            where[unit] = old
            if other:
                where[other] = target
    return where


def _may_be(unit: VirtualUnit, at: tuple) -> bool:
    """Whether a unit may be at a place: engines that are bound to an AGCU (``note["agcu"]``) only there."""
    return unit.note.get("agcu", at[1]) == at[1]


def _first_fit(netlist: Netlist, sites: _Sites) -> dict[VirtualUnit, tuple]:
    where: dict[VirtualUnit, tuple] = {}
    free = {kind: list(places) for kind, places in sites.places.items()}
    # Engines in rounds over the AGCUs, those with scalar ports first.
    order = sorted(netlist.units, key=lambda unit: ("agcu" not in unit.note, -(2 * unit.is_word + unit.scalar_inputs)))
    for unit in order:
        choices = free[unit.kind]
        if unit.kind in ("load", "store"):
            crowd = defaultdict(int)
            for other in where.values():
                if other[0] == "agcu":
                    crowd[other[1]] += 1
            choices = sorted(filter(lambda place: _may_be(unit, place), choices), key=lambda place: (crowd[place[1]], place))
        for candidate in choices:
            where[unit] = candidate
            if unit.kind in ("pcu", "pmu") or _agcus_fit(netlist, where):
                free[unit.kind].remove(candidate)
                break
        else:
            raise CompileError(f"kernel {netlist.name!r}: the scalar ports of the AGCUs do not suffice for {unit.name}",
                               way_out="use less fusion")
    return where


def _agcus_fit(netlist: Netlist, where: dict) -> bool:
    """Whether no AGCU has more word streams than scalar ports."""
    outputs, inputs = defaultdict(int), defaultdict(int)
    for unit, at in where.items():
        if at[0] == "agcu":
            outputs[at[1]] += unit.kind == "load" and unit.is_word
            inputs[at[1]] += unit.scalar_inputs
    agcu = netlist.config.agcu
    return all(n <= agcu.scalar_outputs for n in outputs.values()) and all(n <= agcu.scalar_inputs for n in inputs.values())


def build_kernel(netlist: Netlist, seed: int = 0, *, throttle: bool = False, bank_bits: bool = True) -> Kernel:
    """Places and routes a netlist (unless that has been done). Arguments: ``<unit name>`` is the base address of each engine.

    ``throttle``, ``bank_bits``: as of :func:`compiler.compile.compile`. Raises :class:`CompileError` when no placement tried can be routed.
    """
    return _assemble(netlist, netlist.placement or route_netlist(netlist, seed), throttle, bank_bits).build()


def route_netlist(netlist: Netlist, seed: int = 0) -> dict[VirtualUnit, tuple]:
    """A placement whose flows can be routed. Raises :class:`CompileError` when none of those tried can."""
    problem = None
    for attempt in range(TRIES):
        where = place(netlist, seed * TRIES + attempt)
        try:
            Router(netlist.config).route(_assemble(netlist, where).flows)
            return where
        except RouteError as error:
            problem = error
    raise CompileError(f"kernel {netlist.name!r}: no routes in {TRIES} placements: {problem}",
                       way_out="use a preset with more labels or less fusion")


def _assemble(netlist: Netlist, where: dict[VirtualUnit, tuple], throttle: bool = False, bank_bits: bool = False) -> KernelBuilder:
    builder = KernelBuilder(netlist.config, netlist.name, throttle=throttle)
    placed: dict[VirtualUnit, Unit] = {}
    scalar_port: dict[tuple[VirtualUnit, str], int] = {}
    for unit in netlist.units:
        if unit.kind in ("pcu", "pmu"):
            _, row, column = where[unit]
            program = banked(unit.program, netlist.config.pmu) if bank_bits and unit.kind == "pmu" else unit.program
            placed[unit] = getattr(builder, unit.kind)(row, column, program)
    by_agcu = defaultdict(dict)
    for unit in netlist.units:
        if unit.kind in ("load", "store"):
            by_agcu[where[unit][1]][unit.kind, where[unit][2]] = unit
    for index in sorted(by_agcu):
        engines, inputs = {"load": [], "store": []}, 0
        for (kind, engine), unit in sorted(by_agcu[index].items()):
            program = unit.program
            if program.index is not None:
                program = dataclasses.replace(program, index=dataclasses.replace(program.index, scalar=inputs))
                scalar_port[unit, "index"], inputs = inputs, inputs + 1
            if kind == "store" and unit.is_word:
                program = dataclasses.replace(program, scalar_input=inputs)
                scalar_port[unit, "word"], inputs = inputs, inputs + 1
            engines[kind] += [None] * (engine - len(engines[kind])) + [program]
        agcu = builder.agcu(index, AGCUProgram(loads=tuple(engines["load"]), stores=tuple(engines["store"])))
        for unit in by_agcu[index].values():
            placed[unit] = agcu

    def end(port: Port, fabric: str, source: bool) -> tuple:
        unit, at = port.unit, where[port.unit]
        if unit.kind in ("pcu", "pmu"):
            return (*at, port.index)
        if fabric == "scalar":
            return ("agcu", at[1], 0 if source else scalar_port[unit, "index" if port.index == "index" else "word"])
        return ("agcu", at[1], at[2])

    longest = max([unit.work for unit in netlist.units], default=1) or 1
    for flow in netlist.flows:
        add = builder.vector if flow.fabric == "vector" else builder.scalar
        add(end(flow.source, flow.fabric, True), *(end(port, flow.fabric, False) for port in flow.destinations),
            rate=min(1.0, max(0.01, flow.packets / longest)))
    for unit in netlist.units:
        if unit.kind in ("load", "store"):
            builder.argument(unit.name, placed[unit].field(f"{unit.kind}{where[unit][2]}.base"))
    return builder
