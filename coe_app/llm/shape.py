"""The size that all language experts share, chosen in whole vectors of the hardware."""

from __future__ import annotations

__all__ = ["CONTEXT", "DIM", "EPSILON", "HEADS", "HEAD_DIM", "HIDDEN", "LAYERS", "PARAMETERS", "QKV", "ROPE_BASE", "VOCABULARY"]

VOCABULARY = 256         # bytes
DIM = 64
HEADS, HEAD_DIM = 4, 16  # query heads; one key head and one value head serve them all
HIDDEN = 192             # of the SwiGLU
LAYERS = 2
CONTEXT = 128            # positions
ROPE_BASE = 10_000.0
EPSILON = 1e-5
QKV = DIM + 2 * HEAD_DIM
PARAMETERS = 2 * VOCABULARY * DIM + LAYERS * (DIM * (QKV + 2 * HIDDEN) + (DIM + HIDDEN) * DIM)     # embedding and head apart
