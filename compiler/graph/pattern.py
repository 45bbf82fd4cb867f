"""Access patterns: which elements of a stored tensor an operator reads or writes, in which order.

A pattern is a loop nest over flat element numbers. Views of views become one pattern where that is possible; where it is not,
:class:`NotAffine` says so and the caller copies.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

__all__ = ["Dim", "NotAffine", "Pattern", "common_dims", "merge_dims", "refine"]


class NotAffine(ValueError):
    """No loop nest visits these elements in this order."""


@dataclass(frozen=True)
class Pattern:
    """Elements ``offset + i0 * stride0 + i1 * stride1 + ...``, the last dimension fastest.

    ``dims``: (size, stride) pairs, outermost first, sizes above 1. The same pattern serves every shape whose dimensions split at
    places where the nest can be split.
    """

    dims: tuple[tuple[int, int], ...]
    offset: int = 0

    @classmethod
    def contiguous(cls, elements: int, offset: int = 0) -> Pattern:
        return cls(((elements, 1),) if elements > 1 else (), offset)

    @classmethod
    def of(cls, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Pattern:
        """From a shape and its strides in elements."""
        return cls(_joined([(size, stride) for size, stride in zip(shape, strides, strict=True) if size > 1]), offset)

    @property
    def elements(self) -> int:
        return prod(size for size, _ in self.dims)

    @property
    def is_contiguous(self) -> bool:
        return self.dims in ((), ((self.elements, 1),))

    def indices(self) -> np.ndarray:
        """Every element number in order."""
        total = np.array([self.offset], dtype=np.int64)
        for size, stride in self.dims:
            total = (total[:, None] + np.arange(size, dtype=np.int64) * stride).ravel()
        return total

    def shaped(self, shape: Sequence[int]) -> list[list[tuple[int, int]]]:
        """The loops of each dimension of ``shape``, outermost first. Raises :class:`NotAffine`."""
        left, found = list(self.dims), []
        for size in reversed(shape):
            loops: list[tuple[int, int]] = []
            while size > 1:
                if not left:
                    raise NotAffine(f"{self} has too few elements for {list(shape)}")
                inner, stride = left.pop()
                if size % inner == 0:
                    loops.insert(0, (inner, stride))
                    size //= inner
                elif inner % size == 0:
                    left.append((inner // size, stride * size))
                    loops.insert(0, (size, stride))
                    size = 1
                else:
                    raise NotAffine(f"{self} cannot be cut into {list(shape)}")
            found.insert(0, loops)
        if left:
            raise NotAffine(f"{self} has too many elements for {list(shape)}")
        return found

    def through(self, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Pattern:
        """The pattern of a view (shape, strides, offset) over the elements of this pattern, taken as one flat row.

        Raises :class:`NotAffine` if the view's steps carry from one of this pattern's loops into the next.
        """
        sizes = [size for size, _ in self.dims]
        flat = [prod(sizes[level + 1:]) for level in range(len(sizes))]
        low = [offset // step % size for size, step in zip(sizes, flat, strict=True)]
        high, start = list(low), list(low)
        if not sizes and (offset or any(stride and size > 1 for size, stride in zip(shape, strides, strict=True))):
            raise NotAffine("a view beyond a single element")
        loops: list[tuple[int, int]] = []
        for size, stride in zip(shape, strides, strict=True):
            if size > 1:
                loops += self._walk(size, stride, sizes, flat, low, high)
        if any(first < 0 or last >= size for first, last, size in zip(low, high, sizes, strict=True)):
            raise NotAffine("steps of a view carry from one loop into the next")
        base = self.offset + sum(digit * stride for digit, (_, stride) in zip(start, self.dims, strict=True))
        return Pattern(_joined(loops), base)

    def _walk(self, size, stride, sizes, flat, low, high) -> list[tuple[int, int]]:
        """The loops of ``size`` steps of ``stride`` flat elements; notes which digits they move in ``low`` and ``high``."""
        if stride == 0:
            return [(size, 0)]
        level = next((level for level in range(len(sizes)) if abs(stride) >= flat[level]), None)
        if level is None or stride % flat[level]:
            raise NotAffine(f"a step of {stride} is no step of a loop")
        step = stride // flat[level]
        reach = (size - 1) * step
        if 0 <= reach + high[level] < sizes[level] or (reach + low[level] >= 0 and reach < 0):
            low[level], high[level] = low[level] + min(reach, 0), high[level] + max(reach, 0)
            return [(size, step * self.dims[level][1])]
        turns = sizes[level] // step if step > 0 and sizes[level] % step == 0 else 0
        if turns < 1 or size % turns or level == 0 or low[level] or high[level]:
            raise NotAffine(f"{size} steps of {stride} leave a loop of {sizes[level]}")
        outer = self._walk(size // turns, flat[level] * sizes[level], sizes, flat, low, high)
        high[level] += (turns - 1) * step
        return [*outer, *([(turns, step * self.dims[level][1])] if turns > 1 else [])]

    def __str__(self) -> str:
        return f"{self.offset}" + "".join(f" + {size} x {stride}" for size, stride in self.dims)


def _joined(loops: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Neighbouring loops that are one loop, joined."""
    out: list[tuple[int, int]] = []
    for size, stride in loops:
        if out and out[-1][1] == stride * size:
            out[-1] = (out[-1][0] * size, stride)
        else:
            out.append((size, stride))
    return tuple(out)


