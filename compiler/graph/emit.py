"""Makes core nodes: a numpy-like layer whose values are tensor names. Shapes and types are worked out on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from .emit_views import ViewEmitter
from .ir import (
    Copy,
    Core,
    DType,
    Gather,
    GraphError,
    Matmul,
    Place,
    Reduce,
    Reduction,
    Update,
    row_major,
)
from .scalar import Scalar, trace

__all__ = ["Emitter"]


class Emitter(ViewEmitter):
    """Moves data and computes, on top of the access patterns of :class:`ViewEmitter`."""

    # Data movement

    def concat(self, parts: Sequence[str], axis: int) -> str:
        """The parts one after the other along ``axis``."""
        shapes = [self.shape(part) for part in parts]
        axis %= len(shapes[0])
        if len({(*shape[:axis], *shape[axis + 1:]) for shape in shapes}) > 1:
            raise GraphError(f"node {self.origin!r}: shapes {[list(shape) for shape in shapes]} do not join along axis {axis}")
        if len(parts) == 1:
            return parts[0]
        size = sum(shape[axis] for shape in shapes)
        shape = (*shapes[0][:axis], size, *shapes[0][axis + 1:])
        strides, places, position = row_major(shape), [], 0
        for part in shapes:
            places.append(Place(strides, position * strides[axis]))
            position += part[axis]
        return self._node(Core.COPY, parts, shape, self.dtype(parts[0]), Copy(tuple(places)))

    def pad(self, x: str, before: Sequence[int], after: Sequence[int], fill: float = 0.0) -> str:
        """``x`` with ``fill`` around it; negative counts cut off."""
        for axis, (low, high) in enumerate(zip(before, after, strict=True)):
            cut, end = max(-low, 0), max(-high, 0)
            if cut or end:
                x = self.slice(x, axis, cut, self.shape(x)[axis] - cut - end)
        before, after = [max(low, 0) for low in before], [max(high, 0) for high in after]
        if not any(before) and not any(after):
            return x
        order = self._memory_order([x], len(before))
        if order:
            turned = self.pad(self.transpose(x, order), [before[axis] for axis in order], [after[axis] for axis in order], fill)
            return self.transpose(turned, np.argsort(order))
        inner = self.shape(x)
        shape = tuple(low + size + high for low, size, high in zip(before, inner, after, strict=True))
        strides = row_major(shape)
        offset = sum(low * stride for low, stride in zip(before, strides, strict=True))
        padded = self._node(Core.COPY, [x], shape, self.dtype(x), Copy((Place(strides, offset),)))
        if fill == 0.0:
            return padded

        def outside(value: Scalar) -> Scalar:
            inside = None
            for axis, (low, size) in enumerate(zip(before, inner, strict=True)):
                for used, test in ((low, value.index(axis) >= low), (after[axis], value.index(axis) < low + size)):
                    if used:
                        inside = test if inside is None else inside & test
            return inside.select(value, fill)

        return self.map(outside, padded)

    def spread(self, x: str, steps: Sequence[int], before: Sequence[int], after: Sequence[int]) -> str:
        """``x`` with its elements ``steps`` apart, zeros between and around them; negative counts cut off."""
        if all(step == 1 for step in steps):
            return self.pad(x, before, after)
        inner = [(size - 1) * step + 1 for size, step in zip(self.shape(x), steps, strict=True)]
        shape = tuple(max(low, 0) + size + max(high, 0) for low, size, high in zip(before, inner, after, strict=True))
        strides = row_major(shape)
        offset = sum(max(low, 0) * stride for low, stride in zip(before, strides, strict=True))
        place = Place(tuple(step * stride for step, stride in zip(steps, strides, strict=True)), offset)
        made = self._node(Core.COPY, [x], shape, self.dtype(x), Copy((place,)))
        return self.pad(made, [min(low, 0) for low in before], [min(high, 0) for high in after])

    # Arithmetic

    def map(self, function: Callable[..., Scalar], *inputs: str, dtype: DType | None = None, shape: tuple[int, ...] | None = None) -> str:
        """MAP of ``function`` over the inputs. The type is INT32, or BF16 if no input is FP32, or FP32; or ``dtype``."""
        attributes, integer = trace(function, [not self.dtype(name).is_float for name in inputs])
        try:
            reached = np.broadcast_shapes(*(self.shape(name) for name in inputs), shape or ())
        except ValueError:
            raise GraphError(f"node {self.origin!r}: shapes {[list(self.shape(name)) for name in inputs]} do not broadcast") from None
        order = self._memory_order(inputs, len(reached)) if shape is None else None
        if order and not any(argument.kind == "index" for step in attributes.steps for argument in step.arguments):
            turned = [self.transpose(self._full_rank(name, len(reached)), order) for name in inputs]
            return self.transpose(self.map(function, *turned, dtype=dtype), np.argsort(order))
        kinds = {self.dtype(name) for name in inputs}
        if integer:
            dtype = DType.INT32
        elif dtype is None:
            dtype = DType.BF16 if DType.BF16 in kinds and DType.FP32 not in kinds else DType.FP32
        return self._node(Core.MAP, inputs, reached, dtype, attributes)

    def _memory_order(self, inputs: Sequence[str], rank: int) -> tuple[int, ...] | None:
        """The order of axes, outermost first, in which all tensors that are not constant lie in memory; None if that is the usual
        one, if they differ, or if none of them was made by a node."""
        found: list[list[int]] = []
        made = self._made
        for name in inputs:
            if self.tensors[name].is_constant:
                continue
            source, view = self.source(name)
            if view.strides is None or min(view.strides, default=0) < 0:
                return None
            shift = rank - len(view.axes)
            moving = [axis for axis, axis_loops in enumerate(view.axes) if axis_loops and axis_loops[0][1]]
            found.append([axis + shift for axis in sorted(moving, key=lambda axis, view=view: -view.strides[axis])])
            if source not in made:
                found.append(sorted(found[-1]))            # an input of the graph asks for its own order
        order = max(found, key=len, default=[])
        if order == sorted(order) or any([axis for axis in order if axis in other] != other for other in found):
            return None
        return (*(axis for axis in range(rank) if axis not in order), *order)

    def _full_rank(self, x: str, rank: int) -> str:
        return self.reshape(x, (*(1,) * (rank - len(self.shape(x))), *self.shape(x)))

    def matmul(self, a: str, b: str, bias: str | None = None) -> str:
        """a @ b (+ bias[N]); at least two axes each."""
        left, right = self.shape(a), self.shape(b)
        if left[-1] != right[-2]:
            raise GraphError(f"node {self.origin!r}: inner dimensions of {self.tensors[a]} and {self.tensors[b]} differ")
        try:
            batch = np.broadcast_shapes(left[:-2], right[:-2])
        except ValueError:
            raise GraphError(f"node {self.origin!r}: {self.tensors[a]} and {self.tensors[b]} do not broadcast") from None
        if bias is None and self.tensors[a].is_constant and self._is_transposed(b):
            return self.swap(self.matmul(self.swap(b), self.swap(a)))        # the rows as they lie, the constant turned round
        return self._node(Core.MATMUL, [a, b, bias] if bias else [a, b], (*batch, left[-2], right[-1]), self.dtype(a), Matmul())

    def _is_transposed(self, x: str) -> bool:
        """Whether the neighbours in memory of a view are those of its last axis but one."""
        strides = self.source(x)[1].strides
        return strides is not None and x in self._views and strides[-2] == 1 and strides[-1] > 1

    def reduce(self, kind: Reduction, x: str, axes: Sequence[int], keepdims: bool = True) -> str:
        """Reduction over several axes; they are moved behind the others and become one."""
        shape = self.shape(x)
        axes = sorted(axis % len(shape) for axis in axes)
        kept = [axis for axis in range(len(shape)) if axis not in axes]
        if axes:
            moved = self.transpose(x, (*kept, *axes))
            joined = self.reshape(moved, (*(shape[axis] for axis in kept), prod(shape[axis] for axis in axes)))
            dtype = DType.INT32 if kind is Reduction.ARGMAX else self.dtype(x)
            x = self._node(Core.REDUCE, [joined], (*self.shape(joined)[:-1], 1), dtype, Reduce(kind))
        return self.reshape(x, [1 if axis in axes else shape[axis] for axis in range(len(shape)) if keepdims or axis in kept])

    def gather(self, table: str, indices: str) -> str:
        return self._node(Core.GATHER, [table, indices], self.shape(indices) + self.shape(table)[1:], self.dtype(table), Gather())

    def update(self, target: str, values: str, indices: str) -> str:
        return self._node(Core.UPDATE, [target, values, indices], self.shape(target), self.dtype(target), Update())
