"""RMSNorm and LayerNorm: a PCU that makes one scalar of each row, and one that applies it to the row, sent a second time.

The mean goes into the sum: each element contributes ``fp32(fp32(x * x) * (1 / n)) + epsilon / n``, so the reduction gives the
mean of squares plus epsilon, and the tail its reciprocal square root.
"""

from __future__ import annotations

from hw.config import PCUConfig
from hw.fp.function import TailFunction
from hw.pcu.layout import Reduce
from hw.pcu.program import Input, SimdProgram, Stage, constant, scalar, stage, vector

from .row_loops import float_word, reducing, row_loops

__all__ = ["layer_norm", "normalise_scale", "rms_reciprocal", "sum_of_squares", "variance_reciprocal"]


def sum_of_squares(config: PCUConfig, *, rows: int, n: int, packed: bool = False,
                   function: TailFunction = TailFunction.BYPASS) -> SimdProgram:
    """Vector 0: x[rows, n] -> scalar: function(sum of x * x) of each row."""
    return SimdProgram(vectors={0: Input(packed=packed)}, stages=(Stage.mul(vector(0), vector(0)),), function=function,
                       **reducing(Reduce.SUM), **row_loops(config, rows, n))


def rms_reciprocal(config: PCUConfig, *, rows: int, n: int, epsilon: float = 1e-5, packed: bool = False) -> SimdProgram:
    """Vector 0: x[rows, n] -> scalar: 1 / sqrt(mean of x * x + epsilon) of each row."""
    return SimdProgram(
        vectors={0: Input(packed=packed)}, constants=(float_word(1 / n), float_word(epsilon / n)),
        stages=(Stage.mul(vector(0), vector(0)), Stage.mac(stage(0), constant(0), constant(1))),
        function=TailFunction.RSQRT, **reducing(Reduce.SUM), **row_loops(config, rows, n))


def normalise_scale(config: PCUConfig, *, rows: int, n: int, packed: bool = False, packed_output: bool = False,
                    packed_gain: bool | None = None) -> SimdProgram:
    """Vectors 0: x[rows, n], 1: g[rows, n] (the same gain row sent for each row), scalar 0: s[rows] -> vector: (x * s) * g.

    ``packed_gain``: as ``packed`` if not given.
    """
    gain = packed if packed_gain is None else packed_gain
    return SimdProgram(vectors={0: Input(packed=packed), 1: Input(packed=gain)}, scalars={0: Input(level=1)},
                       stages=(Stage.mul(vector(0), scalar(0)), Stage.mul(stage(0), vector(1))), packed_output=packed_output,
                       **row_loops(config, rows, n))


def variance_reciprocal(config: PCUConfig, *, rows: int, n: int, epsilon: float = 1e-5, packed: bool = False) -> SimdProgram:
    """Vector 0: x[rows, n], scalar 0: mean[rows] -> scalar: 1 / sqrt(mean of (x - mean) squared + epsilon)."""
    return SimdProgram(
        vectors={0: Input(packed=packed)}, scalars={0: Input(level=1)}, constants=(float_word(1 / n), float_word(epsilon / n)),
        stages=(Stage.sub(vector(0), scalar(0)), Stage.mul(stage(0), stage(0)), Stage.mac(stage(1), constant(0), constant(1))),
        function=TailFunction.RSQRT, **reducing(Reduce.SUM), **row_loops(config, rows, n))


def layer_norm(config: PCUConfig, *, rows: int, n: int, packed: bool = False, packed_output: bool = False,
               packed_gain: bool | None = None) -> SimdProgram:
    """Vectors 0: x[rows, n], 1: g, 2: b (the same rows sent for each row), scalars 0: mean[rows], 1: s[rows]
    -> vector: ((x - mean) * s) * g + b."""
    gain = packed if packed_gain is None else packed_gain
    return SimdProgram(
        vectors={0: Input(packed=packed), 1: Input(packed=gain), 2: Input(packed=gain)},
        scalars={0: Input(level=1), 1: Input(level=1)},
        stages=(Stage.sub(vector(0), scalar(0)), Stage.mul(stage(0), scalar(1)), Stage.mac(stage(1), vector(1), vector(2))),
        packed_output=packed_output, **row_loops(config, rows, n))
