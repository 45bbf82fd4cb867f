"""Choosing the bank bits of a program. No HDL is imported here.

A bank map is, but for the names of the banks, a choice of ``bank_bits`` independent XORs (*selectors*) of bits of the vector number:
positions and folds are their reduced form, and every such choice can be written so. Two vectors share a bank exactly if no selector
tells them apart, that is if every selector's parity over their XOR difference is even. So a program has no conflict under a map exactly
if each difference that occurs in its schedule (schedule.py) is odd in one selector at least: a covering problem, solved here
completely. Differences between buffers that are written and read at the same time are covered too where possible: then no timing
of the streams can bring a conflict.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hw.config import PMUConfig

from .geometry import BankMap, Geometry
from .pack import spread_vectors
from .program import PMUProgram, ProgramError, Read
from .schedule import Schedule, differences, schedule
from .traffic import Traffic, simulate

__all__ = ["Choice", "all_maps", "allowed_selectors", "banked", "choose", "completed", "exhaustive", "selectors_to_map"]

NODES = 20_000               # selectors tried in one search; never reached up to 5 vector bits, and then the search is complete
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
        selectors = None if wanted[0] else _cover(np.flatnonzero(wanted), allowed, g)
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
    candidates = [] if _spread(program, config) else [BankMap.low(config)]
    for lags in itertools.product(range(3), repeat=len(readers)):
        late = differences(program, config, plan, dict(zip(readers, lags, strict=True)))
        late[0] = False
        for wanted in (late | apart, late):
            selectors = _cover(np.flatnonzero(wanted), allowed, g) or _greedy(np.flatnonzero(wanted), allowed, g)
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


# The covering problem -----------------------------------------------------------------------------------------------------
def _spread(program: PMUProgram, config: PMUConfig) -> list[int]:
    """Differences that must be even in every selector: the rows of one transposed vector lie in one bank."""
    if not any(isinstance(engine, Read) and engine.transposed for engine in program.engines.values()):
        return []
    return [vector for vector in spread_vectors(program, config) if vector]


def allowed_selectors(program: PMUProgram, config: PMUConfig) -> np.ndarray:
    """The selectors that may be used, as bit masks; ascending, without 0."""
    g = Geometry(config)
    selectors = np.arange(1, g.vectors)
    for vector in _spread(program, config):
        selectors = selectors[np.bitwise_count(selectors & vector) % 2 == 0]
    if len(selectors) + 1 < 1 << g.bank_bits:
        raise ProgramError(f"pitch={program.pitch}: no bank map keeps the rows of one transposed vector in one bank; {config.banks} "
                           "banks leave too few bits")
    return selectors


def _cover(wanted: np.ndarray, allowed: np.ndarray, g: Geometry) -> list[int] | None:
    """``bank_bits`` independent selectors of which one at least is odd on each of ``wanted``; None if there are none.

    Plain bits are tried first.
    """
    single = [int(selector) for selector in allowed if selector & selector - 1 == 0]
    for bits in itertools.combinations(single, g.bank_bits):
        if np.all(wanted & sum(bits)):
            return list(bits)
    indicator = np.zeros(g.vectors, np.int64)
    indicator[wanted] = 1
    usable = np.zeros(g.vectors, bool)
    usable[allowed] = True
    found = _search(_walsh(indicator), usable, g.bank_bits, [NODES])
    return None if found is None else completed(found, allowed, g)


def _walsh(values: np.ndarray) -> np.ndarray:
    """For every selector: the sum over all differences, those on which it is odd counted negative."""
    values = values.copy()
    step = 1
    while step < len(values):
        pairs = values.reshape(-1, 2, step)
        values = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(-1)
        step *= 2
    return values


def _search(balance: np.ndarray, usable: np.ndarray, count: int, nodes: list[int]) -> list[int] | None:
    """``count`` selectors that cover everything; ``balance`` is the Walsh transform of what is still uncovered.

    In a cover by ``count`` selectors each difference is odd in 2**(count - 1) of the 2**count - 1 sums of selectors, so one of
    these sums covers that share of all; only such are tried first, and none again that has failed.
    """
    total = int(balance[0])
    if total == 0:
        return []
    covered = (total - balance) // 2
    if count == 1:
        best = np.flatnonzero(usable & (covered == total))
        return [int(best[0])] if len(best) else None
    share = math.ceil(total * (1 << count - 1) / ((1 << count) - 1))
    candidates = np.flatnonzero(usable & (covered >= share))
    usable, every = usable.copy(), np.arange(len(balance))
    for selector in candidates[np.argsort(-covered[candidates], kind="stable")]:
        nodes[0] -= 1
        if nodes[0] < 0:
            return None
        # What this selector leaves uncovered; adding it to another changes nothing there.
        rest = _search((balance + balance[every ^ selector]) // 2, usable, count - 1, nodes)
        if rest is not None:
            return [int(selector), *rest]
        usable[selector] = False
    return None


def _greedy(wanted: np.ndarray, allowed: np.ndarray, g: Geometry) -> list[int]:
    """Selectors that leave little uncovered, one after the other."""
    chosen: list[int] = []
    for _ in range(g.bank_bits):
        if not len(wanted):
            break
        odd = np.bitwise_count(allowed[:, None] & wanted) % 2
        chosen.append(int(allowed[int(odd.sum(axis=1).argmax())]))
        wanted = wanted[np.bitwise_count(wanted & chosen[-1]) % 2 == 0]
    return completed(chosen, allowed, g)


def completed(selectors: list[int], allowed: np.ndarray, g: Geometry) -> list[int]:
    """Independent selectors, ``bank_bits`` of them: those given, then plain bits, then any."""
    kept: list[int] = []
    for selector in [*selectors, *sorted(map(int, allowed), key=lambda mask: (mask.bit_count(), mask))]:
        if len(kept) < g.bank_bits and len(_reduced([*kept, selector])) > len(kept):
            kept.append(selector)
    return kept


def _reduced(selectors: list[int]) -> dict[int, int]:
    """Reduced echelon form: lowest bit -> selector; no selector contains the lowest bit of another."""
    rows: dict[int, int] = {}
    for selector in selectors:
        for pivot, row in rows.items():
            if selector >> pivot & 1:
                selector ^= row
        if selector:
            pivot = (selector & -selector).bit_length() - 1
            rows = {other: row ^ selector if row >> pivot & 1 else row for other, row in rows.items()} | {pivot: selector}
    return dict(sorted(rows.items()))


def selectors_to_map(selectors: list[int], config: PMUConfig) -> BankMap:
    """The bank map of independent selectors."""
    rows = _reduced(selectors)
    positions = tuple(rows)
    row_bits = [bit for bit in range(Geometry(config).vector_bits) if bit not in rows]
    return BankMap(positions, tuple(sum((rows[pivot] >> bit & 1) << place for place, bit in enumerate(row_bits))
                                    for pivot in positions))


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
    spread = _spread(program, config)
    for candidate in all_maps(config, folds):
        if all(candidate.split(vector)[0] == 0 for vector in spread):
            traffic = simulate(program, config, candidate, limit=best.stall_cycles if best else 1 << 62)
            if best is None or traffic.stall_cycles < best.stall_cycles:
                best = traffic
            if best.stall_cycles == 0:
                break
    return best
