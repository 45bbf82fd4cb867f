"""A language expert: its tensors, and what the device computes from them, bit for bit.

The block is x + out([attention(norm x), swiglu(norm x)]): attention and SwiGLU beside each other (as in PaLM), four query heads
on one key head and one value head. Precision: BF16 weights, keys, values, probabilities and the inputs of products; FP32
residual stream and sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from coe_app.network import WeightFileError
from hw.fp import model as fp
from hw.fp.function import TailFunction
from hw.fp.tail_model import tail
from hw.pcu.operations import PARTIALS

from .shape import CONTEXT, DIM, EPSILON, HEAD_DIM, HEADS, HIDDEN, LAYERS, QKV, ROPE_BASE, VOCABULARY

__all__ = ["NORM_SCALE", "SCORE_LIMIT", "Expert", "KeyValues", "rotary_rows"]

SCORE_LIMIT = 60.0       # scores are cut to +-60 before the exponential, which then needs no maximum
NORM_SCALE = 8.0         # sqrt(DIM): the device's norm is x / sqrt(sum(x^2 + eps)); the factor lies, exactly, in the weights
SHAPES = {"embedding": (VOCABULARY, DIM), "head": (DIM, VOCABULARY)} | {
    f"{name}{layer}": shape for layer in range(LAYERS) for name, shape in (
        ("qkv", (DIM, QKV)), ("gate", (DIM, HIDDEN)), ("up", (DIM, HIDDEN)), ("out", (DIM + HIDDEN, DIM)))}


@cache
def rotary_rows() -> tuple[np.ndarray, np.ndarray]:
    """cos and sin as the device multiplies them, float32 [CONTEXT, QKV]: each feature's own factor and that of its partner, which
    lies half a head away. Values pass: cos 1, sin 0."""
    half = HEAD_DIM // 2
    angles = np.arange(CONTEXT)[:, None] * ROPE_BASE ** (-np.arange(half) / half)
    cos, sin = np.ones((CONTEXT, QKV)), np.zeros((CONTEXT, QKV))
    for head in range(HEADS + 1):
        first, second = slice(head * HEAD_DIM, head * HEAD_DIM + half), slice(head * HEAD_DIM + half, (head + 1) * HEAD_DIM)
        cos[:, first] = cos[:, second] = np.cos(angles)
        sin[:, first], sin[:, second] = -np.sin(angles), np.sin(angles)
    return cos.astype(np.float32), sin.astype(np.float32)


@dataclass
class KeyValues:
    """Keys and values of the positions so far, BF16 patterns [LAYERS, CONTEXT, HEAD_DIM]."""

    keys: np.ndarray
    values: np.ndarray
    length: int = 0

    @classmethod
    def empty(cls) -> KeyValues:
        return cls(*(np.zeros((LAYERS, CONTEXT, HEAD_DIM), dtype=np.uint16) for _ in range(2)))


@dataclass(frozen=True)
class Expert:
    """One expert. ``tensors``: BF16 patterns (uint16) by name; ``shape`` module for the sizes.

    ``perturbed``: not a trained expert but a copy of one with noise in the weights.
    """

    name: str
    tensors: dict[str, np.ndarray]
    perturbed: bool = False

    def __post_init__(self) -> None:
        for name, shape in SHAPES.items():
            value = self.tensors.get(name)
            if value is None or value.shape != shape or value.dtype != np.uint16:
                found = "missing" if value is None else f"{value.dtype}{list(value.shape)}"
                raise WeightFileError(f"expert {self.name!r}: {name} is {found}, expected uint16{list(shape)} (BF16 patterns)")

    def perturb(self, seed: int, amount: float = 0.02) -> Expert:
        """A copy with relative noise of ``amount`` in every weight, marked as such."""
        rng = np.random.default_rng(seed)
        noisy = {name: fp.fp32_to_bf16(fp.as_float(fp.bf16_to_fp32(value))
                                       * (1 + amount * rng.standard_normal(value.shape, dtype=np.float32)))
                 for name, value in self.tensors.items()}
        return Expert(f"{self.name}~{seed}", noisy, perturbed=True)

    def device_tensor(self, name: str) -> np.ndarray:
        """FP32 patterns of a tensor as the device holds it: the norm's factor in the products that follow a norm."""
        value = fp.bf16_to_fp32(self.tensors[name])
        return value if name.startswith(("embedding", "out")) else fp.to_bits(fp.as_float(value) * np.float32(NORM_SCALE))

    def logits(self, tokens: np.ndarray, state: KeyValues | None = None, lanes: int = 8) -> np.ndarray:
        """float32 [n, VOCABULARY]: what the kernels compute for ``tokens`` at the positions after ``state``, which is extended."""
        state = state or KeyValues.empty()
        first, count = state.length, len(tokens)
        if first + count > CONTEXT:
            raise ValueError(f"{first} + {count} positions exceed the context of {CONTEXT}")
        x = fp.bf16_to_fp32(self.tensors["embedding"][np.asarray(tokens)])
        for layer in range(LAYERS):
            x = self._layer(x, layer, state, lanes)
        state.length += count
        normed = _narrow(fp.fp32_mul(x, _norm_factor(x, lanes)[:, None]))
        return fp.as_float(_product(normed, self.device_tensor("head"), np.zeros((count, VOCABULARY), np.uint32)))

    def _layer(self, x: np.ndarray, layer: int, state: KeyValues, lanes: int) -> np.ndarray:
        count, first = len(x), state.length
        normed = _narrow(fp.fp32_mul(x, _norm_factor(x, lanes)[:, None]))
        qkv = _rotated(_product(normed, self.device_tensor(f"qkv{layer}"), np.zeros((count, QKV), np.uint32)), first)
        queries = qkv[:, :DIM].reshape(count, HEADS, HEAD_DIM)
        state.keys[layer, first:first + count] = qkv[:, DIM:DIM + HEAD_DIM]
        state.values[layer, first:first + count] = qkv[:, DIM + HEAD_DIM:]
        attended = _attention(queries, state.keys[layer], state.values[layer], first)
        zeros = np.zeros((count, HIDDEN), np.uint32)
        gate = tail(TailFunction.SILU, _product(normed, self.device_tensor(f"gate{layer}"), zeros))
        hidden = _narrow(fp.fp32_mul(gate, _product(normed, self.device_tensor(f"up{layer}"), zeros)))
        order = hidden_order(lanes)
        out = self.device_tensor(f"out{layer}")
        inputs = np.concatenate([hidden[:, order], fp.bf16_to_fp32(attended)], axis=1)
        return _product(inputs, np.concatenate([out[DIM:][order], out[:DIM]]), x)


