"""To eight bits and back: QuantizeLinear, DynamicQuantizeLinear, DequantizeLinear. Whole numbers of eight bits are INT32 on the device."""

from __future__ import annotations

from math import prod

import numpy as np

from ..graph.emit import Emitter
from ..graph.ir import Function, Reduction
from ..graph.scalar import Scalar
from .lower_elementwise import round_to_even
from .operators import EIGHT_BITS, Call, lowers

__all__: list[str] = []

F = Function


def _quotient(x: Scalar, scale: Scalar) -> Scalar:
    """x / scale to the last bits: a product with the reciprocal, once more for what it leaves; 0 for a scale of 0."""
    inverse = scale.apply(F.RECIPROCAL)
    first = x * inverse
    return scale.equals(0.0).select(0.0, first + (x - first * scale) * inverse)


@lowers("DequantizeLinear")
def _dequantize(e: Emitter, call: Call) -> str:
    """(x - zero) * scale; a scale per axis is shaped so that it broadcasts."""
    if call.get("block_size", 0):
        raise call.error("block_size is not there")
    scale, zero = _scale_and_zero(e, call)
    if zero:
        return e.map(lambda x, s, z: (x - z).to_float() * s, call[0], scale, zero, dtype=call.output_dtype())
    return e.map(lambda x, s: x.to_float() * s, call[0], scale, dtype=call.output_dtype())


@lowers("QuantizeLinear")
def _quantize(e: Emitter, call: Call) -> str:
    """To the nearest INT8 or UINT8, held as INT32. x / scale is a product with the reciprocal: a value that lies between two steps to the
    last bit may go to the other. A scale of 0 gives the zero point."""
    if call.get("block_size", 0) or call.output().dtype not in EIGHT_BITS:
        raise call.error(f"{call.output()}: values are quantised to INT8 or UINT8, without blocks")
    least, most = EIGHT_BITS[call.output().dtype]
    scale, zero = _scale_and_zero(e, call)
    known = call.tensor(1).value
    widest = float(most - least)                             # no zero point moves what is further away into the range

    quotient = _quotient if known is None else Scalar.__mul__
    divisor = scale if known is None else e.floats((1 / known).reshape(e.shape(scale)))
    low, high = (widest * -1, widest) if zero else (float(least), float(most))
    whole = e.map(lambda x, s: round_to_even(quotient(x, s).maximum(low).minimum(high), near=True).to_integer(), call[0], divisor)
    return e.map(lambda x, z: (x + z).maximum(least).minimum(most), whole, zero) if zero else whole


def _scale_and_zero(e: Emitter, call: Call) -> tuple[str, str]:
    """FP32 and INT32, one value or shaped so that they broadcast along the axis; no zero point if it is 0."""
    rank, axis = len(call.shape(0)), call.axis(1) if call.shape(0) else 0

    def placed(number: int) -> str:
        size = prod(call.shape(number))
        return e.reshape(call[number], () if size == 1 else [size if other == axis else 1 for other in range(rank)])

    known = call.tensor(2).value if call.has(2) else np.zeros(1)
    return placed(1), placed(2) if known is None or known.any() else ""


@lowers("DynamicQuantizeLinear")
def _dynamic(e: Emitter, call: Call) -> list[str]:
    """To UINT8 over the range of the values and 0: numbers, scale, zero point."""
    x, axes = call[0], range(len(call.shape(0)))
    with e.composite("quantise"):
        low = e.reduce(Reduction.MIN, x, axes, keepdims=False)
        scale = e.map(lambda low, high: (high.maximum(0.0) - low.minimum(0.0)) * (1 / 255), low,
                      e.reduce(Reduction.MAX, x, axes, keepdims=False))
        inverse = e.map(lambda scale: scale.equals(0.0).select(0.0, scale.apply(F.RECIPROCAL)), scale)
        zero = e.map(lambda low, inverse: round_to_even((low.minimum(0.0) * -1.0 * inverse).minimum(255.0), near=True).to_integer(),
                     low, inverse)
        whole = e.map(lambda x, scale: round_to_even(_quotient(x, scale).maximum(-255.0).minimum(255.0), near=True).to_integer(), x, scale)
        return [e.map(lambda whole, zero: (whole + zero).maximum(0).minimum(255), whole, zero), scale, zero]
