"""Makes core nodes: a numpy-like layer whose values are tensor names. Shapes and types are worked out on the way.

Transposes, reshapes, slices and broadcasts become one VIEW of the row-major tensor behind them, or of a COPY where that is impossible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import prod

import numpy as np

from . import views
from .ir import (
    Copy,
    Core,
    DType,
    Gather,
    Graph,
    GraphError,
    Matmul,
    Node,
    Place,
    Quantised,
    Reduce,
    Reduction,
    Tensor,
    Update,
    View,
    row_major,
)
from .scalar import Scalar, trace

__all__ = ["Emitter"]


class Emitter:
    """Collects the nodes of a core graph. ``group`` and ``origin`` tag the nodes that are being made.

    No tensor gets a name of ``reserved`` before :meth:`finish`.
    """

    def __init__(self, reserved: set[str] | frozenset[str] = frozenset()) -> None:
        self._reserved = reserved
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.group = self.origin = ""
        self._views: dict[str, tuple[str, View]] = {}            # view tensor -> its source and pattern
        self._constants: dict[tuple, str] = {}
        self._groups: dict[str, int] = {}
        self._made: set[str] = set()                             # tensors that nodes made, views too

    # Names

    def input(self, tensor: Tensor) -> str:
        """An input of the graph."""
        self.tensors[tensor.name] = tensor
        return tensor.name

    def constant(self, value: np.ndarray, name: str = "", quantised: Quantised | None = None) -> str:
        """A constant; equal ones are one tensor."""
        value = np.asarray(value, order="C")
        kind = DType.of(value)
        key = (kind, value.shape, value.tobytes())
        if key not in self._constants:
            name = self._fresh(name or "const")
            self.tensors[name] = Tensor(name, value.shape, kind, value, quantised)
            self._constants[key] = name
        return self._constants[key]

    def floats(self, value, like: str = "") -> str:
        """An FP32 constant."""
        return self.constant(np.asarray(value, dtype=np.float32), like)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def dtype(self, name: str) -> DType:
        return self.tensors[name].dtype

    def finish(self, name: str, inputs: Sequence[str], outputs: dict[str, str]) -> Graph:
        """The graph; ``outputs``: name of an output -> the tensor it is. Dead nodes are still in it."""
        renamed: dict[str, str] = {}
        for output, tensor in outputs.items():
            if tensor in renamed or not self._may_be_output(tensor, inputs):
                whole = self.tensors[tensor]
                tensor = self._node(Core.COPY, [tensor], whole.shape, whole.dtype, Copy((Place(row_major(whole.shape)),)))
            renamed[tensor] = output

        def new(tensor: str) -> str:
            return renamed.get(tensor, tensor)

        nodes = tuple(Node(node.op, tuple(map(new, node.inputs)), tuple(map(new, node.outputs)), node.attributes, node.name,
                           node.group, node.origin) for node in self.nodes)
        tensors = {new(key): replace(tensor, name=new(key)) for key, tensor in self.tensors.items()}
        return Graph(name, nodes, tensors, tuple(inputs), tuple(outputs)).with_nodes(nodes)

    def _may_be_output(self, tensor: str, inputs: Sequence[str]) -> bool:
        """Whether a node made it, as a tensor in memory of its own or as another shape of one."""
        source, view = self.source(tensor)
        whole = view.is_contiguous and prod(view.shape) == self.tensors[source].elements
        return whole and source not in inputs and not self.tensors[source].is_constant

    @contextmanager
    def composite(self, kind: str):
        """Nodes made inside are one group, ``kind#number``; groups nest as outer/inner."""
        number = self._groups[kind] = self._groups.get(kind, -1) + 1
        before, tag = self.group, f"{kind}#{number}"
        self.group = f"{before}/{tag}" if before else tag
        yield
        self.group = before

    @contextmanager
    def inside(self, group: str):
        """Nodes made inside belong to ``group`` (of an imported node) at least."""
        before, self.group = self.group, group
        yield
        self.group = before

    def _fresh(self, base: str) -> str:
        base, number = base or "value", 0
        name = base
        while name in self.tensors or name in self._reserved:
            number += 1
            name = f"{base}.{number}"
        return name

    def _node(self, op: Core, inputs: Sequence[str], shape: tuple[int, ...], dtype: DType, attributes) -> str:
        if not prod(shape):
            raise GraphError(f"node {self.origin!r} makes an empty tensor of shape {list(shape)}")
        name = self._fresh(self.origin or op.value.lower())
        self.tensors[name] = Tensor(name, tuple(map(int, shape)), dtype)
        self._made.add(name)
        self.nodes.append(Node(op, tuple(inputs), (name,), attributes, f"{op.value.lower()}.{len(self.nodes)}", self.group, self.origin))
        return name

    # Access patterns

    def source(self, x: str) -> tuple[str, View]:
        """The tensor in memory behind ``x`` and the pattern that reads x from it."""
        return self._views.get(x) or (x, views.identity(self.shape(x)))

    def view(self, source: str, view: View) -> str:
        """VIEW of a tensor that is in memory."""
        if view == views.identity(self.shape(source)):
            return source
        value = self.tensors[source].value
        if value is not None and prod(view.shape) <= value.size:         # constants are laid out at compile time
            indices, known = view.indices(), self.tensors[source].quantised
            return self.constant(value.reshape(-1)[indices], source, known and known.at(indices))
        name = self._node(Core.VIEW, [source], view.shape, self.dtype(source), view)
        self._views[name] = (source, view)
        return name

    def _viewed(self, x: str, change: Callable[[View], View | None]) -> str:
        source, view = self.source(x)
        changed = change(view)
        if changed is not None:
            return self.view(source, changed)
        source = self.copied(x)
        changed = change(views.identity(self.shape(source)))
        if changed is None:
            raise GraphError(f"node {self.origin!r}: an access of {self.shape(x)} that no loops describe")
        return self.view(source, changed)

    def copied(self, x: str) -> str:
        """``x`` in a row-major tensor of its own."""
        shape = self.shape(x)
        return self._node(Core.COPY, [x], shape, self.dtype(x), Copy((Place(row_major(shape)),)))

    def transpose(self, x: str, permutation: Sequence[int]) -> str:
        return self._viewed(x, lambda view: views.transpose(view, tuple(permutation)))

    def swap(self, x: str) -> str:
        """The last two axes exchanged."""
        rank = len(self.shape(x))
        return self.transpose(x, (*range(rank - 2), rank - 1, rank - 2))

    def move_last(self, x: str, axis: int) -> str:
        """``axis`` put behind the others."""
        rank = len(self.shape(x))
        return self.transpose(x, (*(other for other in range(rank) if other != axis % rank), axis % rank))

    def move_from_last(self, x: str, axis: int) -> str:
        """The last axis put at ``axis``."""
        rank = len(self.shape(x))
        order = list(range(rank - 1))
        order.insert(axis % rank, rank - 1)
        return self.transpose(x, order)

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        return self._viewed(x, lambda view: views.reshape(view, tuple(shape)))

    def expand(self, x: str, shape: Sequence[int]) -> str:
        return self._viewed(x, lambda view: views.expand(view, tuple(shape)))

    def slice(self, x: str, axis: int, start: int, count: int, step: int = 1) -> str:
        """``count`` elements of ``axis`` from ``start``, every ``step``-th."""
        if not count:
            raise GraphError(f"node {self.origin!r} takes an empty slice of axis {axis} of {self.tensors[x]}")
        return self._viewed(x, lambda view: views.slice_axis(view, axis % len(view.axes), start, count, step))

    def diagonal(self, x: str, first: int, second: int) -> str:
        """Where the indices of two axes of one length are equal; ``second`` goes."""
        return self._viewed(x, lambda view: views.diagonal(view, first, second))

    def tile(self, x: str, axis: int, repeats: int) -> str:
        return self._viewed(x, lambda view: views.tile_axis(view, axis, repeats))

    def repeat(self, x: str, axis: int, times: int) -> str:
        return self._viewed(x, lambda view: views.repeat_axis(view, axis, times))

    def windows(self, x: str, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> str:
        return self._viewed(x, lambda view: views.windows(view, tuple(kernel), tuple(strides), tuple(dilations)))

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
