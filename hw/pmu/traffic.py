"""Which banks a program's engines use in which cycle: the stalls of the hardware, counted without it. No HDL is imported.

Inputs are always there and outputs always taken, so this is the traffic of a pipeline at full rate; the cycles and conflicts
are those of the RTL (tests/pmu/test_banks.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hw.config import PMUConfig

from .geometry import BankMap, Geometry
from .model import addresses
from .program import PMUProgram, Read

__all__ = ["Traffic", "simulate"]


@dataclass(frozen=True)
class Traffic:
    """``cycles`` until the last access; ``stall_cycles``: cycles in which an engine waited for a bank."""

    cycles: int
    stall_cycles: int


@dataclass
class _Engine:
    accesses: list                     # (banks per buffer as masks, done)
    stages: int
    rotating: bool
    position: int = 0
    buffer: int = 0
    pipeline: list = field(default_factory=list)
    request: tuple | None = None

    @property
    def active(self) -> bool:
        return self.position < len(self.accesses)


def simulate(program: PMUProgram, config: PMUConfig, bank_map: BankMap | None = None, *, limit: int = 1 << 62,
             conflicts: bool = True) -> Traffic:
    """Runs ``program`` with ``bank_map`` (default: its own) until it ends or more than ``limit`` cycles stalled.

    ``conflicts=False``: as if every engine had the banks to itself, the cycles without any bank conflict.
    """
    bank_map = bank_map or program.bank_map or BankMap.low(config)
    engines = {name: _Engine(_banks(program, name, config, bank_map), len(engine.stages),
                             not isinstance(engine, Read) or engine.synchronised)
               for name, engine in program.engines.items()}
    for engine in engines.values():
        engine.pipeline = [None] * engine.stages
    readers = [name for name, engine in engines.items() if name != "write" and engine.rotating]
    held, full = dict.fromkeys(readers, 0), dict.fromkeys(readers, 0)
    order = [name for name in ("write", *(f"read{index}" for index in range(config.vector_outputs)))]
    favoured, cycles, stalls = 0, 0, 0
    while any(e.active or e.request or any(e.pipeline) for e in engines.values()) and stalls <= limit:
        granted, lost = _arbitrate(order, engines, favoured, conflicts)
        may = {name: (all(held[r] < program.buffers for r in readers) if name == "write"
                      else name not in readers or full[name] > 0) for name in engines}
        for name, engine in engines.items():
            if name in granted and engine.request[1]:
                for reader in readers:
                    full[reader] += name == "write"
                if name in readers:
                    held[name] -= 1
            if engine.request is None or name in granted:
                issued = _advance(engine, may[name], program.buffers)
                for reader in readers:
                    held[reader] += issued and name == "write"
                if name in readers:
                    full[name] -= issued
        if lost:
            stalls += 1
            favoured = next(i for i in ((favoured + step) % len(order) for step in range(1, len(order) + 1)) if order[i] in lost)
        cycles += 1
    return Traffic(cycles, stalls)


def _advance(engine: _Engine, may_go: bool, buffers: int) -> bool:
    """One clock of an engine that does not wait; whether it issued the last access of a buffer."""
    item = None
    if engine.active and may_go:
        item = engine.accesses[engine.position]
        engine.position += 1
    engine.pipeline.append(item)
    arrived = engine.pipeline.pop(0)
    engine.request = None
    if arrived:
        engine.request = (arrived[0][engine.buffer], arrived[1])
        if arrived[1] and engine.rotating:
            engine.buffer = (engine.buffer + 1) % buffers
    return bool(item and item[1])


def _arbitrate(order, engines, favoured, conflicts):
    granted, lost, taken = set(), set(), 0
    for step in range(len(order)):
        name = order[(favoured + step) % len(order)]
        engine = engines.get(name)
        if engine is None or engine.request is None:
            continue
        if engine.request[0] & taken and conflicts:
            lost.add(name)
        else:
            granted.add(name)
            taken |= engine.request[0]
    return granted, lost


def _banks(program: PMUProgram, name: str, config: PMUConfig, bank_map: BankMap) -> list:
    """For each access the mask of banks it needs in each buffer, and whether it ends one."""
    g = Geometry(config)
    engine = program.engines[name]
    rotating = not isinstance(engine, Read) or engine.synchronised
    offsets = [program.halves(program.buffer_stride) * buffer for buffer in range(program.buffers if rotating else 1)]
    masks: dict[int | None, tuple] = {None: (0,) * len(offsets)}
    result = []
    for address, done in addresses(program, engine, config):
        if address not in masks:
            masks[address] = tuple(_mask(address + offset, g, bank_map, engine.word, program.pitch) for offset in offsets)
        result.append((masks[address], done))
    return result


def _mask(address: int, g: Geometry, bank_map: BankMap, word: bool, pitch: int) -> int:
    vector, lane = address >> g.lane_bits & g.vectors - 1, address & g.half_lanes - 1
    mask = 1 << bank_map.split(vector)[0]
    if lane and not word and not pitch:
        mask |= 1 << bank_map.split(vector + 1 & g.vectors - 1)[0]
    return mask
