"""Core graphs for tests: a small builder, some models, and random graphs."""

from __future__ import annotations

import itertools
import random

import numpy as np

from compiler.graph.ir import (
    Argument,
    Copy,
    Core,
    DType,
    Function,
    Gather,
    Graph,
    Map,
    Matmul,
    Node,
    Place,
    Reduce,
    Reduction,
    Step,
    Tensor,
    Update,
    View,
    row_major,
)

__all__ = ["INDEX", "Builder", "S", "X", "check_run", "inputs_of", "perceptron", "random_graph", "same_bits", "softmax"]


def X(number: int) -> tuple[str, int]:
    return "input", number


def S(number: int) -> tuple[str, int]:
    return "step", number


def INDEX(axis: int) -> tuple[str, int]:
    return "index", axis


class Builder:
    """Collects nodes; every method returns the name of the tensor it makes."""

    def __init__(self, name: str):
        self.name, self.nodes, self.tensors, self.inputs = name, [], {}, []

    def input(self, name: str, shape, dtype: DType = DType.FP32) -> str:
        self.tensors[name] = Tensor(name, tuple(shape), dtype)
        self.inputs.append(name)
        return name

    def constant(self, value: np.ndarray) -> str:
        name = f"c{len(self.tensors)}"
        self.tensors[name] = Tensor(name, value.shape, DType.of(value), value)
        return name

    def node(self, op: Core, inputs, shape, dtype: DType, attributes) -> str:
        name = f"t{len(self.nodes)}"
        self.tensors[name] = Tensor(name, tuple(shape), dtype)
        self.nodes.append(Node(op, tuple(inputs), (name,), attributes, f"{op.value.lower()}{len(self.nodes)}"))
        return name

    def matmul(self, a: str, b: str, bias: str | None = None, dtype: DType | None = None) -> str:
        left, right = self.tensors[a], self.tensors[b]
        shape = (*np.broadcast_shapes(left.shape[:-2], right.shape[:-2]), left.shape[-2], right.shape[-1])
        return self.node(Core.MATMUL, [a, b] + ([bias] if bias else []), shape, dtype or left.dtype, Matmul())

    def map(self, inputs, steps, dtype: DType = DType.FP32) -> str:
        made = [Step(Function[name], tuple(Argument(*a) if isinstance(a, tuple) else Argument("constant", a) for a in operands))
                for name, *operands in steps]
        shape = np.broadcast_shapes(*(self.tensors[name].shape for name in inputs))
        return self.node(Core.MAP, inputs, shape, dtype, Map(tuple(made)))

    def reduce(self, x: str, kind: str) -> str:
        tensor = self.tensors[x]
        dtype = DType.INT32 if kind == "ARGMAX" else tensor.dtype
        return self.node(Core.REDUCE, [x], (*tensor.shape[:-1], 1), dtype, Reduce(Reduction[kind]))

    def is_view(self, x: str) -> bool:
        return any(node.op is Core.VIEW and node.outputs == (x,) for node in self.nodes)

    def view(self, x: str, shape, strides, offset: int = 0) -> str:
        return self.node(Core.VIEW, [x], shape, self.tensors[x].dtype, View.of(tuple(shape), tuple(strides), offset))

    def transpose(self, x: str, order) -> str:
        shape = self.tensors[x].shape
        return self.view(x, [shape[axis] for axis in order], [row_major(shape)[axis] for axis in order])

    def reshape(self, x: str, shape) -> str:
        return self.view(x, shape, row_major(tuple(shape)))

    def copy(self, inputs, shape, places) -> str:
        return self.node(Core.COPY, inputs, shape, self.tensors[inputs[0]].dtype, Copy(tuple(places)))

    def gather(self, table: str, indices: str) -> str:
        shape = (*self.tensors[indices].shape, *self.tensors[table].shape[1:])
        return self.node(Core.GATHER, [table, indices], shape, self.tensors[table].dtype, Gather())

    def update(self, target: str, values: str, indices: str) -> str:
        tensor = self.tensors[target]
        return self.node(Core.UPDATE, [target, values, indices], tensor.shape, tensor.dtype, Update())

    def graph(self, *outputs: str) -> Graph:
        return Graph(self.name, tuple(self.nodes), self.tensors, tuple(self.inputs), tuple(outputs)).check()


def softmax(b: Builder, x: str) -> str:
    largest = b.reduce(x, "MAX")
    e = b.map([x, largest], [("FSUB", X(0), X(1)), ("EXP", S(0))])
    total = b.map([b.reduce(e, "SUM")], [("RECIPROCAL", X(0))])
    return b.map([e, total], [("FMUL", X(0), X(1))])


def perceptron(rows: int, sizes, dtype: DType = DType.FP32, seed: int = 0) -> Graph:
    """Layers with ReLU, then softmax and argmax."""
    random_ = np.random.default_rng(seed)
    b = Builder(f"perceptron {rows} x {sizes}")
    x = b.input("x", (rows, sizes[0]), dtype)
    for number, (k, n) in enumerate(itertools.pairwise(sizes)):
        w, bias = (b.constant((random_.normal(size=shape) / k ** 0.5).astype(dtype.numpy)) for shape in ((k, n), (n,)))
        last = number == len(sizes) - 2
        x = b.matmul(x, w, bias, DType.FP32 if last else None)
        if not last:
            x = b.map([x], [("RELU", X(0))], dtype)
    return b.graph(softmax(b, x), b.reduce(x, "ARGMAX"), x)


