"""Element-wise operators: each becomes one MAP.

Division is a product with the reciprocal (one rounding more, and the reciprocal's error of 2^-20 at most); erf is made of gelu
(absolute error 2e-6); a power with a constant exponent that is no small integer or half is exp(y log x), for positive x.
"""

from __future__ import annotations

from math import pi, prod, sqrt

import numpy as np

from ..graph.emit import Emitter
from ..graph.ir import DType, Function, Reduction
from ..graph.scalar import Scalar
from .lower_integer import divide
from .operators import EIGHT_BITS, Call, lowers

__all__ = ["round_to_even", "wrapped"]

F = Function
LARGEST_POWER = 8
FAR = 8.0                # gelu(8) is 8

UNARY = {
    "Abs": lambda x: x.maximum(x * -1), "Neg": lambda x: x * -1, "Relu": lambda x: x.maximum(0) if x.integer else x.apply(F.RELU),
    "Exp": lambda x: x.apply(F.EXP), "Log": lambda x: x.apply(F.LOG), "Reciprocal": lambda x: x.apply(F.RECIPROCAL),
    "Sqrt": lambda x: x.apply(F.SQRT), "Tanh": lambda x: x.apply(F.TANH), "Sigmoid": lambda x: x.apply(F.SIGMOID),
    "Sin": lambda x: x.apply(F.SIN), "Cos": lambda x: x.apply(F.COS), "Silu": lambda x: x.apply(F.SILU),
    "Sign": lambda x: (x > 0) - (x < 0) if x.integer else x.equals(x).select((x > 0).to_float() - (x < 0).to_float(), x),
    "Floor": lambda x: _floor(x), "Ceil": lambda x: _floor(x * -1.0) * -1.0, "Not": lambda x: x.equals(0), "Erf": lambda x: _erf(x),
    "Softplus": lambda x: x.apply(F.RELU) + ((x.maximum(x * -1.0) * -1.0).apply(F.EXP) + 1.0).apply(F.LOG),
    "Softsign": lambda x: x * (x.maximum(x * -1.0) + 1.0).apply(F.RECIPROCAL),
    "Round": lambda x: round_to_even(x),
    "Mish": lambda x: x * (x.apply(F.RELU) + ((x.maximum(x * -1.0) * -1.0).apply(F.EXP) + 1.0).apply(F.LOG)).apply(F.TANH),
    "HardSwish": lambda x: x * (x * (1 / 6) + 0.5).maximum(0.0).minimum(1.0),
}
BINARY = {
    "Add": lambda x, y: x + y, "Sub": lambda x, y: x - y, "Mul": lambda x, y: x * y,
    "Equal": lambda x, y: x.equals(y), "Less": lambda x, y: x < y, "LessOrEqual": lambda x, y: x <= y,
    "Greater": lambda x, y: x > y, "GreaterOrEqual": lambda x, y: x >= y,
    "And": lambda x, y: x & y, "Or": lambda x, y: x | y, "Xor": lambda x, y: x.apply(F.XOR, y),
    "PRelu": lambda x, y: x.apply(F.RELU) + x.minimum(0.0) * y,
}


def _floor(x: Scalar, near: bool = False) -> Scalar:
    """Of any number: those from 2^23 on are whole, infinite, or none. ``near``: of one below 2^31, in fewer steps."""
    whole = x.to_integer().to_float()
    whole = whole if near else (x * x < 2.0**46).select(whole, x)
    return whole - (x < whole).to_float()


def round_to_even(x: Scalar, near: bool = False) -> Scalar:
    """Half to even; ``near``: of a number below 2^31."""
    low = _floor(x, near)
    rest = x - low
    return low + (rest > 0.5).to_float() + (rest.equals(0.5) & low.to_integer() & 1).to_float()


def _erf(x: Scalar) -> Scalar:
    """2 Phi(x sqrt 2) - 1, and two terms of the series where that cancels."""
    wide = (x * sqrt(2.0)).maximum(-FAR).minimum(FAR)
    far = wide.apply(F.GELU) * wide.apply(F.RECIPROCAL) * 2.0 - 1.0
    near = x * (x * x * (-2 / (3 * sqrt(pi))) + 2 / sqrt(pi))
    return (x * x < 0.05**2).select(near, far)


@lowers(*UNARY)
def _unary(e: Emitter, call: Call) -> str:
    return e.map(UNARY[call.node.op], call[0], dtype=call.output_dtype())


@lowers(*BINARY)
def _binary(e: Emitter, call: Call) -> str:
    return e.map(BINARY[call.node.op], call[0], call[1], dtype=call.output_dtype())


