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
from dataclasses import dataclass, replace
from enum import Enum

from .tensor import DType, GraphError, Quantised, Tensor
from .view import View, row_major

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
