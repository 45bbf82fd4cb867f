"""The loops of a node's output over all its operands in memory."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..errors import CompileError
from ..mapping.section import Section
from ..mapping.streams import LONGEST, TooDeep, factors
from .pattern import Dim, Pattern, common_dims, merge_dims

__all__ = ["Space"]


class Space:
    """The loops of a node's output: ``launch`` dims, ``outer`` dims and the ``row``, each over all operands in memory."""

    def __init__(self, section: Section, shape: Sequence[int], operands: list[tuple[Pattern, Sequence[int]]], *,
                 keep: Sequence[int] = (), row_axis: bool):
        last = len(shape) - 1
        dims = merge_dims(common_dims(shape, operands), [*keep, last] if row_axis else keep)
        if row_axis:
            self.row = [dim for dim in dims if dim.axis == last and shape[last] > 1]
        else:
            self.row = _shorter(dims[-1]) if dims else []
            dims = [*dims[:-1], *self.row]
            self.row = self.row[-1:]
        outer = dims[:len(dims) - len(self.row)]
        count = section.launch_dims
        if count > len(outer):
            raise CompileError(f"{section.net.name}: too many loops", way_out="use tensors of fewer dimensions") from TooDeep()
        self.launch, self.outer = outer[:count], outer[count:]
        section.launches = tuple(dim.size for dim in self.launch)
        self.rows, self.n = prod(dim.size for dim in self.outer), prod(dim.size for dim in self.row)

    def of(self, operand: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(outer, row) loops of one operand as (count, stride)."""
        return ([(dim.size, dim.strides[operand]) for dim in self.outer], [(dim.size, dim.strides[operand]) for dim in self.row])

    def loops(self, lanes: int, apart: bool) -> list[int]:
        """Loops of a PCU: vectors of a row, then rows (``apart``: a loop for each outer dimension)."""
        vectors = -(-self.n // lanes)
        outer = [dim.size for dim in reversed(self.outer)] if apart else factors(self.rows, "rows")
        return [vectors, *outer]


def _shorter(dim: Dim, limit: int = LONGEST * 4) -> list[Dim]:
    """A long row as several of whole vectors, as long as that is possible."""
    if dim.size <= limit:
        return [dim]
    for count in range(2, 4096):
        if dim.size % count == 0 and dim.size // count <= limit and dim.size // count % 64 == 0:
            break
    else:
        for count in range(2, LONGEST):
            if dim.size % count == 0 and dim.size // count <= limit:
                break
        else:
            raise CompileError(f"a row of {dim.size} elements cannot be cut into rows of at most {limit}", way_out="pad it")
    inner = dim.size // count
    return [Dim(count, tuple(stride * inner for stride in dim.strides), dim.axis), Dim(inner, dim.strides, dim.axis)]
