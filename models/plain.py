"""Operators by themselves, for what memory can give."""

from __future__ import annotations

import numpy as np

from compiler.graph.builder import Builder

__all__ = ["axpy"]


def axpy(b: Builder, *, rows: int = 256, columns: int = 256) -> dict[str, np.ndarray]:
    """x, z[rows, columns] -> 2 x + z: two numbers read and one written for each."""
    x, z = b.input("x", (rows, columns)), b.input("z", (rows, columns))
    b.output("y", x * 2.0 + z)
    random = np.random.default_rng(61)
    return {name: random.normal(0, 1, (rows, columns)).astype(np.float32) for name in ("x", "z")}
