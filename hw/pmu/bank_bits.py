"""Choosing the bank bits of a program. No HDL is imported here.

A bank map is, but for the names of the banks, a choice of ``bank_bits`` independent XORs (*selectors*) of bits of the vector number:
positions and folds are their reduced form, and every such choice can be written so. Two vectors share a bank exactly if no selector
tells them apart, that is if every selector's parity over their XOR difference is even. So a program has no conflict under a map exactly
if each difference that occurs in its schedule (schedule.py) is odd in one selector at least: a covering problem, solved completely
(selectors.py). Differences between buffers that are written and read at the same time are covered too where possible: then no
timing of the streams can bring a conflict.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hw.config import PMUConfig

from .geometry import BankMap, Geometry
from .program import PMUProgram
from .schedule import Schedule, differences, schedule
from .selectors import allowed_selectors, cover, greedy, selectors_to_map, spread
from .traffic import Traffic, simulate

__all__ = ["Choice", "all_maps", "banked", "choose", "exhaustive"]

TRIED_CYCLES = 400           # length of a trial run when no map is free of conflicts


@dataclass(frozen=True)
class Choice:
    """A bank map. ``traffic``: its stalls at full rate, of the whole run if there are none, else of a run of a few buffers;
    ``disjoint``: buffers that are written and read at the same time lie in disjoint banks."""

    bank_map: BankMap
    traffic: Traffic
    disjoint: bool


def choose(program: PMUProgram, config: PMUConfig) -> Choice:
    """The map with the fewest stalls at full rate; none, if any map has none.

    Among maps without stalls those that keep buffers apart come first, then those without folds. Addresses that depend on data
    are left out of account. Raises ProgramError if no map suits a transposed read.
    """
    g = Geometry(config)
    plan = schedule(program, config)
    allowed = allowed_selectors(program, config)
    at_once, apart = differences(program, config, plan), _between_buffers(program, config, plan)
    for wanted, disjoint in ((at_once | apart, True), (at_once, False)):
        selectors = None if wanted[0] else cover(np.flatnonzero(wanted), allowed, g)
        if selectors is not None:
            return Choice(selectors_to_map(selectors, config), Traffic(plan.cycles, 0), disjoint)
    return _fewest(program, config, plan, allowed, apart)


@lru_cache(maxsize=1024)
def banked(program: PMUProgram, config: PMUConfig) -> PMUProgram:
    """``program`` with the bank map that :func:`choose` finds."""
    return dataclasses.replace(program, bank_map=choose(program, config).bank_map)


def _fewest(program: PMUProgram, config: PMUConfig, plan: Schedule, allowed: np.ndarray, apart: np.ndarray) -> Choice:
    """No map is free of stalls: maps that suit engines a few cycles apart (as they are after a first conflict), by trial."""
    g = Geometry(config)
    short = _shortened(program)
    apart = apart & (np.arange(g.vectors) > 0)
    readers = [name for name in plan.tracks if name != "write"]
    candidates = [] if spread(program, config) else [BankMap.low(config)]
    for lags in itertools.product(range(3), repeat=len(readers)):
        late = differences(program, config, plan, dict(zip(readers, lags, strict=True)))
        late[0] = False
        for wanted in (late | apart, late):
            selectors = cover(np.flatnonzero(wanted), allowed, g) or greedy(np.flatnonzero(wanted), allowed, g)
            candidates.append(selectors_to_map(selectors, config))
    found = []
    for candidate in dict.fromkeys(candidates):
        limit = min((choice.traffic.stall_cycles for choice in found), default=1 << 62)
        disjoint = bool(np.all(candidate.split(np.flatnonzero(apart))[0]))
        found.append(Choice(candidate, simulate(short, config, candidate, limit=limit), disjoint))
    return min(found, key=lambda choice: (choice.traffic.stall_cycles, not choice.disjoint))


def _shortened(program: PMUProgram) -> PMUProgram:
    """The program with fewer buffers, so that a trial takes about TRIED_CYCLES cycles, two rounds of the buffers at least."""
    engines = program.engines.values()
    size = max((engine.accesses for engine in engines), default=1)
    outer = [next((loop.bound for loop in engine.loops[engine.buffer_loops:] if loop.bound > 1), 1) for engine in engines]
    count = min([max(2 * program.buffers + 1, TRIED_CYCLES // max(size, 1)), *outer])

    def cut(engine):
        if engine is None:
            return None
        loops, left = list(engine.loops[:engine.buffer_loops]), count
        for loop in engine.loops[engine.buffer_loops:]:
            loops.append(dataclasses.replace(loop, bound=left if loop.bound > 1 else loop.bound))
            left = 1 if loop.bound > 1 else left
        return dataclasses.replace(engine, loops=tuple(loops))
    return dataclasses.replace(program, write=cut(program.write), reads=tuple(cut(read) for read in program.reads))


def _between_buffers(program: PMUProgram, config: PMUConfig, plan: Schedule) -> np.ndarray:
    """As :func:`differences`: between what is written in one buffer and read in another, whenever that may be."""
    g = Geometry(config)
    found = np.zeros(g.vectors, bool)
    if program.write is None:
        return found
    stride = program.halves(program.buffer_stride)

    def touched(name: str, buffer: int) -> np.ndarray:
        track = plan.tracks[name]
        wanted = [vectors for content in range(len(track.addresses))
                  for vectors in track.vectors(config, stride, content, buffer, 0, track.addresses.shape[1])]
        vectors = np.unique(np.concatenate(wanted))
        return vectors[vectors >= 0]

    written = [touched("write", buffer) for buffer in range(min(program.buffers, 16))]
    for name, track in plan.tracks.items():
        if name == "write":
            continue
        for buffer in range(len(written) if track.rotating else 1):
            read = touched(name, buffer)
            for other, vectors in enumerate(written):
                if other != buffer or not track.rotating:
                    found[(read[:, None] ^ vectors).ravel()] = True
    return found


# The yardstick ------------------------------------------------------------------------------------------------------------
def all_maps(config: PMUConfig, folds: bool = False) -> Iterator[BankMap]:
    """Every choice of bank bits; with ``folds`` every bank map there is but for the names of the banks (in the reduced form, in which
    only bits above ``positions[i]`` are folded into bank bit i; small configurations only)."""
    g = Geometry(config)
    for positions in itertools.combinations(range(g.vector_bits), g.bank_bits):
        rows = [bit for bit in range(g.vector_bits) if bit not in positions]
        masks = [[mask << sum(bit < position for bit in rows) for mask in range(1 << sum(bit > position for bit in rows))]
                 if folds else [0] for position in positions]
        for chosen in itertools.product(*masks):
            yield BankMap(positions, chosen)


def exhaustive(program: PMUProgram, config: PMUConfig, folds: bool = False) -> Traffic:
    """The fewest stalls that any bank map reaches (with or without ``folds``), by trying them all on the whole run."""
    best = None
    rows = spread(program, config)
    for candidate in all_maps(config, folds):
        if all(candidate.split(vector)[0] == 0 for vector in rows):
            traffic = simulate(program, config, candidate, limit=best.stall_cycles if best else 1 << 62)
            if best is None or traffic.stall_cycles < best.stall_cycles:
                best = traffic
            if best.stall_cycles == 0:
                break
    return best
