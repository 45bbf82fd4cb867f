"""Streams that a PMU turns round: rows whose elements are far apart in memory, where those of neighbouring rows are neighbours.

A striped buffer is written row by row and read column by column (or the other way), a vector a cycle on both sides: no word moves
by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from hw.agcu.program import Access
from hw.config import RDUConfig
from hw.pmu.program import Loop, PMUProgram

from .striped import pitch_of, striped, width_of

__all__ = ["Block", "Dims", "Plan", "access", "plan"]

Dims = Sequence[tuple[int, int]]         # loops as (count, stride in elements), outermost first


def access(offset: int, dims: Dims, beat: int) -> Access | None:
    """How vectors at these places (in bytes) can be moved; None if they do not start at words."""
    places = [offset, *(stride for count, stride in dims if count > 1)]
    if all(place % beat == 0 for place in places):
        return Access.VECTOR
    return Access.UNALIGNED if all(place % 4 == 0 for place in places) else None


@dataclass(frozen=True)
class Block:
    """What is turned at a time: ``across`` rows of ``along`` elements come or go in memory's order; the other side has ``along`` rows
    of ``across``. ``times`` blocks, each read ``repeat`` times; ``buffers`` of them fit the PMU."""

    across: int
    along: int
    size: int
    times: int = 1
    repeat: int = 1
    buffers: int = 1

    def program(self, config: RDUConfig, written: int, read: int) -> PMUProgram:
        """A PMU that takes ``written`` rows of ``read`` elements and gives ``read`` rows of ``written``."""
        width, pitch = width_of(config, self.size), pitch_of(config, read, self.size)
        again = [Loop(self.repeat)] if self.repeat > 1 else []
        return striped(config, self.size, written, read, (Loop(-(-written // width), width * pitch), Loop(read, 1), *again),
                       times=self.times, buffers=self.buffers)


def _fitting(written: int, read: int, config: RDUConfig, size: int) -> int:
    """How many buffers (2 at most) of ``written`` rows of ``read`` elements a PMU holds."""
    width = width_of(config, size)
    block = 1 << (-(-written // width) * width * pitch_of(config, read, size) - 1).bit_length()
    return min(2, config.pmu.words * 4 // size // block)


@dataclass(frozen=True)
class Plan:
    """``dims``: the vectors in memory, as (count, stride in bytes), outermost first; ``distinct``: bytes of the elements."""

    block: Block
    dims: Dims
    access: Access
    distinct: int


def plan(config: RDUConfig, size: int, offset: int, outer: Dims, row: Dims, *, storing: bool) -> Plan | None:
    """How rows ``row`` from element ``offset`` on, in the order of ``outer``, are turned; None if neighbours in memory are not neighbouring
    rows, if vectors of them do not start at words, or if a block does not fit a PMU."""
    found = _block(config, size, outer, row, storing)
    if found is None:
        return None
    others, block = found
    vectors = -(-block.along * size // config.beat_bytes)
    dims = [*((count, stride * size) for count, stride in (*others, *row)), (vectors, config.beat_bytes)]
    kind = access(offset * size, dims, config.beat_bytes)
    distinct = prod(count for count, stride in others if stride) * block.across * block.along * size
    return None if kind is None else Plan(block, dims, kind, distinct)


def _block(config: RDUConfig, size: int, outer: Dims, row: Dims, storing: bool) -> tuple[Dims, Block] | None:
    """(loops around the blocks, the block)."""
    n = prod(count for count, _ in row)
    if not outer or outer[-1][1] != 1 or outer[-1][0] < 2 or n < 2:
        return None
    others, count, repeat, width = list(outer[:-1]), outer[-1][0], 1, width_of(config, size)
    parts = [count, *(part for part in range(count - 1, width - 1, -1) if count % part == 0 and part % width == 0)]
    for least in (2, 1):
        for along in parts:
            buffers = _fitting(along, n, config, size) if storing else _fitting(n, along, config, size)
            if buffers < least:
                continue
            if along == count and not storing and others and others[-1][1] == 0:
                repeat, others = others[-1][0], others[:-1]
            elif along < count:
                others.append((count // along, along))
            times = prod(count for count, _ in others)
            levels = 3 + (repeat > 1) + (times > 65535)
            if levels > config.pmu.counter_levels:
                return None
            return others, Block(n, along, size, times, repeat, buffers)
    return None
