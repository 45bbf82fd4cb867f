"""Operators that work on each element by itself."""

from __future__ import annotations

from hw.config import PCUConfig
from hw.fp.function import TailFunction
from hw.pcu.layout import Op
from hw.pcu.program import Input, SimdProgram, Stage, constant, integer, vector

from .row_loops import float_word, row_loops

__all__ = ["affine", "convert", "elementwise", "gelu", "maximum", "minimum", "multiply", "residual_add", "silu", "subtract",
           "unary"]


def elementwise(config: PCUConfig, *stages: Stage, rows: int, n: int, inputs: int = 1, packed: bool = False,
                packed_output: bool = False, function: TailFunction = TailFunction.BYPASS,
                constants: tuple[int, ...] = ()) -> SimdProgram:
    """Vectors 0 to ``inputs`` - 1, each [rows, n] -> vector: function of the last of ``stages``; beyond n zero."""
    return SimdProgram(vectors={port: Input(packed=packed) for port in range(inputs)}, stages=stages, constants=constants,
                       function=function, packed_output=packed_output, **row_loops(config, rows, n))


def unary(config: PCUConfig, function: TailFunction, **shape) -> SimdProgram:
    """Vector 0: x[rows, n] -> vector: function(x). ``shape``: rows, n, packed, packed_output."""
    return elementwise(config, function=function, **shape)


def silu(config: PCUConfig, **shape) -> SimdProgram:
    """Vector 0: x[rows, n] -> vector: silu(x); the gate's product follows in :func:`multiply`."""
    return unary(config, TailFunction.SILU, **shape)


def gelu(config: PCUConfig, **shape) -> SimdProgram:
    """Vector 0: x[rows, n] -> vector: gelu(x) = x Phi(x), the definition with erf."""
    return unary(config, TailFunction.GELU, **shape)


def convert(config: PCUConfig, *, rows: int, n: int, packed: bool, packed_output: bool) -> SimdProgram:
    """Vector 0: x[rows, n] -> vector: the same values, packed or unpacked."""
    return elementwise(config, rows=rows, n=n, packed=packed, packed_output=packed_output)


def residual_add(config: PCUConfig, **shape) -> SimdProgram:
    """Vectors 0 and 1: x, y[rows, n] -> vector: function(x + y)."""
    return elementwise(config, Stage.add(vector(0), vector(1)), inputs=2, **shape)


def subtract(config: PCUConfig, **shape) -> SimdProgram:
    """Vectors 0 and 1: x, y[rows, n] -> vector: function(x - y)."""
    return elementwise(config, Stage.sub(vector(0), vector(1)), inputs=2, **shape)


def multiply(config: PCUConfig, **shape) -> SimdProgram:
    """Vectors 0 and 1: x, y[rows, n] -> vector: function(x * y)."""
    return elementwise(config, Stage.mul(vector(0), vector(1)), inputs=2, **shape)


def maximum(config: PCUConfig, **shape) -> SimdProgram:
    """Vectors 0 and 1: x, y[rows, n] -> vector: the larger, NaN if either is."""
    return elementwise(config, integer(Op.FMAX, vector(0), vector(1)), inputs=2, **shape)


def minimum(config: PCUConfig, **shape) -> SimdProgram:
    """Vectors 0 and 1: x, y[rows, n] -> vector: the smaller, NaN if either is."""
    return elementwise(config, integer(Op.FMIN, vector(0), vector(1)), inputs=2, **shape)


def affine(config: PCUConfig, factor: float, offset: float = -0.0, **shape) -> SimdProgram:
    """Vector 0: x[rows, n] -> vector: function(fp32(x * factor) + offset); both are constants (0 and 1)."""
    return elementwise(config, Stage.mac(vector(0), constant(0), constant(1)), constants=(float_word(factor), float_word(offset)),
                       **shape)
