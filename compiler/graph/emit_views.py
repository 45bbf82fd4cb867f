"""Names, constants, and access patterns of a core graph under way.

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
    Graph,
    GraphError,
    Node,
    Place,
    Quantised,
    Tensor,
    View,
    row_major,
)

__all__ = ["ViewEmitter"]


class ViewEmitter:
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
