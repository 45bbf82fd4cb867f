"""An access pattern: loops over a row-major tensor."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

__all__ = ["View", "merged", "row_major"]


@dataclass(frozen=True)
class View:
    """An access pattern over a row-major source: for every axis the nest of loops that runs over it, outermost first.

    A loop is (size, stride in elements); stride 0 repeats, a negative one runs backwards. Usually an axis is one loop; an axis of
    several merges dimensions that are not adjacent in memory (im2col: channel, kernel row and kernel column are the one axis K).
    Loops of size 1 are left out and loops of one axis that can be one are one, so equal views compare equal.
    """

    axes: tuple[tuple[tuple[int, int], ...], ...]
    offset: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", tuple(merged(axis) for axis in self.axes))

    @classmethod
    def of(cls, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> View:
        """One loop per axis, as numpy's strided arrays (strides in elements)."""
        return cls(tuple(((size, stride),) for size, stride in zip(shape, strides, strict=True)), offset)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(prod(size for size, _ in axis) for axis in self.axes)

    @property
    def strides(self) -> tuple[int, ...] | None:
        """One stride per axis (0 where the size is 1), or None where an axis needs several loops."""
        if any(len(axis) > 1 for axis in self.axes):
            return None
        return tuple(axis[0][1] if axis else 0 for axis in self.axes)

    @property
    def loops(self) -> tuple[tuple[int, int], ...]:
        """The shortest nest, outermost first, that visits the elements in row-major order."""
        return merged(tuple(loop for axis in self.axes for loop in axis))

    @property
    def is_contiguous(self) -> bool:
        """Whether it reads consecutive elements, each once."""
        return not self.loops or (len(self.loops) == 1 and self.loops[0][1] == 1)

    def indices(self) -> np.ndarray:
        """Flat index in the source of every element."""
        total = np.array([self.offset], dtype=np.int64)
        for size, stride in self.loops:
            total = (total[:, None] + np.arange(size, dtype=np.int64) * stride).reshape(-1)
        return total.reshape(self.shape)

    def __str__(self) -> str:
        if self.strides is not None:
            return f"strides={list(self.strides)} offset={self.offset}"
        axes = ", ".join("*".join(f"{size}:{stride}" for size, stride in axis) or "1" for axis in self.axes)
        return f"axes=[{axes}] offset={self.offset}"


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of a row-major array."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def merged(loops: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """The shortest nest of (size, stride) loops, outermost first, with the same visits in the same order."""
    found: list[tuple[int, int]] = []
    for size, stride in loops:
        if size == 1:
            continue
        if found and found[-1][1] == size * stride:
            found[-1] = (found[-1][0] * size, stride)
        else:
            found.append((size, stride))
    return tuple(found)