@lowers("Div")
def _div(e: Emitter, call: Call) -> str:
    if not call.output_dtype().is_float:
        return divide(e, call)
    divisor = call.tensor(1).value if call.has(1) else None
    if divisor is not None:
        with np.errstate(divide="ignore"):
            inverse = (1.0 / divisor.astype(np.float64)).astype(divisor.dtype)
        if divisor.size == 1 and len(divisor.shape) <= len(call.shape(0)):
            return e.map(lambda x: x * float(inverse.astype(np.float32).item()), call[0], dtype=call.output_dtype())
        return e.map(lambda x, y: x * y, call[0], e.constant(inverse), dtype=call.output_dtype())
    return e.map(lambda x, y: x * y.apply(F.RECIPROCAL), call[0], call[1], dtype=call.output_dtype())


@lowers("Pow")
def _pow(e: Emitter, call: Call) -> str:
    exponent = call.tensor(1).value
    if exponent is None or exponent.size != 1:
        return e.map(lambda x, y: (x.apply(F.LOG) * y.to_float()).apply(F.EXP), call[0], call[1], dtype=call.output_dtype())
    power = float(exponent.item())
    result = e.map(lambda x: _power(x, power), call[0], dtype=call.output_dtype())
    return e.expand(result, call.output().shape)


def _power(x: Scalar, power: float) -> Scalar:
    if power < 0 and not x.integer:
        return x.apply(F.RSQRT) if power == -0.5 else _power(x, -power).apply(F.RECIPROCAL)
    if power == 0.5:
        return x.apply(F.SQRT)
    if power != int(power) or power > LARGEST_POWER:
        return (x.apply(F.LOG) * power).apply(F.EXP)
    result, square, rest = None, x, int(power)
    while rest:
        if rest & 1:
            result = square if result is None else result * square
        rest >>= 1
        square = square * square if rest else square
    return x.lift(1) + 0 if result is None else result


@lowers("Min", "Max", "Sum", "Mean")
def _variadic(e: Emitter, call: Call) -> str:
    step = {"Min": Scalar.minimum, "Max": Scalar.maximum}.get(call.node.op, Scalar.__add__)

    def fold(first: Scalar, *others: Scalar) -> Scalar:
        for other in others:
            first = step(first, other)
        return first * (1 / (len(others) + 1)) if call.node.op == "Mean" else first

    return e.map(fold, *call.all, dtype=call.output_dtype())


@lowers("Where")
def _where(e: Emitter, call: Call) -> str:
    return e.map(lambda condition, yes, no: condition.select(yes, no), call[0], call[1], call[2], dtype=call.output_dtype())


@lowers("Clip")
def _clip(e: Emitter, call: Call) -> str:
    bounds = [(number, step) for number, step in ((1, Scalar.maximum), (2, Scalar.minimum)) if call.has(number)]
    known = [call.tensor(number).value for number, _ in bounds]
    given = [call[number] for (number, _), value in zip(bounds, known, strict=True) if value is None]

    def clip(x: Scalar, *others: Scalar) -> Scalar:
        rest = iter(others)
        for (_, step), value in zip(bounds, known, strict=True):
            x = step(x, next(rest) if value is None else value.item())
        return x

    return e.map(clip, call[0], *given, dtype=call.output_dtype())


@lowers("Gelu")
def _gelu(e: Emitter, call: Call) -> str:
    if call.get("approximate", "none") == "none":
        return e.map(lambda x: x.apply(F.GELU), call[0], dtype=call.output_dtype())
    inner = sqrt(2 / pi)
    return e.map(lambda x: x * 0.5 * ((x * inner * (x * x * 0.044715 + 1.0)).apply(F.TANH) + 1.0), call[0], dtype=call.output_dtype())


@lowers("Swish")
def _swish(e: Emitter, call: Call) -> str:
    alpha = call.get("alpha", 1.0)
    if alpha == 1.0:
        return e.map(lambda x: x.apply(F.SILU), call[0], dtype=call.output_dtype())
    return e.map(lambda x: x * (x * alpha).apply(F.SIGMOID), call[0], dtype=call.output_dtype())


