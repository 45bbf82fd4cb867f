"""Loops longer than a counter, as two."""

from __future__ import annotations

from ..errors import CompileError

__all__ = ["LONGEST", "factors"]

LONGEST = 65535          # bound of a loop


def factors(count: int, what: str, limit: int = LONGEST) -> list[int]:
    """Bounds of one or two loops with ``count`` iterations. Raises :class:`CompileError` if there are none."""
    if count <= limit:
        return [count]
    for outer in range(-(-count // limit), min(count, limit) + 1):
        if count % outer == 0 and count // outer <= limit:
            return [count // outer, outer]
    raise CompileError(f"{what}: {count} iterations are not a product of two loops of at most {limit}", way_out="pad the tensor")
