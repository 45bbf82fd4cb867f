"""The compiler's graph: typed tensors, nodes in topological order, and the core operators that the mapping half understands.

A graph starts as *imported* (nodes carry ONNX operator names and :class:`Operator` attributes) and ends as *core* (only the
operators of :class:`Core`). Shapes are static. Nothing here knows the hardware, and no HDL is imported.

Core operators (``a`` of shape [..., M, K] and so on; all shapes row-major):

MATMUL(a[..., M, K], b[..., K, N][, bias[N]]) -> [..., M, N]
    Batch dimensions broadcast as numpy's. Sums in FP32, one product after the other in order of k, starting from the bias.
    b may be an INT8 constant [K, N]: then a last input has the FP32 scales [N], and a weight is fp32(scale * b).
MAP(x0, x1, ...) -> y                           :class:`Map`
    Inputs broadcast to y's shape as numpy's. Per element, a list of scalar steps; the last step's value is y.
REDUCE(x[..., N]) -> [..., 1]                   :class:`Reduce`
    Sum, maximum, minimum, or the INT32 index of the first maximum, over the last axis.
VIEW(x) -> y                                    :class:`View`
    y[i0, i1, ...] = flat(x)[offset + i0 * stride + i1 * stride + ...]: an access pattern; no data moves. x is not a VIEW itself.
    A graph's output is a VIEW only as another shape of a whole tensor that a node made (the same bytes).
COPY(x0, x1, ...) -> y                          :class:`Copy`
    Writes each input to its places in y; places that no input covers are 0.
GATHER(table[N, ...], indices INT32[...]) -> [..., ...]
    Rows of the table: y[i] = table[indices[i]]. Indices are in range.
UPDATE(target[N, ...], values[M, ...], indices INT32[M]) -> [N, ...]
    target with row indices[i] replaced by values[i], one after the other; in place where target is not used afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from math import prod

import ml_dtypes
import numpy as np

__all__ = [
    "Argument",
    "Copy",
    "Core",
    "DType",
    "Function",
    "Gather",
    "Graph",
    "GraphError",
    "Map",
    "Matmul",
    "Node",
    "Operator",
    "Place",
    "Quantised",
    "Reduce",
    "Reduction",
    "Step",
    "Tensor",
    "Update",
    "View",
    "row_major",
]


class GraphError(ValueError):
    """A graph whose shapes, types or order contradict each other, or that asks for something the compiler does not have."""


class DType(Enum):
    """Element types. Values are numpy arrays of :attr:`numpy`; a BF16 array's bit patterns are ``value.view(np.uint16)``."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT32 = "int32"        # also truth values, 0 and 1
    INT8 = "int8"          # in memory only: a MAP reads it as an INT32, a MATMUL as weights without their scales
    INT64 = "int64"        # in imported graphs only, as is BOOL: lowering makes them INT32
    BOOL = "bool"

    @property
    def numpy(self) -> np.dtype:
        return np.dtype({DType.FP32: np.float32, DType.BF16: ml_dtypes.bfloat16, DType.INT32: np.int32, DType.INT8: np.int8,
                         DType.INT64: np.int64, DType.BOOL: np.bool_}[self])

    @property
    def is_core(self) -> bool:
        """Whether core graphs, and the hardware, have it."""
        return self not in (DType.INT64, DType.BOOL)

    @property
    def bytes(self) -> int:
        return self.numpy.itemsize

    @property
    def is_float(self) -> bool:
        return self in (DType.FP32, DType.BF16)

    @classmethod
    def of(cls, array: np.ndarray) -> DType:
        """The type of an array; :class:`GraphError` for arrays of other types."""
        for kind in cls:
            if array.dtype == kind.numpy:
                return kind
        raise GraphError(f"element type {array.dtype} is not there; there are {[kind.value for kind in cls]}")


@dataclass(frozen=True)
class Quantised:
    """What a constant is the product of: INT8 numbers and FP32 scales, both of its shape."""

    whole: np.ndarray
    scale: np.ndarray

    def at(self, indices: np.ndarray) -> Quantised:
        """Those of the elements ``indices`` of the flattened constant."""
        return Quantised(self.whole.reshape(-1)[indices], self.scale.reshape(-1)[indices])