@dataclass(frozen=True)
class Dim:
    """One loop of an iteration space that several operands share: ``strides`` has one entry per operand; ``axis``: the
    dimension of the shape that it is part of."""

    size: int
    strides: tuple[int, ...]
    axis: int


def common_dims(shape: Sequence[int], operands: Sequence[tuple[Pattern, Sequence[int]]]) -> list[Dim]:
    """The loops over ``shape`` (outermost first) of operands (pattern, own shape), which broadcast to it as numpy's do.

    Raises :class:`NotAffine`.
    """
    cut = []
    for pattern, own in operands:
        loops = pattern.shaped(own)
        loops = [[] for _ in range(len(shape) - len(own))] + loops
        full = (1,) * (len(shape) - len(own)) + tuple(own)
        cut.append([part if here == size else [(size, 0)] if size > 1 else []
                    for part, here, size in zip(loops, full, shape, strict=True)])
    dims: list[Dim] = []
    for axis, size in enumerate(shape):
        if size > 1:
            dims += refine([operand[axis] for operand in cut], axis, size)
    return dims


def refine(parts: list[list[tuple[int, int]]], axis: int, size: int) -> list[Dim]:
    """The loops of one axis, cut wherever any operand's are cut."""
    places = {1, size}
    for loops in parts:
        step = 1
        for count, _ in reversed(loops):
            step *= count
            places.add(step)
    ends = sorted(places)
    for inner, outer in itertools.pairwise(ends):
        if outer % inner:
            raise NotAffine(f"operands cut axis {axis} of {size} at {inner} and at {outer}")
    counts = [outer // inner for inner, outer in itertools.pairwise(ends)][::-1]
    strides = [Pattern(tuple(loops)).shaped(counts) for loops in parts]
    return [Dim(count, tuple(part[level][0][1] for part in strides), axis) for level, count in enumerate(counts)]


def merge_dims(dims: Sequence[Dim], keep: Sequence[int] = ()) -> list[Dim]:
    """Neighbouring loops joined where that is right for all operands; the axes in ``keep`` stay by themselves."""
    out: list[Dim] = []
    for dim in dims:
        last = out[-1] if out else None
        if last and (last.axis == dim.axis or not {last.axis, dim.axis} & set(keep)) and \
                all(a == b * dim.size for a, b in zip(last.strides, dim.strides, strict=True)):
            out[-1] = Dim(last.size * dim.size, dim.strides, dim.axis)
        else:
            out.append(dim)
    return out
