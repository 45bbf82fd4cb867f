"""Ready-made PCU programs for the operators of a neural network. Lengths are in elements of a row; the ragged rest is masked.

A row of ``n`` values is ``ceil(n / lanes)`` FP32 vectors (or half as many packed ones). In every SIMD program loop 0 runs over
the vectors of a row and loop 1 over the rows, so the arguments are ``bounds[0]``, ``bounds[1]`` and ``mask_bound`` (= n); constants
are arguments too. All take one vector a cycle. ``packed``: BF16 inputs; ``packed_output``: BF16 results.
"""

from .attention import causal_scale, dot_rows, rotary, weighted_sum
from .elementwise import (
    affine,
    convert,
    elementwise,
    gelu,
    maximum,
    minimum,
    multiply,
    residual_add,
    silu,
    subtract,
    unary,
)
from .gemm import gemm, tile_features
from .norm import layer_norm, normalise_scale, rms_reciprocal, sum_of_squares, variance_reciprocal
from .rows import argmax, row_max, row_mean, row_min, row_sum, scale, subtract_exp, sum_reciprocal

__all__ = [
    "affine", "argmax", "causal_scale", "convert", "dot_rows", "elementwise", "gelu", "gemm", "layer_norm", "maximum",
    "minimum", "multiply", "normalise_scale", "residual_add", "rms_reciprocal", "rotary", "row_max", "row_mean", "row_min",
    "row_sum", "scale", "silu", "subtract", "subtract_exp", "sum_of_squares", "sum_reciprocal", "tile_features", "unary",
    "variance_reciprocal", "weighted_sum",
]
