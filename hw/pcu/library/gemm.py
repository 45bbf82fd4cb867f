"""Matrix products."""

from __future__ import annotations

from hw.config import PCUConfig
from hw.fp.function import TailFunction
from hw.pcu.layout import Initial
from hw.pcu.program import ProgramError, SystolicProgram
from hw.pcu.stage import BodyStage

__all__ = ["gemm", "tile_features"]


def gemm(config: PCUConfig, *, rows: int, k: int, features: int, bias: bool = True, relu: bool = False,
         packed_output: bool = False, stages_per_row: int | None = None, **changes) -> SystolicProgram:
    """x[rows, k] @ w[k, features] (+ bias), packed BF16 operands, features in tiles of ``accumulators`` x lanes at most.

    Streams: vector 0: w, tile of columns by tile of columns, each [k, features of the tile]; vector 1: x, row-major, once;
    vector 2: bias, FP32. The decode interleaving: ``rows`` at most ``stages``. A tile has ``tile_features(config, features)``
    features, so ``features`` is a multiple of 2 x lanes.

    ``stages_per_row``: with 2 a step takes a whole weight vector, not half of one, but ``rows``, also as an argument, is at most ``stages``
    div 2. If not given: 2 where ``rows`` fits and that takes fewer steps. The streams are the same.
    """
    tile = tile_features(config, features) // config.lanes
    # With very few sums a row group without rows fills the time until a sum can be used again.
    groups = {shared: -(-BodyStage.reuse_distance * shared // tile) for shared in (1, 2)}
    if stages_per_row is None:
        fits = rows <= config.stages // 2 and not changes.keys() & {"groups", "feature_blocks", "packed_weights", "int8_weights"}
        stages_per_row = 2 if fits and groups[2] < 2 * groups[1] else 1
    return SystolicProgram(**{
        "k": k, "rows": rows, "feature_blocks": tile, "column_tiles": features // (tile * config.lanes), "reuse": True,
        "groups": groups.get(stages_per_row, 1), "stages_per_row": stages_per_row,
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
