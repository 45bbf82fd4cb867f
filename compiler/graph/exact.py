"""What the hardware computes, bit for bit: a core graph in numpy with the arithmetic and the order of sums of the units.

The order of every sum is a property of the operator and of the lanes of a vector, not of how the graph was mapped: products in
order of k after the bias; reductions by a tree over the lanes of each vector, then over the vectors (hw.pcu.model).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hw.fp import model as fp
from hw.fp.tail_model import tail
from hw.pcu.layout import Op, Reduce
from hw.pcu.model import _reduce as reduce_rows
from hw.pcu.operations import evaluate

from ..frontend.int8 import is_int8
from ..mapping.expression import _OPS, constant_bits
from .ir import Core, DType, Function, Graph, GraphError, Node, Reduction
from .steps import operand

__all__ = ["from_bits", "run", "to_bits"]

F = Function
_REDUCE = {Reduction.SUM: Reduce.SUM, Reduction.MAX: Reduce.MAX, Reduction.MIN: Reduce.MIN, Reduction.ARGMAX: Reduce.ARGMAX}
CHUNK_ROWS = 1 << 14


def to_bits(value: np.ndarray, dtype: DType) -> np.ndarray:
    """An array's elements as the 32-bit words that a PCU sees."""
    value = np.asarray(value)
    if dtype is DType.BF16:
        return fp.bf16_to_fp32(value.view(np.uint16))
    if dtype is DType.FP32:
        return np.ascontiguousarray(value, dtype=np.float32).view(np.uint32).reshape(value.shape)
    return value.astype(np.int32).view(np.uint32).reshape(value.shape)


def from_bits(bits: np.ndarray, dtype: DType) -> np.ndarray:
    """The inverse of :func:`to_bits`."""
    bits = np.asarray(bits, order="C")
    if dtype is DType.BF16:
        return (bits >> np.uint32(16)).astype(np.uint16).view(dtype.numpy)
    if dtype is DType.FP32:
        return bits.view(np.float32)
    return bits.view(np.int32).astype(dtype.numpy)


def run(graph: Graph, inputs: Mapping[str, np.ndarray], lanes: int) -> dict[str, np.ndarray]:
    """Outputs by name, as the device would give them."""
    values = {tensor.name: to_bits(tensor.value, tensor.dtype) for tensor in graph.constants}
    for name in graph.inputs:
        if name not in inputs:
            raise GraphError(f"input {name!r} is missing")
        if tuple(np.shape(inputs[name])) != graph[name].shape:
            raise GraphError(f"input {name!r} is {list(np.shape(inputs[name]))}, the graph wants {graph[name]}")
        values[name] = to_bits(inputs[name], graph[name].dtype)
    for node in graph.nodes:
        values[node.output] = _node(graph, node, [values[name] for name in node.inputs], lanes)
    return {name: from_bits(values[name], graph[name].dtype) for name in graph.outputs}


def _node(graph: Graph, node: Node, inputs: Sequence[np.ndarray], lanes: int) -> np.ndarray:
    out = graph[node.output]
    match node.op:
        case Core.MATMUL:
            if is_int8(graph, node):
                a, whole, *bias, scales = inputs
                numbers = whole.view(np.int32).astype(np.float32).view(np.uint32)
                inputs = [a, fp.fp32_mul(np.broadcast_to(scales, whole.shape), numbers), *bias]
            return _rounded(_matmul(*inputs), out.dtype)
        case Core.MAP:
            result = _map(node, inputs, out.shape)
            return _rounded(np.array(np.broadcast_to(result if out.shape else result.reshape(()), out.shape)), out.dtype)
        case Core.REDUCE:
            return _rounded(_reduced(inputs[0], _REDUCE[node.attributes.kind], lanes), out.dtype)
        case Core.VIEW:
            return inputs[0].reshape(-1)[node.attributes.indices()]
        case Core.COPY:
            result = np.zeros(out.elements, dtype=np.uint32)
            for x, place in zip(inputs, node.attributes.places, strict=True):
                where = np.full(x.shape, place.offset, dtype=np.int64)
                for axis, stride in enumerate(place.strides):
                    where += (np.arange(x.shape[axis]) * stride).reshape([-1 if axis == other else 1 for other in range(x.ndim)])
                result[where.ravel()] = x.ravel()
            return result.reshape(out.shape)
        case Core.GATHER:
            return inputs[0][inputs[1].view(np.int32)]
        case Core.UPDATE:
            result = inputs[0].copy()
            for value, index in zip(inputs[1], inputs[2].view(np.int32), strict=True):
                result[index] = value
            return result
    raise GraphError(f"node {node.name!r}: {node.op} is not a core operator")


def _rounded(bits: np.ndarray, dtype: DType) -> np.ndarray:
    return fp.fp32_to_bf16(bits).astype(np.uint32) << np.uint32(16) if dtype is DType.BF16 else bits


def _matmul(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    a, b = fp.as_float(a), fp.as_float(b)
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    total = np.zeros(shape, dtype=np.float32)
    if bias is not None:
        total[:] = fp.as_float(bias)
    with np.errstate(all="ignore"):
        for k in range(a.shape[-1]):
            total += a[..., k:k + 1] * b[..., k:k + 1, :]
    return fp.canonical(total)


def _reduced(x: np.ndarray, kind: Reduce, lanes: int) -> np.ndarray:
    n = x.shape[-1]
    vectors = -(-n // lanes)
    rows = x.reshape(-1, n)
    mask = (np.arange(vectors * lanes) < n).reshape(1, vectors, lanes)
    out = []
    for start in range(0, len(rows), CHUNK_ROWS):
        part = rows[start:start + CHUNK_ROWS]
        padded = np.zeros((len(part), vectors * lanes), dtype=np.uint32)
        padded[:, :n] = part
        padded = padded.reshape(len(part), vectors, lanes)
        out.append(reduce_rows(kind, padded, np.broadcast_to(mask, padded.shape)))
    return np.concatenate(out).astype(np.uint32).reshape(*x.shape[:-1], 1)


def _map(node: Node, inputs: Sequence[np.ndarray], shape: Sequence[int]) -> np.ndarray:
    results: list[np.ndarray] = []

    def constant(value: float | int) -> np.ndarray:
        return np.asarray(constant_bits(value), dtype=np.uint32)

    zero = np.zeros((), dtype=np.uint32)
    for step in node.attributes.steps:
        a = np.broadcast_arrays(*(operand(argument, inputs, results, shape, np.uint32, constant) for argument in step.arguments))
        match step.function:
            case F.FADD:
                value = fp.fp32_add(*a)
            case F.FSUB:
                value = fp.fp32_sub(*a)
            case F.FMUL:
                value = fp.fp32_mul(*a)
            case F.FMAC:
                value = fp.mac(a[2], a[0], a[1])
            case function if function.is_tail:
                value = tail(function.name, np.ascontiguousarray(a[0]))
            case function:
                b, c = (a[1] if len(a) > 1 else zero), (a[2] if len(a) > 2 else zero)
                op: Op = _OPS[function]
                value = evaluate(op, np.ascontiguousarray(a[0]), np.ascontiguousarray(b), np.ascontiguousarray(c))
        results.append(np.asarray(value, dtype=np.uint32))
    return results[-1]