@dataclass(frozen=True)
class Tensor:
    """A named value. ``shape`` is None only between import and shape inference; ``value`` is set for constants, ``quantised`` for those
    that are INT8 times scales."""

    name: str
    shape: tuple[int, ...] | None
    dtype: DType | None
    value: np.ndarray | None = field(default=None, repr=False, compare=False)
    quantised: Quantised | None = field(default=None, repr=False, compare=False)

    @property
    def is_constant(self) -> bool:
        return self.value is not None

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * self.dtype.bytes

    def __str__(self) -> str:
        kind = self.dtype.value if self.dtype else "?"
        return f"{self.name}: {kind}{list(self.shape) if self.shape is not None else '[?]'}"


class Core(Enum):
    """The operators that are left after lowering; see the module's text."""

    MATMUL = "MATMUL"
    MAP = "MAP"
    REDUCE = "REDUCE"
    VIEW = "VIEW"
    COPY = "COPY"
    GATHER = "GATHER"
    UPDATE = "UPDATE"


class Function(Enum):
    """What one step of a MAP computes. Names and meanings are those of hw.pcu.layout.Op and hw.fp.function.TailFunction."""

    # FP32 arithmetic, each rounded once; FMAC(a, b, c) = a * b + c with two roundings.
    FADD, FSUB, FMUL, FMAC, FMIN, FMAX = "fadd", "fsub", "fmul", "fmac", "fmin", "fmax"
    FEQ, FLT, FLE = "feq", "flt", "fle"                    # to INT32 1 or 0
    # INT32
    ADD, SUB, MUL, MIN, MAX = "add", "sub", "mul", "min", "max"
    AND, OR, XOR, SHL, SHR, SAR = "and", "or", "xor", "shl", "shr", "sar"
    EQ, LT, LE = "eq", "lt", "le"
    # Either: SELECT(a, b, c) = a if c != 0 else b
    SELECT = "select"
    TO_INT, TO_FP, TO_BF16 = "to_int", "to_fp", "to_bf16"  # toward zero; nearest even; FP32 rounded to BF16
    # Tail functions
    RELU, EXP, LOG, RECIPROCAL, RSQRT, SQRT = "relu", "exp", "log", "reciprocal", "rsqrt", "sqrt"
    TANH, SIGMOID, GELU, SILU, SIN, COS = "tanh", "sigmoid", "gelu", "silu", "sin", "cos"

    @property
    def arity(self) -> int:
        if self in (Function.FMAC, Function.SELECT):
            return 3
        return 1 if self in CONVERSIONS or self in TAIL else 2

    @property
    def is_tail(self) -> bool:
        return self in TAIL


CONVERSIONS = frozenset({Function.TO_INT, Function.TO_FP, Function.TO_BF16})
TAIL = frozenset({Function.RELU, Function.EXP, Function.LOG, Function.RECIPROCAL, Function.RSQRT, Function.SQRT, Function.TANH,
                  Function.SIGMOID, Function.GELU, Function.SILU, Function.SIN, Function.COS})
INTEGER_RESULT = frozenset({Function.FEQ, Function.FLT, Function.FLE, Function.ADD, Function.SUB, Function.MUL, Function.MIN,
                            Function.MAX, Function.AND, Function.OR, Function.XOR, Function.SHL, Function.SHR, Function.SAR,
                            Function.EQ, Function.LT, Function.LE, Function.TO_INT})


@dataclass(frozen=True)
class Argument:
    """An operand of a step: ("input", i), ("step", i), ("constant", float or int), or ("index", axis of the output) as INT32."""

    kind: str
    value: float | int

    def __str__(self) -> str:
        return {"input": f"x{self.value}", "step": f"%{self.value}", "constant": repr(self.value),
                "index": f"index({self.value})"}[self.kind]


@dataclass(frozen=True)
class Step:
    """One scalar operation of a MAP."""

    function: Function
    arguments: tuple[Argument, ...]

    def __str__(self) -> str:
        return f"{self.function.value}({', '.join(map(str, self.arguments))})"


@dataclass(frozen=True)
class Matmul:
    """MATMUL has no attributes."""