@lowers("LeakyRelu", "Elu", "Selu", "HardSigmoid", "ThresholdedRelu", "Celu")
def _with_alpha(e: Emitter, call: Call) -> str:
    defaults = {"LeakyRelu": 0.01, "Selu": 1.67326319217681884765625, "HardSigmoid": 0.2}
    alpha, op = call.get("alpha", defaults.get(call.node.op, 1.0)), call.node.op
    gamma, beta = call.get("gamma", 1.05070102214813232421875), call.get("beta", 0.5)

    def function(x: Scalar) -> Scalar:
        if op == "LeakyRelu":
            return x.maximum(0.0) + x.minimum(0.0) * alpha
        if op == "HardSigmoid":
            return (x * alpha + beta).maximum(0.0).minimum(1.0)
        if op == "ThresholdedRelu":
            return (x > alpha).select(x, 0.0)
        argument = x.minimum(0.0) * (1 / alpha if op == "Celu" else 1.0)
        result = x.maximum(0.0) + (argument.apply(F.EXP) - 1.0) * alpha
        return result * gamma if op == "Selu" else result

    return e.map(function, call[0], dtype=call.output_dtype())


def wrapped(e: Emitter, x: str, kind: DType) -> str:
    """Whole numbers, their lowest eight bits taken as an INT8 or UINT8."""
    if kind is DType.UINT8:
        return e.map(lambda value: value.to_integer() & 255, x)
    return e.map(lambda value: value.to_integer().apply(F.SHL, 24).apply(F.SAR, 24), x)


@lowers("Cast")
def _cast(e: Emitter, call: Call) -> str:
    source, target = call.tensor(0).dtype, call.output().dtype
    if target in EIGHT_BITS and source not in (target, DType.BOOL):
        return wrapped(e, call[0], target)
    if source is target or (not source.is_float and not target.is_float and target is not DType.BOOL):
        return call[0]
    if target is DType.BOOL:
        return e.map(lambda x: x.equals(0).equals(0), call[0])
    if source.is_float and target.is_float:
        return e.map(lambda x: x.apply(F.TO_BF16), call[0], dtype=target)
    if source.is_float:
        return e.map(lambda x: x.to_integer(), call[0])
    return e.map(lambda x: x.to_float(), call[0], dtype=target)


@lowers("Identity", "Dropout")
def _identity(e: Emitter, call: Call) -> str:
    if call.node.op == "Dropout" and call.has(2) and call.constant(2).any():
        raise call.error("dropout in training mode is not there")
    return call[0]


@lowers("BatchNormalization")
def _batch_norm(e: Emitter, call: Call) -> str | list[str]:
    shape, epsilon, dtype = (-1, *(1,) * (len(call.shape(0)) - 2)), call.get("epsilon", 1e-5), call.output_dtype()
    if call.get("training_mode", 0):
        return _batch_norm_of_training(e, call)
    known = [call.tensor(number).value for number in range(1, 5)]
    if all(value is not None for value in known):
        scale, bias, mean, variance = (value.astype(np.float64) for value in known)
        factor = scale / np.sqrt(variance + epsilon)
        return e.map(lambda x, g, b: x.mac(g, b), call[0], e.floats(factor.reshape(shape)),
                     e.floats((bias - mean * factor).reshape(shape)), dtype=dtype)
    scale, bias, mean, variance = (e.reshape(call[number], (call.shape(1)[0], *shape[1:])) for number in range(1, 5))
    return e.map(lambda x, g, b, m, v: (x - m).mac((v + epsilon).apply(F.RSQRT) * g, b), call[0], scale, bias, mean, variance, dtype=dtype)


def _batch_norm_of_training(e: Emitter, call: Call) -> list[str]:
    """With mean and variance of the batch; the running ones as outputs."""
    rank, channels = len(call.shape(0)), call.shape(1)[0]
    factor, epsilon, keep = float(np.float32(channels / prod(call.shape(0)))), call.get("epsilon", 1e-5), call.get("momentum", 0.9)
    axes = [axis for axis in range(rank) if axis != 1]
    with e.composite("batchnorm"):
        mean = e.map(lambda total: total * factor, e.reduce(Reduction.SUM, call[0], axes))
        centred = e.map(lambda x, mean: x - mean, call[0], mean)
        variance = e.map(lambda total: total * factor, e.reduce(Reduction.SUM, e.map(lambda x: x * x, centred), axes))
        scale, bias = (e.reshape(call[number], (channels, *(1,) * (rank - 2))) for number in (1, 2))
        made = e.map(lambda x, v, g, b: x.mac((v + epsilon).apply(F.RSQRT) * g, b), centred, variance, scale, bias,
                     dtype=call.output_dtype())
        running = [e.map(lambda old, new: old * keep + new * (1 - keep), call[number], e.reshape(new, (channels,)))
                   for number, new in ((3, mean), (4, variance))]
    return [made, *running][:len(call.node.outputs)]
