"""The covering problem behind a choice of bank bits. No HDL is imported.

A *selector* is an XOR of bits of the vector number; a bank map is ``bank_bits`` independent ones (bank_bits.py). Wanted: selectors of which
one at least has odd parity on each of a set of differences. Solved completely, by branching on the Walsh transform of what is
uncovered.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from hw.config import PMUConfig

from .geometry import BankMap, Geometry
from .pack import spread_vectors
from .program import PMUProgram, ProgramError, Read

__all__ = ["allowed_selectors", "completed", "cover", "greedy", "selectors_to_map", "spread"]

NODES = 20_000               # selectors tried in one search; never reached up to 5 vector bits, and then the search is complete


def spread(program: PMUProgram, config: PMUConfig) -> list[int]:
    """Differences that must be even in every selector: the rows of one transposed vector lie in one bank."""
    if not any(isinstance(engine, Read) and engine.transposed for engine in program.engines.values()):
        return []
    return [vector for vector in spread_vectors(program, config) if vector]


def allowed_selectors(program: PMUProgram, config: PMUConfig) -> np.ndarray:
    """The selectors that may be used, as bit masks; ascending, without 0."""
    g = Geometry(config)
    selectors = np.arange(1, g.vectors)
    for vector in spread(program, config):
        selectors = selectors[np.bitwise_count(selectors & vector) % 2 == 0]
    if len(selectors) + 1 < 1 << g.bank_bits:
        raise ProgramError(f"pitch={program.pitch}: no bank map keeps the rows of one transposed vector in one bank; {config.banks} "
                           "banks leave too few bits")
    return selectors


def cover(wanted: np.ndarray, allowed: np.ndarray, g: Geometry) -> list[int] | None:
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


def greedy(wanted: np.ndarray, allowed: np.ndarray, g: Geometry) -> list[int]:
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
