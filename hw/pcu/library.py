"""Ready-made PCU programs. Lengths are in elements of a row; rows are whole vectors, the ragged rest is masked.

A row of ``n`` values is ``ceil(n / lanes)`` FP32 vectors (or half as many packed ones). In every program loop 0 runs over the
vectors of a row and loop 1 over the rows, so the arguments are ``bounds[0]``, ``bounds[1]`` and ``mask_bound`` (= n).
"""

from __future__ import annotations

from hw.config import PCUConfig
from hw.fp.function import TailFunction

from .layout import Initial, Reduce
from .program import Input, Mask, ProgramError, SimdProgram, Stage, SystolicProgram, scalar, stage, vector
from .stage import BodyStage

__all__ = [
    "argmax", "convert", "gemm", "multiply", "normalise_scale", "residual_add", "row_max", "scale", "silu", "subtract_exp",
    "sum_of_squares", "sum_reciprocal", "tile_features",
]


def gemm(config: PCUConfig, *, rows: int, k: int, features: int, bias: bool = True, relu: bool = False,
         packed_output: bool = False, **changes) -> SystolicProgram:
    """x[rows, k] @ w[k, features] (+ bias), packed BF16 operands, features in tiles of ``accumulators`` x lanes at most.

    Streams: vector 0: w, tile of columns by tile of columns, each [k, features of the tile]; vector 1: x, row-major, once;
    vector 2: bias, FP32. The decode interleaving: ``rows`` at most ``stages``. A tile has ``tile_features(config, features)``
    features, so ``features`` is a multiple of 2 x lanes.
    """
    tile = tile_features(config, features) // config.lanes
    return SystolicProgram(**{
        "k": k, "rows": rows, "feature_blocks": tile, "column_tiles": features // (tile * config.lanes), "reuse": True,
        # With very few sums a row group without rows fills the time until a sum can be used again.
        "groups": -(-BodyStage.reuse_distance // tile),
        "initial": Initial.BIAS if bias else Initial.ZERO, "packed_output": packed_output,
        "function": TailFunction.RELU if relu else TailFunction.BYPASS,
    } | changes)


def tile_features(config: PCUConfig, features: int) -> int:
    """Features of a tile of :func:`gemm`: the most that the accumulators hold and that divides ``features``."""
    blocks, rest = divmod(features, 2 * config.lanes)
    if rest or not blocks:
        raise ProgramError(f"features={features} must be a multiple of 2 x lanes = {2 * config.lanes}: pad w and bias")
    size = max(size for size in range(1, config.accumulators // 2 + 1) if blocks % size == 0)
    return size * 2 * config.lanes


def _rows(config: PCUConfig, rows: int, n: int) -> dict:
    return {"loops": (-(-n // config.lanes), rows), "mask": Mask(level=0, bound=n)}


def row_max(config: PCUConfig, *, rows: int, n: int, packed: bool = False) -> SimdProgram:
    """Vector 0: x[rows, n] -> scalar: the maximum of each row."""
    return SimdProgram(vectors={0: Input(packed=packed)}, reduce=Reduce.MAX, produce=1, to_vector=False, to_scalar=True,
                       **_rows(config, rows, n))


def argmax(config: PCUConfig, *, rows: int, n: int, packed: bool = False, to_vector: bool = False) -> SimdProgram:
    """Vector 0: x[rows, n] -> scalar (or a vector with the result in all lanes): INT32 index of the first maximum of each row."""
    return SimdProgram(vectors={0: Input(packed=packed)}, reduce=Reduce.ARGMAX, produce=1, to_vector=to_vector,
                       to_scalar=not to_vector, **_rows(config, rows, n))


def subtract_exp(config: PCUConfig, *, rows: int, n: int, packed: bool = False, packed_output: bool = False) -> SimdProgram:
    """Vector 0: x[rows, n], scalar 0: m[rows] -> vector: exp(x - m); beyond n zero."""
    return SimdProgram(vectors={0: Input(packed=packed)}, scalars={0: Input(level=1)}, stages=(Stage.sub(vector(0), scalar(0)),),
                       function=TailFunction.EXP, packed_output=packed_output, **_rows(config, rows, n))


def sum_reciprocal(config: PCUConfig, *, rows: int, n: int, packed: bool = False) -> SimdProgram:
    """Vector 0: x[rows, n] -> scalar: 1 / sum of each row."""
    return SimdProgram(vectors={0: Input(packed=packed)}, reduce=Reduce.SUM, produce=1, function=TailFunction.RECIPROCAL,
                       to_vector=False, to_scalar=True, **_rows(config, rows, n))


def scale(config: PCUConfig, *, rows: int, n: int, packed: bool = False, packed_output: bool = False) -> SimdProgram:
    """Vector 0: x[rows, n], scalar 0: s[rows] -> vector: x * s; beyond n zero."""
    return SimdProgram(vectors={0: Input(packed=packed)}, scalars={0: Input(level=1)}, stages=(Stage.mul(vector(0), scalar(0)),),
                       packed_output=packed_output, **_rows(config, rows, n))


def residual_add(config: PCUConfig, *, rows: int, n: int, packed: bool = False, packed_output: bool = False) -> SimdProgram:
    """Vectors 0 and 1: x, y[rows, n] -> vector: x + y."""
    return SimdProgram(vectors={0: Input(packed=packed), 1: Input(packed=packed)}, stages=(Stage.add(vector(0), vector(1)),),
                       packed_output=packed_output, **_rows(config, rows, n))


def multiply(config: PCUConfig, *, rows: int, n: int, packed: bool = False, packed_output: bool = False) -> SimdProgram:
    """Vectors 0 and 1: x, y[rows, n] -> vector: x * y."""
    return SimdProgram(vectors={0: Input(packed=packed), 1: Input(packed=packed)}, stages=(Stage.mul(vector(0), vector(1)),),
                       packed_output=packed_output, **_rows(config, rows, n))


def sum_of_squares(config: PCUConfig, *, rows: int, n: int, packed: bool = False,
                   function: TailFunction = TailFunction.BYPASS) -> SimdProgram:
    """Vector 0: x[rows, n] -> scalar: function(sum of x * x) of each row; the first half of a norm."""
    return SimdProgram(vectors={0: Input(packed=packed)}, stages=(Stage.mul(vector(0), vector(0)),), reduce=Reduce.SUM, produce=1,
                       function=function, to_vector=False, to_scalar=True, **_rows(config, rows, n))


def normalise_scale(config: PCUConfig, *, rows: int, n: int, packed: bool = False, packed_output: bool = False) -> SimdProgram:
    """Vectors 0: x[rows, n], 1: g[rows, n] (the same gain row sent for each row), scalar 0: s[rows] -> vector: (x * s) * g."""
    return SimdProgram(vectors={0: Input(packed=packed), 1: Input(packed=packed)}, scalars={0: Input(level=1)},
                       stages=(Stage.mul(vector(0), scalar(0)), Stage.mul(stage(0), vector(1))), packed_output=packed_output,
                       **_rows(config, rows, n))


def silu(config: PCUConfig, *, rows: int, n: int, packed: bool = False, packed_output: bool = False) -> SimdProgram:
    """Vector 0: x[rows, n] -> vector: silu(x); the gate's product follows in :func:`multiply`."""
    return SimdProgram(vectors={0: Input(packed=packed)}, function=TailFunction.SILU, packed_output=packed_output,
                       **_rows(config, rows, n))


def convert(config: PCUConfig, *, rows: int, n: int, packed: bool, packed_output: bool) -> SimdProgram:
    """Vector 0: x[rows, n] -> vector: the same values, packed or unpacked."""
    return SimdProgram(vectors={0: Input(packed=packed)}, packed_output=packed_output, **_rows(config, rows, n))


