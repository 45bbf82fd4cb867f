"""Division and remainder, bits, and reductions of INT32, on units that divide and sum FP32 only: exact for every INT32."""

from __future__ import annotations

from math import prod

import numpy as np

from ..graph.emit import Emitter
from ..graph.ir import DType, Function, Reduction
from ..graph.scalar import Scalar
from .operators import Call, lowers

__all__ = ["argmax", "divide", "reduce", "running_sum"]

F = Function
PARTS = ((0, 11), (11, 11), (22, 10))      # (first bit, bits): sums of LARGEST such parts are exact in FP32
LARGEST = 1 << 13


def _quotient(x: Scalar, y: Scalar) -> tuple[Scalar, Scalar]:
    """(floor(x / y), remainder with the sign of y): a product with the reciprocal, once more for what it leaves, and one step."""
    negative = y < 0
    n, d = negative.select(x * -1, x), negative.select(y * -1, y)
    inverse = d.to_float().apply(F.RECIPROCAL)
    q = (n.to_float() * inverse).to_integer()
    r = n - q * d
    more = (r.to_float() * inverse).to_integer()
    q, r = q + more, r - more * d
    below = r < 0
    q, r = q - below, below.select(r + d, r)
    above = d <= r
    q, r = q + above, above.select(r - d, r)
    return q, negative.select(r * -1, r)


def divide(e: Emitter, call: Call) -> str:
    """Div of integers: towards zero."""
    def function(x: Scalar, y: Scalar) -> Scalar:
        q, r = _quotient(x, y)
        return q + (q < 0) * (r.equals(0).equals(0))

    return e.map(function, call[0], call[1])


@lowers("Mod")
def _mod(e: Emitter, call: Call) -> str:
    """fmod=0: the divisor's sign, of integers; fmod=1: the dividend's."""
    def real(x: Scalar, y: Scalar) -> Scalar:
        n, d = x.maximum(x * -1.0), y.maximum(y * -1.0)
        r = n - (n * d.apply(F.RECIPROCAL)).to_integer().to_float() * d
        r = (r < 0.0).select(r + d, r)
        r = (d <= r).select(r - d, r)
        return (x < 0.0).select(r * -1.0, r)

    def whole(x: Scalar, y: Scalar) -> Scalar:
        _, r = _quotient(x, y)
        if not call.get("fmod", 0):
            return r
        differs = ((x < 0).equals(y < 0)).equals(0) & r.equals(0).equals(0)
        return r - differs.select(y, y * 0)

    floats = e.dtype(call[0]).is_float
    return e.map(real, call[0], call[1], dtype=call.output_dtype()) if floats else e.map(whole, call[0], call[1])


@lowers("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot")
def _bits(e: Emitter, call: Call) -> str:
    if call.node.op == "BitwiseNot":
        return e.map(lambda x: x.apply(F.XOR, -1), call[0])
    function = {"BitwiseAnd": F.AND, "BitwiseOr": F.OR, "BitwiseXor": F.XOR}[call.node.op]
    return e.map(lambda x, y: x.apply(function, y), call[0], call[1])


@lowers("IsNaN", "IsInf")
def _is(e: Emitter, call: Call) -> str:
    if call.node.op == "IsNaN":
        return e.map(lambda x: x.equals(x).equals(0), call[0])
    signs = [sign for sign, name in ((1.0, "detect_positive"), (-1.0, "detect_negative")) if call.get(name, 1)]
    if not signs:
        return e.map(lambda x: x.equals(x) & 0, call[0])
    return e.map(lambda x: (x if signs == [1.0] else x * -1.0 if signs == [-1.0] else x.maximum(x * -1.0)).equals(float("inf")), call[0])


def _total(e: Emitter, x: str, count: int, call: Call, sums) -> str:
    """The sums of the parts of every number, each exact, put together again; ``sums`` of an FP32 tensor."""
    if count > LARGEST:
        raise call.error(f"a sum of {count} integers; at most {LARGEST} are there")
    parts = []
    for first, bits in PARTS:
        def part(value: Scalar, first=first, bits=bits) -> Scalar:
            value = value.apply(F.SAR, first) if first else value
            return (value if first + bits == 32 else value & (1 << bits) - 1).to_float()
        parts.append(sums(e.map(part, x)))
    return e.map(lambda *totals: sum((total.to_integer().apply(F.SHL, first) for total, (first, _) in zip(totals[1:], PARTS[1:],
                                                                                                      strict=True)),
                                     totals[0].to_integer()), *parts)


def reduce(e: Emitter, call: Call, x: str, axes, keep: bool) -> str:
    """ReduceSum, ReduceMax, ReduceMin of integers."""
    if call.node.op == "ReduceSum":
        count = prod(e.shape(x)[axis] for axis in axes)
        return _total(e, x, count, call, lambda part: e.reduce(Reduction.SUM, part, axes, keep))
    if call.node.op not in ("ReduceMax", "ReduceMin"):
        raise call.error("of integers is there for constants only")
    turned = -1 if call.node.op == "ReduceMin" else 0                # the least is the largest of the complements
    high, low = _highest(e, x, turned, axes)
    low = e.reduce(Reduction.MAX, low, axes)
    result = e.map(lambda upper, lower: (upper.to_integer().apply(F.SHL, 16) + lower.to_integer()).apply(F.XOR, turned), high, low)
    return result if keep else e.reshape(result, call.output().shape)


def _highest(e: Emitter, x: str, turned: int, axes) -> tuple[str, str]:
    """(the largest upper half, the lower halves of the numbers that have it, else -1), FP32."""
    high = e.reduce(Reduction.MAX, e.map(lambda value: value.apply(F.XOR, turned).apply(F.SAR, 16).to_float(), x), axes)

    def lower(value: Scalar, high: Scalar) -> Scalar:
        value = value.apply(F.XOR, turned)
        return value.apply(F.SAR, 16).to_float().equals(high).select((value & 0xFFFF).to_float(), -1.0)

    return high, e.map(lower, x, high)


def argmax(e: Emitter, call: Call, axis: int, keep: bool) -> str:
    """ArgMax and ArgMin of integers."""
    _, low = _highest(e, call[0], -1 if call.node.op == "ArgMin" else 0, [axis])
    return e.reduce(Reduction.ARGMAX, low, [axis], keep)


def running_sum(e: Emitter, call: Call, rows: str, triangle: np.ndarray) -> str:
    """CumSum of integers: ``rows`` times a triangle of ones."""
    ones = e.constant(triangle.astype(DType.FP32.numpy))
    return _total(e, rows, len(triangle), call, lambda part: e.matmul(part, ones))
