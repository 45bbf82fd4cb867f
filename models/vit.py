"""A small vision transformer: patches by a convolution, LayerNorm, attention, Gelu. Weights are random, from a fixed seed."""

from __future__ import annotations

import numpy as np

from compiler.graph.builder import Builder

from .digits import pictures

__all__ = ["vit"]


def vit(b: Builder, *, batch: int = 2, width: int = 32, heads: int = 2, layers: int = 2, hidden: int = 64) -> dict[str, np.ndarray]:
    """pictures[batch, 1, 8, 8] -> logits[batch, 10]; 16 patches of 2 x 2."""
    random = np.random.default_rng(31)

    def weights(*shape: int, name: str):
        return b.constant(random.normal(0, shape[0]**-0.5, shape), name)

    def norm(x, name: str):
        return b.op("LayerNormalization", x, b.constant(random.normal(1, 0.1, width), f"{name}.gain"),
                    b.constant(random.normal(0, 0.1, width), f"{name}.bias"))

    patches = 16
    picture = b.input("pictures", (batch, 1, 8, 8))
    x = b.op("Conv", picture, b.constant(random.normal(0, 0.5, (width, 1, 2, 2)), "patch"), strides=(2, 2))
    x = x.reshape(batch, width, patches).transpose(0, 2, 1) + weights(patches, width, name="places")
    for layer in range(layers):
        with b.scope(f"layer{layer}"):
            three = norm(x, f"norm_a{layer}") @ weights(width, 3 * width, name=f"qkv{layer}")
            q, k, v = (part.op("Squeeze", np.array([2])) for part in b.op(
                "Split", three.reshape(batch, patches, 3, heads, width // heads), outputs=3, axis=2, num_outputs=3))
            scores = (q.transpose(0, 2, 1, 3) @ k.transpose(0, 2, 3, 1) / float((width // heads)**0.5)).softmax()
            mixed = (scores @ v.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3).reshape(batch, patches, width)
            x = x + mixed @ weights(width, width, name=f"out{layer}")
            inner = (norm(x, f"norm_f{layer}") @ weights(width, hidden, name=f"up{layer}") + weights(hidden, name=f"bias{layer}")).gelu()
            x = x + inner @ weights(hidden, width, name=f"down{layer}")
    b.output("logits", norm(x, "norm").mean(1, keepdims=False) @ weights(width, 10, name="head"))
    return {"pictures": pictures(batch)[:, None]}
