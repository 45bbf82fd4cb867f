"""The table of operators that can be lowered, and what a lowering sees of the node that it lowers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..graph.emit import Emitter
from ..graph.ir import DType, Graph, GraphError, Node, Tensor

__all__ = ["EIGHT_BITS", "FOLDED", "LOWERINGS", "Call", "core_dtype", "core_value", "lowers", "missing", "supported"]

LOWERINGS: dict[str, Callable[[Emitter, Call], str | list[str]]] = {}

EIGHT_BITS = {DType.INT8: (-128, 127), DType.UINT8: (0, 255)}       # held as INT32; their bounds

# Only of constants, or of shapes: constant folding has removed them before lowering, as any other operator of constants alone.
FOLDED = frozenset({"Constant", "ConstantOfShape", "EyeLike", "NonZero", "Range", "Shape", "Size"})


def lowers(*names: str):
    """Registers a lowering: a function of the emitter and the :class:`Call` that gives the output, or all outputs."""
    def register(function):
        for name in names:
            LOWERINGS[name] = function
        return function
    return register


def supported() -> list[str]:
    """Names of all operators that are there."""
    from . import lower  # noqa: F401  fills the table
    return sorted({*LOWERINGS, *FOLDED})


def missing(op: str, node: str) -> GraphError:
    """The error for an operator that is not there."""
    return GraphError(f"operator {op} of node {node!r} is not there; there are {', '.join(supported())}")


@dataclass(frozen=True)
class Call:
    """One imported node, its inputs as core tensors."""

    graph: Graph
    node: Node
    emitter: Emitter
    names: dict[str, str]           # imported tensor -> core tensor

    def __len__(self) -> int:
        return len(self.node.inputs)

    def has(self, number: int) -> bool:
        """Whether input ``number`` is given."""
        return number < len(self.node.inputs) and bool(self.node.inputs[number])

    def tensor(self, number: int) -> Tensor:
        """The imported input."""
        return self.graph[self.node.inputs[number]]

    def __getitem__(self, number: int) -> str:
        """Input ``number`` as a core tensor."""
        if not self.has(number):
            raise self.error(f"input {number} is missing")
        name = self.node.inputs[number]
        if name not in self.names:
            self.names[name] = self.emitter.constant(core_value(self.graph[name]), name, self.graph[name].quantised)
        return self.names[name]

    @property
    def all(self) -> list[str]:
        return [self[number] for number in range(len(self))]

    def shape(self, number: int) -> tuple[int, ...]:
        return self.tensor(number).shape

    def constant(self, number: int, default=None) -> np.ndarray:
        """The value of an input that must be known at compile time."""
        if not self.has(number):
            return default
        value = self.tensor(number).value
        if value is None:
            raise self.error(f"input {number} ({self.node.inputs[number]!r}) must be a constant")
        return value

    def integers(self, number: int, default=None) -> list[int] | None:
        """The same as a list of int."""
        value = self.constant(number)
        return default if value is None else [int(each) for each in np.atleast_1d(value)]

    def get(self, name: str, default=None):
        """An attribute."""
        return self.node.attributes.values.get(name, default)

    def axis(self, default: int, rank: int | None = None) -> int:
        """Attribute ``axis``, not negative."""
        return self.get("axis", default) % (len(self.shape(0)) if rank is None else rank)

    def output(self, number: int = 0) -> Tensor:
        """The imported output with its inferred shape and type."""
        return self.graph[self.node.outputs[number]]

    def output_dtype(self, number: int = 0) -> DType:
        """Its type in a core graph."""
        return core_dtype(self.output(number).dtype)

    def error(self, text: str) -> GraphError:
        return GraphError(f"operator {self.node.op} of node {self.node.name!r}: {text}")


def core_dtype(kind: DType) -> DType:
    """INT32 for everything that is no float."""
    return kind if kind.is_float else DType.INT32


def core_value(tensor: Tensor) -> np.ndarray:
    """A constant in a type of :func:`core_dtype`."""
    value = tensor.value
    if tensor.dtype is DType.INT64 and value.size and (value.min() < -2**31 or value.max() >= 2**31):
        raise GraphError(f"constant {tensor.name!r} holds {value.min()} to {value.max()}, which INT32 does not")
    return value if tensor.dtype.is_float else value.astype(np.int32)
