"""A small decoder-only transformer (RMSNorm, rotary embedding, grouped heads, SwiGLU), as exporters write it out: prefill of a
prompt, and decoding of one token with a cache. Weights are random, from a fixed seed, and the same in both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiler.graph.builder import Builder, Value
from compiler.graph.ir import DType

__all__ = ["Sizes", "decode", "prefill"]


@dataclass(frozen=True)
class Sizes:
    """Sizes of the decoder."""

    layers: int = 2
    vocabulary: int = 64
    width: int = 32
    heads: int = 4
    key_heads: int = 2
    hidden: int = 64
    positions: int = 32

    @property
    def head(self) -> int:
        return self.width // self.heads


class _Decoder:
    """The parts that both graphs share."""

    def __init__(self, b: Builder, sizes: Sizes) -> None:
        self.b, self.sizes, self.random = b, sizes, np.random.default_rng(21)
        turns = np.outer(np.arange(sizes.positions), 10000.0 ** (-np.arange(sizes.head // 2) / (sizes.head // 2)))
        self.cosine, self.sine = np.cos(turns), np.sin(turns)

    def weights(self, rows: int, columns: int, name: str) -> Value:
        return self.b.constant(self.random.normal(0, rows**-0.5, (rows, columns)), name)

    def norm(self, x: Value, name: str) -> Value:
        """RMSNorm, written out as Pow, ReduceMean, Add, Sqrt, Div, Mul."""
        gain = self.b.constant(self.random.normal(1, 0.1, self.sizes.width), name)
        return x / ((x ** 2.0).mean(-1) + 1e-5).sqrt() * gain

    def rotated(self, x: Value, cosine: Value, sine: Value) -> Value:
        """The two halves of the last axis, turned."""
        first, second = self.b.op("Split", x, outputs=2, axis=-1, num_outputs=2)
        return (first * cosine - second * sine).concat(second * cosine + first * sine, axis=-1)

    def split_heads(self, x: Value, heads: int, tokens: int) -> Value:
        return x.reshape(1, tokens, heads, self.sizes.head).transpose(0, 2, 1, 3)

    def projections(self, x: Value, layer: int, tokens: int) -> tuple[Value, Value, Value]:
        """Queries, keys and values [1, heads, tokens, head]."""
        s = self.sizes
        return tuple(self.split_heads(x @ self.weights(s.width, heads * s.head, f"{name}{layer}"), heads, tokens)
                     for name, heads in (("wq", s.heads), ("wk", s.key_heads), ("wv", s.key_heads)))

    def attend(self, q: Value, k: Value, v: Value, mask: Value, layer: int, tokens: int) -> Value:
        """softmax(q k^T / sqrt(head) + mask) v, each key head serving several query heads, and the output projection."""
        s, length = self.sizes, self.length
        groups = s.heads // s.key_heads

        def repeated(x: Value) -> Value:
            wide = x.reshape(1, s.key_heads, 1, length, s.head).op("Expand", np.array([1, s.key_heads, groups, length, s.head]))
            return wide.reshape(1, s.heads, length, s.head)

        scores = q @ repeated(k).transpose(0, 1, 3, 2) * s.head**-0.5 + mask
        mixed = (scores.softmax() @ repeated(v)).transpose(0, 2, 1, 3).reshape(1, tokens, s.width)
        return mixed @ self.weights(s.width, s.width, f"wo{layer}")

    def feed_forward(self, x: Value, layer: int) -> Value:
        s = self.sizes
        gate = x @ self.weights(s.width, s.hidden, f"gate{layer}")
        return (gate.silu() * (x @ self.weights(s.width, s.hidden, f"up{layer}"))) @ self.weights(s.hidden, s.width, f"down{layer}")

    def embedded(self, tokens: Value) -> Value:
        table = self.b.constant(self.random.normal(0, 1, (self.sizes.vocabulary, self.sizes.width)), "embedding")
        return self.b.op("Gather", table, tokens)

    length = 0


def prefill(b: Builder, sizes: Sizes = Sizes(), tokens: int = 16) -> dict[str, np.ndarray]:
    """tokens[1, n] -> logits[1, n, vocabulary], and for each layer key and value [1, key heads, n, head]."""
    decoder = _Decoder(b, sizes)
    decoder.length = tokens
    x = decoder.embedded(b.input("tokens", (1, tokens), DType.INT64))
    mask = b.constant(np.where(np.tri(tokens), 0.0, -1e9), "mask")
    cosine, sine = b.constant(decoder.cosine[:tokens], "cosine"), b.constant(decoder.sine[:tokens], "sine")
    for layer in range(sizes.layers):
        with b.scope(f"layer{layer}"):
            q, k, v = decoder.projections(decoder.norm(x, f"norm_a{layer}"), layer, tokens)
            k = decoder.rotated(k, cosine, sine)
            x = x + decoder.attend(decoder.rotated(q, cosine, sine), k, v, mask, layer, tokens)
            x = x + decoder.feed_forward(decoder.norm(x, f"norm_f{layer}"), layer)
        b.output(f"key{layer}", k)
        b.output(f"value{layer}", v)
    b.output("logits", decoder.norm(x, "norm") @ decoder.weights(sizes.width, sizes.vocabulary, "head"))
    return {"tokens": np.random.default_rng(22).integers(0, sizes.vocabulary, (1, tokens))}


def decode(b: Builder, sizes: Sizes = Sizes()) -> dict[str, np.ndarray]:
    """token[1, 1], position[1], caches [1, key heads, positions, head] -> logits, and the caches with the token's key and value."""
    decoder = _Decoder(b, sizes)
    decoder.length = sizes.positions
    token, position = b.input("token", (1, 1), DType.INT64), b.input("position", (1,), DType.INT64)
    cache = (1, sizes.key_heads, sizes.positions, sizes.head)
    x = decoder.embedded(token)
    cosine = b.op("Gather", b.constant(decoder.cosine, "cosine"), position)
    sine = b.op("Gather", b.constant(decoder.sine, "sine"), position)
    seen = b.constant(np.arange(sizes.positions), "positions") <= position
    mask = b.op("Where", seen, b.constant(0.0), b.constant(-1e9))
    for layer in range(sizes.layers):
        past = [b.input(f"past_{name}{layer}", cache) for name in ("key", "value")]
        with b.scope(f"layer{layer}"):
            q, k, v = decoder.projections(decoder.norm(x, f"norm_a{layer}"), layer, 1)
            k = decoder.rotated(k, cosine, sine)
            k, v = (b.op("TensorScatter", old, new, position, axis=-2) for old, new in zip(past, (k, v), strict=True))
            x = x + decoder.attend(decoder.rotated(q, cosine, sine), k, v, mask, layer, 1)
            x = x + decoder.feed_forward(decoder.norm(x, f"norm_f{layer}"), layer)
        b.output(f"key{layer}", k)
        b.output(f"value{layer}", v)
    b.output("logits", decoder.norm(x, "norm") @ decoder.weights(sizes.width, sizes.vocabulary, "head"))
    random, filled = np.random.default_rng(23), 9
    inputs = {"token": np.array([[5]]), "position": np.array([filled])}
    for layer in range(sizes.layers):
        for name in ("key", "value"):
            values = random.normal(0, 1, cache).astype(np.float32)
            values[:, :, filled:] = 0
            inputs[f"past_{name}{layer}"] = values
    return inputs
