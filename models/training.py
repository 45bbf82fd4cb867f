"""One step of training as a graph: forward, backward, update."""

from __future__ import annotations

import numpy as np

from compiler.graph.builder import Builder

from .digits import WEIGHTS, pictures

__all__ = ["step"]


def step(b: Builder, *, batch: int = 16, hidden: int = 32, rate: float = 0.1) -> dict[str, np.ndarray]:
    """x, target (one-hot), w1, b1, w2, b2 -> the mean cross-entropy and the four updated tensors."""
    x, target = b.input("x", (batch, 64)), b.input("target", (batch, 10))
    shapes = {"w1": (64, hidden), "b1": (hidden,), "w2": (hidden, 10), "b2": (10,)}
    w = {name: b.input(name, shape) for name, shape in shapes.items()}

    before = x @ w["w1"] + w["b1"]
    inner = before.relu()
    logits = inner @ w["w2"] + w["b2"]
    logs = logits.op("LogSoftmax", axis=-1)
    b.output("loss", -(target * logs).sum(0, 1, keepdims=False) / float(batch))

    slope = (logs.exp() - target) / float(batch)
    through = slope @ w["w2"].transpose(1, 0)
    passed = b.op("Where", before > 0.0, through, b.constant(0.0))
    slopes = {"w2": inner.transpose(1, 0) @ slope, "b2": slope.sum(0, keepdims=False),
              "w1": x.transpose(1, 0) @ passed, "b1": passed.sum(0, keepdims=False)}
    for name in shapes:
        b.output(f"new_{name}", w[name] - slopes[name] * rate)

    random = np.random.default_rng(51)
    with np.load(WEIGHTS) as archive:
        digits = archive["held_out.digits"][:batch]
    inputs = {name: random.normal(0, 0.3 if name[0] == "w" else 0.0, shape).astype(np.float32) for name, shape in shapes.items()}
    return {"x": pictures(batch).reshape(batch, 64), "target": np.eye(10, dtype=np.float32)[digits]} | inputs
