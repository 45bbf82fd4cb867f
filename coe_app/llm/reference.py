"""The same experts in float64, without the device's roundings: the yardstick of the BF16 hardware model."""

from __future__ import annotations

import numpy as np

from hw.fp import model as fp

from .decoder import Expert
from .shape import CONTEXT, DIM, EPSILON, HEAD_DIM, HEADS, LAYERS, ROPE_BASE

__all__ = ["float_logits", "nats_per_token"]


def float_logits(tensors: dict[str, np.ndarray], tokens: np.ndarray) -> np.ndarray:
    """float64 [n, VOCABULARY] of a whole sequence; ``tensors`` are real numbers by name."""
    positions, half = np.arange(len(tokens)), HEAD_DIM // 2
    angles = positions[:, None] * ROPE_BASE ** (-np.arange(half) / half)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]

    def rotate(x):
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    def norm(x):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON)

    x = tensors["embedding"][tokens]
    for layer in range(LAYERS):
        y = norm(x)
        q, k, v = np.split(y @ tensors[f"qkv{layer}"], [DIM, DIM + HEAD_DIM], axis=-1)
        q, k = rotate(q.reshape(-1, HEADS, HEAD_DIM)), rotate(k[:, None])[:, 0]
        scores = np.einsum("nhd,td->hnt", q, k)
        scores = np.where(positions <= positions[:, None], scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        attended = np.einsum("hnt,td->nhd", weights, v).reshape(-1, DIM)
        gate = y @ tensors[f"gate{layer}"]
        hidden = gate / (1 + np.exp(-gate)) * (y @ tensors[f"up{layer}"])
        x = x + np.concatenate([attended, hidden], axis=-1) @ tensors[f"out{layer}"]
    return norm(x) @ tensors["head"]


def widened(expert: Expert) -> dict[str, np.ndarray]:
    """The expert's BF16 weights as float64."""
    return {name: fp.as_float(fp.bf16_to_fp32(value)).astype(np.float64) for name, value in expert.tensors.items()}


def nats_per_token(logits: np.ndarray, following: np.ndarray) -> float:
    """Mean negative log likelihood of ``following`` [n] under ``logits`` [n, VOCABULARY]."""
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return float(np.mean(np.log(np.exp(shifted).sum(-1)) - shifted[np.arange(len(following)), following]))


def held_out_windows(data: np.ndarray, count: int) -> np.ndarray:
    """[count, CONTEXT + 1] evenly spaced windows."""
    starts = np.linspace(0, len(data) - CONTEXT - 1, count).astype(int)
    return np.stack([data[start:start + CONTEXT + 1] for start in starts]).astype(np.int64)
