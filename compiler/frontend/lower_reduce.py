"""Reductions, softmax, norms, and what is made of them."""

from __future__ import annotations

from math import prod

import numpy as np

from ..graph.emit import Emitter
from ..graph.ir import Function, Reduction
from . import lower_integer
from .operators import Call, lowers

__all__ = ["softmax"]

F = Function
MOST_TOP = 16
SUMS = ("ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL2", "ReduceL1")


@lowers("ReduceLogSumExp", "ReduceLogSum")
def _reduce_log(e: Emitter, call: Call) -> str:
    axes = call.get("axes") if call.get("axes") is not None else call.integers(1)
    axes, x, keep = axes or range(len(call.shape(0))), call[0], bool(call.get("keepdims", 1))
    if call.node.op == "ReduceLogSum":
        return e.map(lambda total: total.apply(F.LOG), e.reduce(Reduction.SUM, x, axes, keep), dtype=call.output_dtype())
    top = e.map(lambda top: (top * 0.0).equals(0.0).select(top, 0.0), e.reduce(Reduction.MAX, x, axes))     # infinities are no shift
    total = e.reduce(Reduction.SUM, e.map(lambda value, top: (value - top).apply(F.EXP), x, top), axes)
    return e.reshape(e.map(lambda total, top: total.apply(F.LOG) + top, total, top, dtype=call.output_dtype()), call.output().shape)


@lowers(*SUMS, "ReduceMax", "ReduceMin")
def _reduce(e: Emitter, call: Call) -> str:
    axes = call.get("axes") if call.get("axes") is not None else call.integers(1)
    if not axes:
        if call.get("noop_with_empty_axes", 0):
            return call[0]
        axes = range(len(call.shape(0)))
    op, x, keep, dtype = call.node.op, call[0], bool(call.get("keepdims", 1)), call.output_dtype()
    if not e.dtype(x).is_float:
        return lower_integer.reduce(e, call, x, [axis % len(call.shape(0)) for axis in axes], keep)
    if op in ("ReduceSumSquare", "ReduceL2"):
        x = e.map(lambda value: value * value, x)
    if op == "ReduceL1":
        x = e.map(lambda value: value.maximum(value * -1.0), x)
    kind = Reduction.SUM if op in SUMS else Reduction.MAX if op == "ReduceMax" else Reduction.MIN
    result = e.reduce(kind, x, axes, keep)
    if op == "ReduceMean":
        factor = _inverse(prod(call.shape(0)[axis] for axis in axes))
        return e.map(lambda value: value * factor, result, dtype=dtype)
    return e.map(lambda value: value.apply(F.SQRT), result) if op == "ReduceL2" else result


def _inverse(count: int) -> float:
    """1 / count as the FP32 that the device multiplies with."""
    return float(np.float32(1 / count))


def softmax(e: Emitter, x: str, logarithm: bool = False) -> str:
    """Over the last axis: maximum, exponentials, their sum, its reciprocal, product."""
    dtype = e.dtype(x)
    with e.composite("softmax"):
        largest = e.reduce(Reduction.MAX, x, [-1])
        if logarithm:
            shifted = e.map(lambda value, top: value - top, x, largest)
            total = e.reduce(Reduction.SUM, e.map(lambda value: value.apply(F.EXP), shifted), [-1])
            return e.map(lambda value, total: value - total.apply(F.LOG), shifted, total, dtype=dtype)
        powers = e.map(lambda value, top: (value - top).apply(F.EXP), x, largest)
        scale = e.map(lambda total: total.apply(F.RECIPROCAL), e.reduce(Reduction.SUM, powers, [-1]))
        return e.map(lambda value, scale: value * scale, powers, scale, dtype=dtype)


@lowers("Softmax", "LogSoftmax")
def _softmax(e: Emitter, call: Call) -> str:
    axis = call.axis(-1)
    result = softmax(e, e.move_last(call[0], axis), call.node.op == "LogSoftmax")
    return e.move_from_last(result, axis)


