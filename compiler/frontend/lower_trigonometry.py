"""Functions that the PCU's tail has not, made of those that it has."""

from __future__ import annotations

from math import pi, sqrt

from ..graph.emit import Emitter
from ..graph.ir import Function
from ..graph.scalar import Scalar
from .operators import Call, lowers

__all__: list[str] = []

F = Function
ARC = (8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1)      # odd powers 9 to 3 of atan, |x| < tan(pi / 8)
SMALL = 0.5          # below, sinh is four terms of its series


def _signed(x: Scalar, magnitude: Scalar) -> Scalar:
    return (x < 0.0).select(magnitude * -1.0, magnitude)


def _inverse(x: Scalar) -> Scalar:
    return x.apply(F.RECIPROCAL)


def _atan(x: Scalar) -> Scalar:
    """Brought below tan(pi / 8), then a polynomial; error 2e-7."""
    size = x.maximum(x * -1.0)
    far, middle = size > 1 + sqrt(2), size > sqrt(2) - 1
    t = far.select(_inverse(size) * -1.0, middle.select((size - 1.0) * _inverse(size + 1.0), size))
    start = far.select(x.lift(pi / 2), middle.select(x.lift(pi / 4), 0.0))
    square, series = t * t, x.lift(ARC[0])
    for factor in ARC[1:]:
        series = square.mac(series, factor)
    return _signed(x, start + (series * square).mac(t, t))


def _asin(x: Scalar) -> Scalar:
    return _atan(x * (x * x * -1.0 + 1.0).apply(F.RSQRT))


def _sinh(x: Scalar) -> Scalar:
    square, grown = x * x, x.apply(F.EXP)
    series = square.mac(1 / 5040, 1 / 120)
    near = x * (square * (square * series + 1 / 6) + 1.0)
    return (square < SMALL**2).select(near, (grown - (x * -1.0).apply(F.EXP)) * 0.5)


FUNCTIONS = {
    "Tan": lambda x: x.apply(F.SIN) * _inverse(x.apply(F.COS)), "Atan": _atan, "Asin": _asin,
    "Acos": lambda x: _asin(x) * -1.0 + pi / 2, "Sinh": _sinh,
    "Cosh": lambda x: (x.apply(F.EXP) + (x * -1.0).apply(F.EXP)) * 0.5,
    "Asinh": lambda x: _signed(x, (x.maximum(x * -1.0) + (x * x + 1.0).apply(F.SQRT)).apply(F.LOG)),
    "Acosh": lambda x: (x + (x * x - 1.0).apply(F.SQRT)).apply(F.LOG),
    "Atanh": lambda x: ((x + 1.0) * _inverse(x * -1.0 + 1.0)).apply(F.LOG) * 0.5,
}


@lowers(*FUNCTIONS)
def _function(e: Emitter, call: Call) -> str:
    return e.map(FUNCTIONS[call.node.op], call[0], dtype=call.output_dtype())


@lowers("LRN")
def _lrn(e: Emitter, call: Call) -> str:
    """x / (bias + alpha / size * the sum of squares of ``size`` channels around)^beta."""
    size, shape = call.get("size"), call.shape(0)
    low = (size - 1) // 2
    around = [0, low, *(0,) * (len(shape) - 2)], [0, size - 1 - low, *(0,) * (len(shape) - 2)]
    squares = e.pad(e.map(lambda x: x * x, call[0]), *around)
    total = e.map(lambda *parts: sum(parts[1:], parts[0]), *(e.slice(squares, 1, place, shape[1]) for place in range(size)))
    scale, bias, beta = call.get("alpha", 1e-4) / size, call.get("bias", 1.0), call.get("beta", 0.75)
    return e.map(lambda x, y: x * ((y * scale + bias).apply(F.LOG) * -beta).apply(F.EXP), call[0], total, dtype=call.output_dtype())
