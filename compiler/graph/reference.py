"""What a core graph means: an interpreter in float64, without any rounding between operators.

Only constants and inputs carry the rounding of their element types. A tail function is the exact function here; the order of a
sum does not matter. The bit-exact model of a mapped graph is another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import erf

import numpy as np

from ..frontend.int8 import is_int8
from .ir import Core, DType, Function, Graph, GraphError, Map, Node, Reduction
from .steps import operand

__all__ = ["evaluate", "run"]

F = Function
_erf = np.vectorize(erf, otypes=[np.float64])


def run(graph: Graph, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs by name, float64 or int32. Inputs are checked against the graph's."""
    values: dict[str, np.ndarray] = {tensor.name: _widen(tensor.value) for tensor in graph.constants}
    for name in graph.inputs:
        if name not in inputs:
            raise GraphError(f"input {name!r} is missing")
        if inputs[name].shape != graph[name].shape:
            raise GraphError(f"input {name!r} is {list(inputs[name].shape)}, the graph wants {graph[name]}")
        values[name] = _widen(inputs[name])
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            values[node.output] = evaluate(graph, node, [values[name] for name in node.inputs])
    return {name: values[name] for name in graph.outputs}


def _widen(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float64 if value.dtype.kind in "fV" or value.dtype == DType.BF16.numpy else np.int32)


def evaluate(graph: Graph, node: Node, inputs: list[np.ndarray]) -> np.ndarray:
    """The output of one core node."""
    shape, attributes = graph[node.output].shape, node.attributes
    match node.op:
        case Core.MATMUL:
            a, b, *bias = inputs
            b = b * bias.pop() if is_int8(graph, node) else b
            return np.matmul(a, b) + (bias[0] if bias else 0.0)
        case Core.MAP:
            return np.array(np.broadcast_to(_map(attributes, inputs, shape), shape))
        case Core.REDUCE:
            return _reduce(attributes.kind, inputs[0])
        case Core.VIEW:
            return inputs[0].reshape(-1)[attributes.indices()]
        case Core.COPY:
            result = np.zeros(shape, dtype=inputs[0].dtype)
            for x, place in zip(inputs, attributes.places, strict=True):
                steps = [stride * result.itemsize for stride in place.strides]
                np.lib.stride_tricks.as_strided(result.reshape(-1)[place.offset:], x.shape, steps)[...] = x
            return result
        case Core.GATHER:
            return inputs[0][inputs[1]]
        case Core.UPDATE:
            result = inputs[0].copy()
            for value, index in zip(inputs[1], inputs[2], strict=True):
                result[index] = value
            return result
        case _:
            raise GraphError(f"node {node.name!r}: {node.op} is not a core operator")


def _reduce(kind: Reduction, x: np.ndarray) -> np.ndarray:
    match kind:
        case Reduction.SUM:
            return x.sum(axis=-1, keepdims=True)
        case Reduction.MAX:
            return x.max(axis=-1, keepdims=True)
        case Reduction.MIN:
            return x.min(axis=-1, keepdims=True)
        case Reduction.ARGMAX:
            return x.argmax(axis=-1, keepdims=True).astype(np.int32)


def _map(attributes: Map, inputs: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    results: list[np.ndarray] = []

    def constant(value: float | int) -> np.ndarray:
        return np.asarray(value, dtype=np.int32 if isinstance(value, int) else np.float64)

    for step in attributes.steps:
        results.append(SCALAR[step.function](*(operand(argument, inputs, results, shape, np.int32, constant)
                                               for argument in step.arguments)))
    return results[-1]


def _integer(function):
    """``function`` on INT32, wrapping."""
    return lambda *operands: np.asarray(function(*(np.asarray(x).astype(np.int64) for x in operands))).astype(np.int32)


def _to_int(x: np.ndarray) -> np.ndarray:
    return np.clip(np.trunc(np.nan_to_num(x, nan=0.0, posinf=2.0**31, neginf=-2.0**31)), -2**31, 2**31 - 1).astype(np.int32)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


SCALAR = {
    F.FADD: np.add, F.FSUB: np.subtract, F.FMUL: np.multiply, F.FMAC: lambda a, b, c: a * b + c, F.FMIN: np.minimum,
    F.FMAX: np.maximum, F.FEQ: _integer(np.equal), F.FLT: _integer(np.less), F.FLE: _integer(np.less_equal),
    F.ADD: _integer(np.add), F.SUB: _integer(np.subtract), F.MUL: _integer(np.multiply), F.MIN: np.minimum, F.MAX: np.maximum,
    F.AND: np.bitwise_and, F.OR: np.bitwise_or, F.XOR: np.bitwise_xor, F.SHL: _integer(lambda a, b: a << (b & 31)),
    F.SHR: _integer(lambda a, b: (a & 0xFFFFFFFF) >> (b & 31)), F.SAR: _integer(lambda a, b: a >> (b & 31)),
    F.EQ: _integer(np.equal), F.LT: _integer(np.less), F.LE: _integer(np.less_equal),
    F.SELECT: lambda a, b, c: np.where(c != 0, a, b), F.TO_INT: _to_int, F.TO_FP: lambda x: x.astype(np.float64),
    F.TO_BF16: lambda x: x.astype(np.float64), F.RELU: lambda x: np.maximum(x, 0.0), F.EXP: np.exp, F.LOG: np.log,
    F.RECIPROCAL: lambda x: 1.0 / x, F.RSQRT: lambda x: 1.0 / np.sqrt(x), F.SQRT: np.sqrt, F.TANH: np.tanh, F.SIGMOID: _sigmoid,
    F.GELU: lambda x: 0.5 * x * (1.0 + _erf(x / np.sqrt(2.0))), F.SILU: lambda x: x * _sigmoid(x), F.SIN: np.sin, F.COS: np.cos,
}
for _function in (F.FEQ, F.FLT, F.FLE):      # of floats: no detour through integers
    SCALAR[_function] = (lambda compare: lambda a, b: compare(a, b).astype(np.int32))(
        {F.FEQ: np.equal, F.FLT: np.less, F.FLE: np.less_equal}[_function])
