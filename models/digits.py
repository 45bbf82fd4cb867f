"""Classifiers of the digits; their weights come from ``python -m models.train``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compiler.graph.builder import Builder
from compiler.graph.ir import DType

__all__ = ["WEIGHTS", "cnn", "mlp", "mlp_int8", "pictures"]

WEIGHTS = Path(__file__).parent / "digits.npz"


def _weights(model: str) -> dict[str, np.ndarray]:
    with np.load(WEIGHTS) as archive:
        return {name.split(".")[1]: archive[name].astype(np.float32) for name in archive.files if name.startswith(f"{model}.")}


def pictures(count: int) -> np.ndarray:
    """The first ``count`` held-out pictures, [count, 8, 8] float32 from 0 to 1."""
    with np.load(WEIGHTS) as archive:
        return archive["held_out.pictures"][:count].astype(np.float32) / 16


def mlp(b: Builder, count: int = 16) -> dict[str, np.ndarray]:
    """pictures[count, 64] -> probabilities[count, 10], digit[count]."""
    w = _weights("mlp")
    x = b.input("pictures", (count, 64))
    hidden = b.op("Gemm", x, b.constant(w["w1"], "w1"), b.constant(w["b1"], "b1")).relu()
    logits = b.op("Gemm", hidden, b.constant(w["w2"], "w2"), b.constant(w["b2"], "b2"))
    return _classified(b, logits, {"pictures": pictures(count).reshape(count, 64)})


def mlp_int8(b: Builder, count: int = 16) -> dict[str, np.ndarray]:
    """The same with INT8 weights, a scale per output."""
    w = _weights("mlp")
    x = b.input("pictures", (count, 64))

    def quantised(name: str):
        scale = np.abs(w[name]).max(axis=0) / 127
        return b.op("DequantizeLinear", b.constant(np.round(w[name] / scale).astype(np.int8), name), b.constant(scale, f"{name}.scale"),
                    axis=1)

    hidden = b.op("Gemm", x, quantised("w1"), b.constant(w["b1"], "b1")).relu()
    return _classified(b, b.op("Gemm", hidden, quantised("w2"), b.constant(w["b2"], "b2")),
                       {"pictures": pictures(count).reshape(count, 64)})


def cnn(b: Builder, count: int = 4) -> dict[str, np.ndarray]:
    """pictures[count, 1, 8, 8] -> probabilities[count, 10], digit[count]."""
    w = _weights("cnn")
    x = b.input("pictures", (count, 1, 8, 8))
    for layer in ("1", "2"):
        x = b.op("Conv", x, b.constant(w[f"k{layer}"], f"k{layer}"), b.constant(w[f"c{layer}"], f"c{layer}"), pads=(1, 1, 1, 1)).relu()
        x = b.op("MaxPool", x, kernel_shape=(2, 2), strides=(2, 2))
    logits = b.op("Gemm", x.op("Flatten"), b.constant(w["w"], "w"), b.constant(w["b"], "b"))
    return _classified(b, logits, {"pictures": pictures(count)[:, None]})


def _classified(b: Builder, logits, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    b.output("probabilities", logits.softmax())
    b.output("digit", logits.argmax(), DType.INT64)
    return inputs