def inputs_of(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    random_ = np.random.default_rng(seed)
    values = {}
    for name in graph.inputs:
        tensor = graph[name]
        if tensor.dtype.is_float:
            values[name] = random_.normal(size=tensor.shape).astype(tensor.dtype.numpy)
        else:
            values[name] = random_.integers(-100, 100, tensor.shape).astype(tensor.dtype.numpy)
    return values


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    def bits(x):
        return np.ascontiguousarray(x).view({4: np.uint32, 2: np.uint16, 1: np.uint8}[x.dtype.itemsize])
    return a.shape == b.shape and bool((bits(a) == bits(b)).all())


def check_run(device, graph: Graph, program, seed: int = 0):
    """Runs ``program``, compiled from ``graph``, on random inputs: every output has the bits of its reference. Returns the statistics."""
    inputs = inputs_of(graph, seed)
    expected = program.reference(inputs)
    outputs, statistics = program.run(device, inputs, max_cycles=100_000)
    program.release(device)
    for name in graph.outputs:
        assert same_bits(outputs[name], expected[name]), f"{graph.dump()}\noutput {name} differs"
    return statistics


SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 24)
FLOATS = (DType.FP32, DType.BF16)


def random_graph(seed: int) -> Graph:
    """One to five random operators on random shapes: odd sizes, broadcasts, views of views."""
    r, numbers = random.Random(seed), np.random.default_rng(seed)
    b = Builder(f"random {seed}")
    live = [b.input(f"x{i}", [r.choice(SIZES) for _ in range(r.randint(1, 4))], r.choice(FLOATS)) for i in range(2)]
    for _ in range(r.randint(1, 5)):
        made = r.choice(RULES)(b, r, numbers, r.choice(live))
        if made:
            live.append(made)
    outputs = dict.fromkeys([live[-1], r.choice(live)])
    return b.graph(*(b.copy([x], b.tensors[x].shape, [Place(row_major(b.tensors[x].shape))]) if b.is_view(x) else x for x in outputs))


def _map(b, r, numbers, x):
    if not b.tensors[x].dtype.is_float:
        return None
    steps = [("FMUL", X(0), 1.5), ("FADD", S(0), r.choice([-0.25, 1.0, 0.0])),
             (r.choice(["RELU", "EXP", "TANH", "SIGMOID", "GELU"]), S(1)), ("FSUB", S(2), X(0)), ("FMAX", S(3), S(0))]
    return b.map([x], steps[:r.randint(1, 5)], r.choice(FLOATS))


def _reduce(b, r, numbers, x):
    return b.reduce(x, r.choice(["SUM", "MAX", "MIN", "ARGMAX"])) if b.tensors[x].dtype.is_float else None


def _view(b, r, numbers, x):
    tensor = b.tensors[x]
    if b.is_view(x):
        return None
    kind = r.choice(["order", "shape", "part"])
    if kind == "order":
        order = list(range(len(tensor.shape)))
        r.shuffle(order)
        return b.transpose(x, order)
    if kind == "shape":
        first = r.choice([d for d in range(1, tensor.elements + 1) if tensor.elements % d == 0])
        return b.reshape(x, (first, tensor.elements // first))
    low = [r.randrange(size) for size in tensor.shape]
    high = [r.randint(first + 1, size) for first, size in zip(low, tensor.shape, strict=True)]
    strides = row_major(tensor.shape)
    return b.view(x, [h - f for h, f in zip(high, low, strict=True)], strides,
                  sum(f * s for f, s in zip(low, strides, strict=True)))


def _matmul(b, r, numbers, x):
    tensor = b.tensors[x]
    if not tensor.dtype.is_float or len(tensor.shape) < 2:
        return None
    n = r.choice([1, 3, 8, 10, 17, 40, 65])
    w = b.constant(numbers.normal(size=(tensor.shape[-1], n)).astype(r.choice(FLOATS).numpy))
    bias = b.constant(numbers.normal(size=(n,)).astype(r.choice(FLOATS).numpy)) if r.random() < .5 else None
    return b.matmul(x, w, bias, r.choice(FLOATS))


def _copy(b, r, numbers, x):
    shape, first = b.tensors[x].shape, r.randint(0, 3)
    padded = (*shape[:-1], shape[-1] + first + 1)
    return b.copy([x], padded, [Place(row_major(padded), first)])


def _centred(b, r, numbers, x):
    if not b.tensors[x].dtype.is_float or len(b.tensors[x].shape) < 2:
        return None
    return b.map([x, b.reduce(x, "MAX")], [("FSUB", X(0), X(1))], r.choice(FLOATS))


def _gather(b, r, numbers, x):
    return b.gather(x, b.constant(numbers.integers(0, b.tensors[x].shape[0], (r.randint(1, 6),)).astype(np.int32)))


def _update(b, r, numbers, x):
    tensor = b.tensors[x]
    rows = numbers.permutation(tensor.shape[0])[:r.randint(1, tensor.shape[0])].astype(np.int32)
    values = (9 * numbers.normal(size=(len(rows), *tensor.shape[1:]))).astype(tensor.dtype.numpy)
    return b.update(x, b.constant(values), b.constant(rows))


def _index(b, r, numbers, x):
    if not b.tensors[x].dtype.is_float:
        return None
    axis = r.randrange(len(b.tensors[x].shape))
    return b.map([x], [("TO_FP", INDEX(axis)), ("FADD", X(0), S(0))])


def _causal(b, r, numbers, x):
    rank = len(b.tensors[x].shape)
    if not b.tensors[x].dtype.is_float or rank < 2:
        return None
    return b.map([x], [("LE", INDEX(rank - 1), INDEX(rank - 2)), ("SELECT", X(0), float("-inf"), S(0))], r.choice(FLOATS))


RULES = (_map, _map, _reduce, _view, _matmul, _copy, _centred, _gather, _update, _index, _causal)