def hidden_order(lanes: int) -> np.ndarray:
    """The order in which the hidden features are summed: blocks of a vector, alternating between the halves of the layer."""
    blocks = np.arange(HIDDEN).reshape(2, -1, lanes)
    return blocks.transpose(1, 0, 2).reshape(-1)


def _narrow(values: np.ndarray) -> np.ndarray:
    """FP32 patterns rounded to BF16."""
    return fp.bf16_to_fp32(fp.fp32_to_bf16(values))


def _product(x: np.ndarray, w: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """initial + x @ w on FP32 patterns, k ascending, two roundings a step."""
    sums = fp.as_float(initial).copy()
    x, w = fp.as_float(x), fp.as_float(w)
    for k in range(w.shape[0]):
        sums += x[:, k, None] * w[k]
    return sums.view(np.uint32)


def _norm_factor(x: np.ndarray, lanes: int) -> np.ndarray:
    """1 / sqrt(sum(x^2 + eps)) of each row: a tree over the lanes of each vector, vector i into partial sum i mod 4, then pairs."""
    terms = fp.as_float(fp.mac(np.float32(EPSILON), x, x)).reshape(len(x), -1, lanes)
    while terms.shape[-1] > 1:
        terms = terms[..., 0::2] + terms[..., 1::2]
    terms = terms[..., 0]
    partial = terms[:, :PARTIALS].copy()
    for start in range(PARTIALS, terms.shape[1], PARTIALS):
        partial += terms[:, start:start + PARTIALS]
    return tail(TailFunction.RSQRT, (partial[:, 0] + partial[:, 1]) + (partial[:, 2] + partial[:, 3]))


def _rotated(qkv: np.ndarray, first: int) -> np.ndarray:
    """BF16 patterns of queries, keys and values at positions ``first`` and following."""
    cos, sin = (table[first:first + len(qkv)] for table in rotary_rows())
    partner = qkv.reshape(len(qkv), -1, 2, HEAD_DIM // 2)[:, :, ::-1].reshape(qkv.shape)
    return fp.fp32_to_bf16(fp.mac(fp.fp32_mul(partner, sin), qkv, cos))


def _attention(queries: np.ndarray, keys: np.ndarray, values: np.ndarray, first: int) -> np.ndarray:
    """BF16 patterns [n, DIM] of softmax(q k) v over the positions up to each query's own."""
    count = len(queries)
    length = first + count
    keys, values = fp.bf16_to_fp32(keys[:length]), fp.bf16_to_fp32(values[:length])
    rows = fp.bf16_to_fp32(queries).reshape(count * HEADS, HEAD_DIM)
    scores = fp.as_float(_product(rows, np.ascontiguousarray(keys.T), np.zeros((len(rows), length), np.uint32)))
    scores = np.clip(scores, -np.float32(SCORE_LIMIT), np.float32(SCORE_LIMIT))
    seen = np.arange(length) <= np.repeat(first + np.arange(count), HEADS)[:, None]
    weights = np.where(seen, fp.as_float(tail(TailFunction.EXP, scores)), np.float32(0))
    weights = _narrow(fp.to_bits(weights))
    with_sum = np.concatenate([values, np.full((length, 1), 0x3F800000, np.uint32)], axis=1)
    sums = _product(weights, with_sum, np.zeros((len(rows), HEAD_DIM + 1), np.uint32))
    inverse = tail(TailFunction.RECIPROCAL, sums[:, HEAD_DIM])
    return fp.fp32_to_bf16(fp.fp32_mul(sums[:, :HEAD_DIM], inverse[:, None])).reshape(count, DIM)