@dataclass(frozen=True)
class Map:
    """Steps in order; a step refers to earlier ones only. BF16 inputs are widened to FP32, INT8 to INT32; a BF16 output is the
    last step rounded to nearest even."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "; ".join(f"%{number} = {step}" for number, step in enumerate(self.steps))


class Reduction(Enum):
    SUM, MAX, MIN, ARGMAX = "sum", "max", "min", "argmax"


@dataclass(frozen=True)
class Reduce:
    kind: Reduction

    def __str__(self) -> str:
        return self.kind.value


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


@dataclass(frozen=True)
class Place:
    """Where an input's element [i0, i1, ...] goes in the row-major output: offset + i0 * strides[0] + ..."""

    strides: tuple[int, ...]
    offset: int = 0


@dataclass(frozen=True)
class Copy:
    """One :class:`Place` per input; no two inputs write the same element."""

    places: tuple[Place, ...]

    def __str__(self) -> str:
        return "; ".join(f"x{number} -> strides={list(place.strides)} offset={place.offset}"
                         for number, place in enumerate(self.places))


@dataclass(frozen=True)
class Gather:
    """GATHER has no attributes."""


@dataclass(frozen=True)
class Update:
    """UPDATE has no attributes."""


@dataclass(frozen=True)
class Operator:
    """Attributes of an imported operator, as ONNX names them."""

    values: Mapping[str, object]

    def __str__(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.values.items())


@dataclass(frozen=True)
class Node:
    """One operation. ``op`` is a :class:`Core` or an ONNX operator's name; an empty input name is an optional input left out.

    ``group`` names the composite that a core node was part of ("softmax#3"), ``origin`` the imported node it came from.
    """

    op: Core | str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Matmul | Map | Reduce | View | Copy | Gather | Update | Operator
    name: str
    group: str = ""
    origin: str = ""

    @property
    def output(self) -> str:
        """The output of a node that has one."""
        return self.outputs[0]

    def __str__(self) -> str:
        op = self.op.value if isinstance(self.op, Core) else self.op
        tags = "".join(f"  {mark}{tag}" for mark, tag in (("@", self.group), ("<- ", self.origin)) if tag)
        detail = str(self.attributes) if not isinstance(self.attributes, Matmul | Gather | Update) else ""
        return f"{', '.join(self.outputs)} = {op}({', '.join(self.inputs)}){'  ' + detail if detail else ''}{tags}"


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order over named tensors. Passes return new graphs; none is changed in place."""

    name: str
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    @property
    def constants(self) -> Iterator[Tensor]:
        return (tensor for tensor in self.tensors.values() if tensor.is_constant)

    def producers(self) -> dict[str, Node]:
        """Tensor name -> node that makes it."""
        return {output: node for node in self.nodes for output in node.outputs}

    def users(self) -> dict[str, list[Node]]:
        """Tensor name -> nodes that read it, each once."""
        found: dict[str, list[Node]] = {name: [] for name in self.tensors}
        for node in self.nodes:
            for name in dict.fromkeys(name for name in node.inputs if name):
                found[name].append(node)
        return found

    def with_nodes(self, nodes, tensors: Mapping[str, Tensor] | None = None, outputs: tuple[str, ...] | None = None) -> Graph:
        """This graph with other nodes; tensors that nothing names any more are dropped."""
        nodes, tensors = tuple(nodes), self.tensors if tensors is None else tensors
        outputs = self.outputs if outputs is None else outputs
        named = {*self.inputs, *outputs, *(name for node in nodes for name in (*node.inputs, *node.outputs))} - {""}
        return replace(self, nodes=nodes, outputs=outputs, tensors={name: tensors[name] for name in tensors if name in named})

    def check(self) -> Graph:
        """This graph, if its order, names, shapes and types are consistent; else :class:`GraphError` naming the node."""
        from .check import check

        check(self)
        return self

    def dump(self) -> str:
        """The graph as text, one line per tensor of the interface, per constant, and per node."""
        lines = [f"graph {self.name}", *(f"input  {self[name]}" for name in self.inputs)]
        lines += [f"const  {tensor}" for tensor in self.constants]
        for node in self.nodes:
            lines.append(f"{node.name}:  {node}  : {', '.join(str(self[name]).split(': ', 1)[1] for name in node.outputs)}")
        return "\n".join([*lines, *(f"output {self[name]}" for name in self.outputs)]) + "\n"


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
