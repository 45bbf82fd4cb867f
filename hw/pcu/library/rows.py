"""Reductions over the elements of each row, and what is done to a row with the result: the parts of a softmax."""

from __future__ import annotations

from hw.config import PCUConfig
from hw.fp.function import TailFunction
from hw.pcu.layout import Reduce
from hw.pcu.program import Input, SimdProgram, Stage, constant, scalar, vector

from .row_loops import float_word, reducing, row_loops

__all__ = ["argmax", "row_max", "row_mean", "row_min", "row_sum", "scale", "subtract_exp", "sum_reciprocal"]


def _reduction(config: PCUConfig, kind: Reduce, rows: int, n: int, packed: bool, to_vector: bool, **fields) -> SimdProgram:
    return SimdProgram(vectors={0: Input(packed=packed)}, **reducing(kind, to_vector), **row_loops(config, rows, n), **fields)


def row_max(config: PCUConfig, *, rows: int, n: int, packed: bool = False, to_vector: bool = False) -> SimdProgram:
    """Vector 0: x[rows, n] -> scalar (or a vector with the result in all lanes): the maximum of each row."""
    return _reduction(config, Reduce.MAX, rows, n, packed, to_vector)


def row_min(config: PCUConfig, *, rows: int, n: int, packed: bool = False, to_vector: bool = False) -> SimdProgram:
    """Vector 0: x[rows, n] -> scalar or vector: the minimum of each row."""
    return _reduction(config, Reduce.MIN, rows, n, packed, to_vector)


def row_sum(config: PCUConfig, *, rows: int, n: int, packed: bool = False, to_vector: bool = False,
            function: TailFunction = TailFunction.BYPASS) -> SimdProgram:
    """Vector 0: x[rows, n] -> scalar or vector: function(sum of each row)."""
    return _reduction(config, Reduce.SUM, rows, n, packed, to_vector, function=function)


def row_mean(config: PCUConfig, *, rows: int, n: int, packed: bool = False, to_vector: bool = False) -> SimdProgram:
    """Vector 0: x[rows, n] -> scalar or vector: sum of fp32(x * constant(0)), constant(0) = fp32(1 / n)."""
    return _reduction(config, Reduce.SUM, rows, n, packed, to_vector, constants=(float_word(1 / n),),
                      stages=(Stage.mul(vector(0), constant(0)),))


def argmax(config: PCUConfig, *, rows: int, n: int, packed: bool = False, to_vector: bool = False) -> SimdProgram:
    """Vector 0: x[rows, n] -> scalar or vector: INT32 index of the first maximum of each row."""
    return _reduction(config, Reduce.ARGMAX, rows, n, packed, to_vector)


def sum_reciprocal(config: PCUConfig, *, rows: int, n: int, packed: bool = False) -> SimdProgram:
    """Vector 0: x[rows, n] -> scalar: 1 / sum of each row."""
    return row_sum(config, rows=rows, n=n, packed=packed, function=TailFunction.RECIPROCAL)


def subtract_exp(config: PCUConfig, *, rows: int, n: int, packed: bool = False, packed_output: bool = False) -> SimdProgram:
    """Vector 0: x[rows, n], scalar 0: m[rows] -> vector: exp(x - m); beyond n zero."""
    return SimdProgram(vectors={0: Input(packed=packed)}, scalars={0: Input(level=1)}, stages=(Stage.sub(vector(0), scalar(0)),),
                       function=TailFunction.EXP, packed_output=packed_output, **row_loops(config, rows, n))


def scale(config: PCUConfig, *, rows: int, n: int, packed: bool = False, packed_output: bool = False) -> SimdProgram:
    """Vector 0: x[rows, n], scalar 0: s[rows] -> vector: x * s; beyond n zero."""
    return SimdProgram(vectors={0: Input(packed=packed)}, scalars={0: Input(level=1)}, stages=(Stage.mul(vector(0), scalar(0)),),
                       packed_output=packed_output, **row_loops(config, rows, n))
