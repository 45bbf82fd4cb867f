"""Recurrent cells, unrolled in time. Weights are random, from a fixed seed."""

from __future__ import annotations

import numpy as np

from compiler.graph.builder import Builder

from .digits import pictures

__all__ = ["lstm", "mamba"]


def lstm(b: Builder, *, batch: int = 4, steps: int = 8, inputs: int = 8, hidden: int = 16) -> dict[str, np.ndarray]:
    """sequence[batch, steps, inputs] -> state[batch, hidden], cell[batch, hidden]: a picture's rows one after the other."""
    random = np.random.default_rng(11)
    x = b.input("sequence", (batch, steps, inputs))
    weights = b.constant(random.normal(0, 0.4, (inputs, 4 * hidden)), "input_weights")
    recurrent = b.constant(random.normal(0, 0.3, (hidden, 4 * hidden)), "recurrent_weights")
    bias = b.constant(random.normal(0, 0.1, 4 * hidden), "bias")
    state = cell = None
    for step in range(steps):
        with b.scope(f"step{step}"):
            gates = x[:, step] @ weights + bias
            gates = gates if state is None else gates + state @ recurrent
            enter, forget, candidate, leave = b.op("Split", gates, outputs=4, axis=1, num_outputs=4)
            fresh = enter.sigmoid() * candidate.tanh()
            cell = fresh if cell is None else forget.sigmoid() * cell + fresh
            state = leave.sigmoid() * cell.tanh()
    b.output("state", state)
    b.output("cell", cell)
    return {"sequence": pictures(batch)[:, :steps, :inputs]}


def mamba(b: Builder, *, batch: int = 2, steps: int = 6, width: int = 16, states: int = 8) -> dict[str, np.ndarray]:
    """sequence[batch, steps, width] -> y[batch, steps, width]: h = exp(d A) h + d B x, y = C h + D x, with d, B and C of x."""
    random = np.random.default_rng(12)
    x = b.input("sequence", (batch, steps, width))
    decay = b.constant(-np.exp(random.normal(0, 0.5, (width, states))), "A")
    skip = b.constant(random.normal(1, 0.1, width), "D")
    step_size = (x @ b.constant(random.normal(0, 0.3, (width, width)), "step_weights") + b.constant(np.full(width, -1.0), "step_bias"))
    step_size = step_size.op("Softplus")
    into = x @ b.constant(random.normal(0, 0.3, (width, states)), "B_weights")
    out = x @ b.constant(random.normal(0, 0.3, (width, states)), "C_weights")
    state, results = None, []
    for step in range(steps):
        with b.scope(f"step{step}"):
            size, now = step_size[:, step], x[:, step]
            drive = (size * now).reshape(batch, width, 1) * into[:, step].reshape(batch, 1, states)
            state = drive if state is None else (size.reshape(batch, width, 1) * decay).exp() * state + drive
            read = (state * out[:, step].reshape(batch, 1, states)).sum(2, keepdims=False)
            results.append((read + now * skip).reshape(batch, 1, width))
    b.output("y", results[0].concat(*results[1:], axis=1))
    return {"sequence": np.random.default_rng(13).normal(0, 1, (batch, steps, width)).astype(np.float32)}
