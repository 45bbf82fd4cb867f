"""Matrix products."""

from __future__ import annotations

from hw.config import PCUConfig
from hw.fp.function import TailFunction
from hw.pcu.layout import Initial
from hw.pcu.program import ProgramError, SystolicProgram
from hw.pcu.stage import BodyStage

__all__ = ["gemm", "tile_features"]


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
