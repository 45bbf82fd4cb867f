"""Choosing the bank bits of a program. No HDL is imported here.

Two things cause conflicts: the write engine and a reader meet in a bank of *different* buffers, which no timing cures but bank
bits do (buffers in disjoint banks never meet, whatever the streams do), and two readers meet in *one* buffer, which depends on
their orders. So maps are ranked by the first and tried, in that order, on the traffic of the program.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from hw.config import PMUConfig

from .geometry import BankMap, Geometry
from .model import addresses
from .program import PMUProgram, ProgramError, Read
from .traffic import Traffic, simulate

__all__ = ["Choice", "all_maps", "choose", "exhaustive"]


@dataclass(frozen=True)
class Choice:
    """A bank map, its stalls at full rate, how many maps were tried, and whether buffers lie in disjoint banks."""

    bank_map: BankMap
    traffic: Traffic
    tried: int
    disjoint: bool


def all_maps(config: PMUConfig, folds: bool = False) -> Iterator[BankMap]:
    """Every choice of bank bits; with ``folds`` also those in which one bank bit is XORed with one row bit."""
    g = Geometry(config)
    for positions in itertools.combinations(range(g.vector_bits), g.bank_bits):
        if not folds:
            yield BankMap(positions, (0,) * g.bank_bits)
            continue
        for index, bit in itertools.product(range(g.bank_bits), range(g.row_bits)):
            yield BankMap(positions, tuple(1 << bit if index == place else 0 for place in range(g.bank_bits)))


def choose(program: PMUProgram, config: PMUConfig) -> Choice:
    """The map with the fewest stalls: without folds if that reaches none, else with one.

    Stops at the first map without a stall. Maps that a transposed read cannot use are left out.
    """
    best, nearest, tried = None, 0, 0
    for folds in (False, True):
        ranked = sorted(((_overlap(program, config, candidate), number, candidate)
                         for number, candidate in enumerate(all_maps(config, folds)) if _usable(program, config, candidate)))
        for overlap, _, candidate in ranked:
            if best and folds and overlap > nearest:
                break                       # a fold is worth trying only if it does not bring buffers together
            traffic = simulate(program, config, candidate, limit=best.traffic.stall_cycles if best else 1 << 62)
            tried += 1
            if best is None or traffic.stall_cycles < best.traffic.stall_cycles:
                best, nearest = Choice(candidate, traffic, tried, overlap == 0), overlap
            if best.traffic.stall_cycles == 0:
                return Choice(best.bank_map, best.traffic, tried, best.disjoint)
    return Choice(best.bank_map, best.traffic, tried, best.disjoint)


def exhaustive(program: PMUProgram, config: PMUConfig) -> Traffic:
    """The fewest stalls that any choice of bank bits (without folds) reaches: the yardstick of :func:`choose`."""
    best = None
    for candidate in all_maps(config):
        if _usable(program, config, candidate):
            traffic = simulate(program, config, candidate, limit=best.stall_cycles if best else 1 << 62)
            if best is None or traffic.stall_cycles < best.stall_cycles:
                best = traffic
            if best.stall_cycles == 0:
                break
    return best


def _usable(program: PMUProgram, config: PMUConfig, bank_map: BankMap) -> bool:
    if not any(isinstance(engine, Read) and engine.transposed for engine in program.engines.values()):
        return True
    try:
        dataclasses.replace(program, bank_map=bank_map).check(config)
    except ProgramError as error:
        if "different banks" in str(error):
            return False
        raise
    return True


def _touched(program: PMUProgram, name: str, config: PMUConfig) -> set[int]:
    """Vector numbers of an engine's accesses in buffer 0."""
    bits = Geometry(config).lane_bits
    return {address >> bits for address, _ in addresses(program, program.engines[name], config) if address is not None}


def _overlap(program: PMUProgram, config: PMUConfig, bank_map: BankMap) -> int:
    """Pairs of different buffers, one being written and one being read, that share a bank; counted by bank."""
    if program.write is None:
        return 0
    stride = program.halves(program.buffer_stride) >> Geometry(config).lane_bits
    written = _cached(program, "write", config)
    used = {}
    for name in program.engines:
        touched = written if name == "write" else _cached(program, name, config)
        used[name] = [{bank_map.split(vector + stride * buffer)[0] for vector in touched} for buffer in range(program.buffers)]
    return sum(len(used["write"][one] & used[name][other]) for name in used if name != "write"
               for one, other in itertools.permutations(range(program.buffers), 2))


_cache: dict[tuple, set[int]] = {}


def _cached(program: PMUProgram, name: str, config: PMUConfig) -> set[int]:
    key = (program.engines[name], program.element, config)
    if key not in _cache:
        _cache.clear() if len(_cache) > 64 else None
        _cache[key] = _touched(program, name, config)
    return _cache[key]