@lowers("LayerNormalization")
def _layer_norm(e: Emitter, call: Call) -> list[str]:
    if len(call.node.outputs) > 1:
        raise call.error("mean and deviation as outputs are not there")
    axis, dtype = call.axis(-1), call.output_dtype()
    epsilon, factor = call.get("epsilon", 1e-5), _inverse(prod(call.shape(0)[axis:]))
    axes = range(axis, len(call.shape(0)))
    with e.composite("layernorm"):
        mean = e.map(lambda total: total * factor, e.reduce(Reduction.SUM, call[0], axes))
        centred = e.map(lambda x, mean: x - mean, call[0], mean)
        square = e.reduce(Reduction.SUM, e.map(lambda x: x * x, centred), axes)
        scale = e.map(lambda total: (total * factor + epsilon).apply(F.RSQRT), square)
        return [_scaled(e, centred, scale, call, dtype)]


@lowers("RMSNormalization")
def _rms_norm(e: Emitter, call: Call) -> str:
    axis, dtype = call.axis(-1), call.output_dtype()
    epsilon, factor = call.get("epsilon", 1e-5), _inverse(prod(call.shape(0)[axis:]))
    with e.composite("rmsnorm"):
        square = e.reduce(Reduction.SUM, e.map(lambda x: x * x, call[0]), range(axis, len(call.shape(0))))
        scale = e.map(lambda total: (total * factor + epsilon).apply(F.RSQRT), square)
        return _scaled(e, call[0], scale, call, dtype)


