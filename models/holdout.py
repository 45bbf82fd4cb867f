"""Models with which the compiler's prediction of time is judged: none of its constants was fitted to any of them.

Some are of other kinds than those of the zoo, some are the zoo's in other sizes. Weights are random, from fixed seeds.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from compiler.graph.builder import Builder, Value
from compiler.graph.ir import DType

from . import fft, gpt, plain, recurrent, training, vit
from .zoo import Entry

__all__ = ["HOLDOUT"]

Inputs = dict[str, np.ndarray]


class _Weights:
    """Random constants of a builder."""

    def __init__(self, b: Builder, seed: int):
        self.b, self.random, self.count = b, np.random.default_rng(seed), 0

    def __call__(self, *shape: int, scale: float | None = None, mean: float = 0.0) -> Value:
        self.count += 1
        scale = shape[0] ** -0.5 if scale is None else scale
        return self.b.constant(self.random.normal(mean, scale, shape), f"w{self.count}")

    def inputs(self, **shapes: tuple[int, ...]) -> Inputs:
        return {name: self.random.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()}


def _mixer(b: Builder, *, batch: int = 2, places: int = 16, width: int = 24, hidden: int = 48) -> Inputs:
    w = _Weights(b, 101)
    x = b.input("x", (batch, places, width))
    for _ in range(2):
        y = b.op("LayerNormalization", x, w(width, scale=0.1, mean=1), w(width, scale=0.1)).transpose(0, 2, 1)
        x = x + ((y @ w(places, hidden)).gelu() @ w(hidden, places)).transpose(0, 2, 1)
        y = b.op("LayerNormalization", x, w(width, scale=0.1, mean=1), w(width, scale=0.1))
        x = x + (y @ w(width, hidden)).gelu() @ w(hidden, width)
    b.output("y", x.mean(1, keepdims=False))
    return w.inputs(x=(batch, places, width))


def _residual_cnn(b: Builder, *, batch: int = 2, channels: int = 8) -> Inputs:
    w = _Weights(b, 102)
    x = b.input("x", (batch, 3, 8, 8))
    y = b.op("Conv", x, w(channels, 3, 3, 3, scale=0.2), w(channels, scale=0.1), pads=(1, 1, 1, 1)).relu()
    for _ in range(2):
        inner = b.op("Conv", y, w(channels, channels, 3, 3, scale=0.12), w(channels, scale=0.1), pads=(1, 1, 1, 1)).relu()
        y = (y + b.op("Conv", inner, w(channels, channels, 1, 1, scale=0.3), w(channels, scale=0.1))).relu()
    b.output("y", y.op("GlobalAveragePool").reshape(batch, channels) @ w(channels, 5))
    return w.inputs(x=(batch, 3, 8, 8))


def _autoencoder(b: Builder, *, batch: int = 24) -> Inputs:
    w = _Weights(b, 103)
    x = y = b.input("x", (batch, 96))
    for before, after in ((96, 40), (40, 12), (12, 40)):
        y = (y @ w(before, after) + w(after, scale=0.1)).tanh()
    y = (y @ w(40, 96) + w(96, scale=0.1)).sigmoid()
    b.output("y", y)
    b.output("error", ((y - x) ** 2.0).mean(1))
    return w.inputs(x=(batch, 96))


def _cross_attention(b: Builder, *, queries: int = 12, keys: int = 40, width: int = 32, heads: int = 4) -> Inputs:
    w, size = _Weights(b, 104), width // heads
    x, memory = b.input("x", (queries, width)), b.input("memory", (keys, width))
    q = (x @ w(width, width)).reshape(queries, heads, size).transpose(1, 0, 2)
    k = (memory @ w(width, width)).reshape(keys, heads, size).transpose(1, 2, 0)
    v = (memory @ w(width, width)).reshape(keys, heads, size).transpose(1, 0, 2)
    mixed = ((q @ k * size**-0.5).softmax() @ v).transpose(1, 0, 2).reshape(queries, width)
    b.output("y", x + mixed @ w(width, width))
    return w.inputs(x=(queries, width), memory=(keys, width))


def _gated(b: Builder, *, rows: int = 40, width: int = 56) -> Inputs:
    w = _Weights(b, 105)
    x = b.input("x", (rows, width))
    b.output("y", (x @ w(width, 88)).silu() * (x @ w(width, 88)) @ w(88, width) + x)
    return w.inputs(x=(rows, width))


def _gru(b: Builder, *, batch: int = 3, steps: int = 4, inputs: int = 12, hidden: int = 24) -> Inputs:
    w = _Weights(b, 106)
    x, state = b.input("x", (batch, steps, inputs)), b.input("state", (batch, hidden))
    weights, recurrent_, candidate = w(inputs, 3 * hidden), w(hidden, 2 * hidden), w(hidden, hidden)
    for step in range(steps):
        a, c, d = b.op("Split", x[:, step] @ weights, outputs=3, axis=1, num_outputs=3)
        e, f = b.op("Split", state @ recurrent_, outputs=2, axis=1, num_outputs=2)
        update, reset = (a + e).sigmoid(), (c + f).sigmoid()
        fresh = (d + (reset * state) @ candidate).tanh()
        state = fresh + update * (state - fresh)
    b.output("y", state)
    return w.inputs(x=(batch, steps, inputs), state=(batch, hidden))


def _statistics(b: Builder, *, rows: int = 96, columns: int = 72) -> Inputs:
    w = _Weights(b, 107)
    x = b.input("x", (rows, columns))
    centred = x - x.mean(1)
    deviation = ((centred * centred).mean(1) + 1e-3).sqrt()
    b.output("y", centred / deviation)
    b.output("spread", deviation)
    return w.inputs(x=(rows, columns))


def _attention_pool(b: Builder, *, rows: int = 64, width: int = 48) -> Inputs:
    w = _Weights(b, 108)
    x = b.input("x", (rows, width))
    weights = ((x @ w(width, 16)).tanh() @ w(16, 1)).softmax(0)
    b.output("y", (x * weights).sum(0))
    return w.inputs(x=(rows, width))


def _embedding(b: Builder, *, words: int = 20, width: int = 40) -> Inputs:
    w = _Weights(b, 109)
    words_ = b.input("words", (words,), DType.INT64)
    found = b.op("Gather", w(50, width, scale=1.0), words_)
    b.output("y", ((found.mean(0) @ w(width, 32)).relu() @ w(32, 6)).softmax())
    return {"words": np.random.default_rng(110).integers(0, 50, words)}


def _activations(b: Builder, *, rows: int = 80, columns: int = 120) -> Inputs:
    w = _Weights(b, 111)
    x = b.input("x", (rows, columns))
    b.output("first", x.gelu())
    b.output("second", (x * 0.5 + 1.0).sigmoid() * x.tanh())
    return w.inputs(x=(rows, columns))


def _wide(b: Builder, *, rows: int = 48, k: int = 64, n: int = 160) -> Inputs:
    w = _Weights(b, 112)
    x = b.input("x", (rows, k))
    b.output("y", (x @ w(k, n) + w(n, scale=0.1)).relu())
    return w.inputs(x=(rows, k))


def _entries() -> list[Entry]:
    small = gpt.Sizes(layers=1, vocabulary=48, width=48, heads=4, key_heads=4, hidden=96, positions=48)
    texts = [
        ("mixer", "MLP mixer, 2 blocks", _mixer),
        ("residual_cnn", "two residual blocks of convolutions", _residual_cnn),
        ("autoencoder", "96-40-12-40-96 with its error", _autoencoder),
        ("cross_attention", "4 heads, 12 queries, 40 keys", _cross_attention),
        ("gated", "SwiGLU 56-88-56", _gated),
        ("gru", "GRU cell, 4 steps", _gru),
        ("statistics", "rows less their mean, over their deviation", _statistics),
        ("attention_pool", "rows weighed by a softmax over them", _attention_pool),
        ("embedding", "bag of words", _embedding),
        ("activations", "gelu; sigmoid times tanh", _activations),
        ("wide", "one layer 64-160", _wide),
        ("gpt_prefill_wide", "one layer of width 48, 24 tokens", partial(gpt.prefill, sizes=small, tokens=24)),
        ("vit_wide", "one layer of width 48, one picture", partial(vit.vit, batch=1, width=48, heads=3, layers=1, hidden=80)),
        ("monarch_small", "16 x 16, 12 signals", partial(fft.monarch, batch=12, size=16)),
        ("lstm_wide", "3 steps, hidden size 32", partial(recurrent.lstm, batch=2, steps=3, hidden=32)),
        ("train_step_wide", "batch 24, hidden size 48", partial(training.step, batch=24, hidden=48)),
        ("axpy_small", "88 x 100", partial(plain.axpy, rows=88, columns=100)),
    ]
    made = [Entry(f"holdout_{name}", text, describe) for name, text, describe in texts]
    halves = [Entry(f"{each.name}_bf16", f"{each.text}, BF16", each.describe, DType.BF16) for each in made
              if each.name in ("holdout_mixer", "holdout_gated", "holdout_wide", "holdout_gpt_prefill_wide", "holdout_activations")]
    return [*made, *halves]


HOLDOUT = {each.name: each for each in _entries()}
