"""What attention needs beside matrix products and softmax: rotary embedding, causal mask, decode's scores and sums."""

from __future__ import annotations

from hw.config import PCUConfig
from hw.pcu.layout import Op, Reduce
from hw.pcu.program import Input, SimdProgram, Stage, constant, counter, element, integer, scalar, stage, vector

from .row_loops import float_word, reducing, row_loops

__all__ = ["causal_scale", "dot_rows", "rotary", "weighted_sum"]

MINUS_INFINITY = 0xFF800000


def rotary(config: PCUConfig, *, rows: int, n: int, packed: bool = False, packed_output: bool = False,
           packed_angles: bool | None = None) -> SimdProgram:
    """Vectors 0: x[rows, n], 1: x with the halves of each pair swapped, 2: cosines, 3: sines -> vector: x * cos + swapped * sin.

    ``swapped`` is a second read of the same buffer at another offset; the sines carry the sign: negative where the partner comes
    after. A row may hold one head or several. ``packed_angles``: as ``packed`` if not given.
    """
    angles = packed if packed_angles is None else packed_angles
    return SimdProgram(
        vectors={0: Input(packed=packed), 1: Input(packed=packed), 2: Input(packed=angles), 3: Input(packed=angles)},
        stages=(Stage.mul(vector(1), vector(3)), Stage.mac(vector(0), vector(2), stage(0))), packed_output=packed_output,
        **row_loops(config, rows, n))


def causal_scale(config: PCUConfig, *, rows: int, n: int, factor: float, first: int = 0, packed: bool = False,
                 packed_output: bool = False) -> SimdProgram:
    """Vector 0: scores[rows, n] -> vector: score * factor where column <= first + row, else -inf (beyond n zero).

    Constants: 0: ``first``, the position of row 0 (INT32), 1: factor, 2: -inf; all arguments.
    """
    return SimdProgram(
        vectors={0: Input(packed=packed)}, constants=(first, float_word(factor), MINUS_INFINITY),
        stages=(integer(Op.ADD, counter(1), constant(0)), integer(Op.LE, element(), stage(0)),
                Stage.mul(vector(0), constant(1)), integer(Op.SELECT, stage(2), constant(2), stage(1))),
        packed_output=packed_output, **row_loops(config, rows, n))


def dot_rows(config: PCUConfig, *, rows: int, n: int, factor: float = 1.0, packed: bool = False) -> SimdProgram:
    """Vectors 0: a[rows, n], 1: b[rows, n] -> scalar: sum of fp32(a * b) * factor for each row: the scores of a decode step."""
    stages = (Stage.mul(vector(0), vector(1)),)
    if factor != 1.0:
        stages += (Stage.mul(stage(0), constant(0)),)
    return SimdProgram(vectors={0: Input(packed=packed), 1: Input(packed=packed)}, constants=(float_word(factor),), stages=stages,
                       **reducing(Reduce.SUM), **row_loops(config, rows, n))


def weighted_sum(config: PCUConfig, *, rows: int, n: int, packed: bool = False, packed_output: bool = False) -> SimdProgram:
    """Vector 0: v[rows, n], scalar 0: p[rows] -> vector, once: sum over the rows of fp32(p * v), in order; n beyond 2 x lanes.

    The sums of a row's vectors are the accumulators, so a row has at least 3 vectors and at most ``accumulators``; for a shorter
    row use ``gemm`` with v as weights.
    """
    vectors = -(-n // config.lanes)
    return SimdProgram(loops=(vectors, rows), vectors={0: Input(packed=packed)}, scalars={0: Input(level=1)}, accumulate=1,
                       produce=2, stages=(Stage.accumulate(vector(0), scalar(0)),), packed_output=packed_output,
                       mask=row_loops(config, rows, n)["mask"])