@lowers("InstanceNormalization", "GroupNormalization")
def _group_norm(e: Emitter, call: Call) -> str:
    """A layer norm of each group of channels (each channel its own group), then gain and bias per channel."""
    batch, channels, *space = call.shape(0)
    groups = call.get("num_groups", channels)
    if call.shape(1) != (channels,):
        raise call.error(f"a gain of {list(call.shape(1))}; one per channel is there (opset 21)")
    rows = e.reshape(call[0], (batch, groups, channels // groups * prod(space)))
    factor, epsilon = _inverse(e.shape(rows)[-1]), call.get("epsilon", 1e-5)
    with e.composite("groupnorm"):
        mean = e.map(lambda total: total * factor, e.reduce(Reduction.SUM, rows, [-1]))
        centred = e.map(lambda x, mean: x - mean, rows, mean)
        square = e.reduce(Reduction.SUM, e.map(lambda x: x * x, centred), [-1])
        normal = e.map(lambda x, total: x * (total * factor + epsilon).apply(F.RSQRT), centred, square)
        whole, per_channel = e.reshape(normal, call.shape(0)), (channels, *(1,) * len(space))
        return e.map(lambda x, gain, bias: x.mac(gain, bias), whole, e.reshape(call[1], per_channel), e.reshape(call[2], per_channel),
                     dtype=call.output_dtype())


def _scaled(e: Emitter, x: str, scale: str, call: Call, dtype) -> str:
    if call.has(2) and call.node.op == "LayerNormalization":
        return e.map(lambda x, scale, gain, bias: (x * scale).mac(gain, bias), x, scale, call[1], call[2], dtype=dtype)
    if call.has(1):
        return e.map(lambda x, scale, gain: x * scale * gain, x, scale, call[1], dtype=dtype)
    return e.map(lambda x, scale: x * scale, x, scale, dtype=dtype)


@lowers("ArgMax", "ArgMin")
def _argmax(e: Emitter, call: Call) -> str:
    if call.get("select_last_index", 0):
        raise call.error("select_last_index=1 is not there")
    if not e.dtype(call[0]).is_float:
        return lower_integer.argmax(e, call, call.axis(0), bool(call.get("keepdims", 1)))
    x = call[0] if call.node.op == "ArgMax" else e.map(lambda value: value * -1, call[0])
    return e.reduce(Reduction.ARGMAX, x, [call.axis(0)], bool(call.get("keepdims", 1)))


@lowers("TopK")
def _top_k(e: Emitter, call: Call) -> list[str]:
    """k times the maximum, its index, and the row with that element taken out. A -inf among the results repeats indices."""
    count, axis = call.integers(1)[0], call.axis(-1)
    if count > MOST_TOP:
        raise call.error(f"k={count}; at most {MOST_TOP} are there")
    largest, dtype, values, places = call.get("largest", 1), call.output_dtype(), [], []
    with e.composite("topk"):
        rest = e.move_last(call[0], axis)
        rest = rest if largest else e.map(lambda x: x * -1.0, rest)
        last = len(e.shape(rest)) - 1
        for number in range(count):
            values.append(e.reduce(Reduction.MAX, rest, [-1]))
            places.append(e.reduce(Reduction.ARGMAX, rest, [-1]))
            if number + 1 < count:
                rest = e.map(lambda x, place: x.index(last).equals(place).select(float("-inf"), x), rest, places[-1])
        found = e.concat(values, -1)
        found = found if largest else e.map(lambda x: x * -1.0, found, dtype=dtype)
        return [e.move_from_last(found, axis), e.move_from_last(e.concat(places, -1), axis)]


@lowers("CumSum")
def _cumsum(e: Emitter, call: Call) -> str:
    """A product with a triangle of ones."""
    axis = call.integers(1)[0] % len(call.shape(0))
    size = call.shape(0)[axis]
    ones = np.triu(np.ones((size, size)), 1 if call.get("exclusive", 0) else 0)
    triangle = ones.T if call.get("reverse", 0) else ones
    moved = e.move_last(call[0], axis)
    rows = e.reshape(moved, (prod(e.shape(moved)[:-1]), size))
    sums = (e.matmul(rows, e.constant(triangle.astype(e.dtype(rows).numpy))) if e.dtype(rows).is_float
            else lower_integer.running_sum(e, call, rows, triangle))
    return e.move_from_last(e.reshape(sums, e.shape(moved)), axis)


@lowers("ReduceProd")
def _reduce_prod(e: Emitter, call: Call) -> str:
    """Halves multiplied with each other until one element is left."""
    axes = call.get("axes") if call.get("axes") is not None else call.integers(1)
    if not axes and call.get("noop_with_empty_axes", 0):
        return call[0]
    shape = call.shape(0)
    axes = sorted(axis % len(shape) for axis in (axes or range(len(shape))))
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    count = prod(shape[axis] for axis in axes)
    x = e.reshape(e.transpose(call[0], (*kept, *axes)), (*(shape[axis] for axis in kept), count))
    while count > 1:
        half = count // 2
        made = e.map(lambda a, b: a * b, e.slice(x, -1, 0, half), e.slice(x, -1, half, half), dtype=call.output_dtype())
        x = e.concat([made, e.slice(x, -1, count - 1, 1)], -1) if count % 2 else made
        count -= half
    return e.reshape(x, call.output().shape)


@lowers("Hardmax")
def _hardmax(e: Emitter, call: Call) -> str:
    """1 at the first maximum, 0 elsewhere."""
    axis = call.axis(-1)
    place = e.reduce(Reduction.ARGMAX, call[0], [axis])
    return e.map(lambda x, place: x.index(axis).equals(place).select(x.lift(1.0), 0.0), call[0], place, dtype=call.output_dtype())


@lowers("LpNormalization")
def _lp_norm(e: Emitter, call: Call) -> str:
    axis, order = call.axis(-1), call.get("p", 2)
    powers = e.map((lambda x: x * x) if order == 2 else (lambda x: x.maximum(x * -1.0)), call[0])
    total = e.reduce(Reduction.SUM, powers, [axis])
    if order == 2:
        return e.map(lambda x, total: total.equals(0.0).select(x.lift(0.0), x * total.apply(F.RSQRT)), call[0], total,
                     dtype=call.output_dtype())
    return e.map(lambda x, total: total.equals(0.0).select(x.lift(0.0), x * total.apply(F.RECIPROCAL)), call[0], total,
                 dtype=call.output_dtype())
