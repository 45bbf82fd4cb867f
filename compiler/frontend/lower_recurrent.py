"""ONNX's LSTM, GRU and RNN, unrolled: the inputs' products for all steps at once, then one product with the state a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..graph.emit import Emitter
from ..graph.ir import Function
from .operators import Call, lowers

__all__: list[str] = []

F = Function


@dataclass(frozen=True)
class _Weights:
    """Of one direction: inputs' weights [I, gates H], the state's [H, gates H], and their biases [gates H]."""

    inputs: str
    state: str
    input_bias: str
    state_bias: str


def _weights(e: Emitter, call: Call, direction: int, gates: int, hidden: int) -> _Weights:
    def turned(number: int) -> str:
        one = e.slice(call[number], 0, direction, 1)
        return e.swap(e.reshape(one, e.shape(one)[1:]))

    size = gates * hidden
    if call.has(3):
        both = e.reshape(e.slice(call[3], 0, direction, 1), (2 * size,))
        biases = [e.slice(both, 0, start, size) for start in (0, size)]
    else:
        biases = [e.constant(np.zeros(size, e.dtype(call[0]).numpy))] * 2
    return _Weights(turned(1), turned(2), *biases)


def _lstm(e: Emitter, weights: _Weights, gates: str, states: list[str | None], hidden: int) -> list[str | None]:
    """The next output and cell from ``gates`` (inputs' part, with its bias), order input, output, forget, cell."""
    state, cell = states
    if state is not None:
        gates = e.map(lambda x, y: x + y, gates, e.matmul(state, weights.state))
    enter, leave, forget = (e.map(lambda x: x.apply(F.SIGMOID), e.slice(gates, 1, part * hidden, hidden)) for part in range(3))
    fresh = e.map(lambda x: x.apply(F.TANH), e.slice(gates, 1, 3 * hidden, hidden))
    cell = e.map(lambda x, y: x * y, enter, fresh) if cell is None else \
        e.map(lambda i, g, f, c: i * g + f * c, enter, fresh, forget, cell)
    return [e.map(lambda x, y: x * y, leave, e.map(lambda x: x.apply(F.TANH), cell)), cell]


def _gru(e: Emitter, weights: _Weights, gates: str, states: list[str | None], hidden: int, linear: bool) -> list[str | None]:
    """The next output, order update, reset, hidden; ``linear``: the reset gate multiplies the state's product, not the state."""
    state = states[0]
    if state is None:
        state = e.constant(np.zeros((e.shape(gates)[0], hidden), e.dtype(gates).numpy))

    def of(x: str, part: int) -> str:
        return e.slice(x, 1, part * hidden, hidden)

    def product(part: int, count: int, x: str) -> str:
        columns = e.slice(weights.state, 1, part * hidden, count * hidden)
        return e.matmul(x, columns, e.slice(weights.state_bias, 0, part * hidden, count * hidden))

    both = product(0, 2, state)
    update, reset = (e.map(lambda x, y: (x + y).apply(F.SIGMOID), of(gates, part), of(both, part)) for part in range(2))
    if linear:
        fresh = e.map(lambda x, r, y: (r.mac(y, x)).apply(F.TANH), of(gates, 2), reset, product(2, 1, state))
    else:
        fresh = e.map(lambda x, y: (x + y).apply(F.TANH), of(gates, 2), product(2, 1, e.map(lambda x, y: x * y, reset, state)))
    return [e.map(lambda z, h, n: z * (h - n) + n, update, state, fresh)]


def _rnn(e: Emitter, weights: _Weights, gates: str, states: list[str | None]) -> list[str | None]:
    """The next output of a layer without gates; ``gates`` holds both biases."""
    total = gates if states[0] is None else e.map(lambda x, y: x + y, gates, e.matmul(states[0], weights.state))
    return [e.map(lambda x: x.apply(F.TANH), total)]


@lowers("LSTM", "GRU", "RNN")
def _recurrent(e: Emitter, call: Call) -> list[str]:
    lstm, gru = call.node.op == "LSTM", call.node.op == "GRU"
    gates, hidden = {"LSTM": 4, "GRU": 3, "RNN": 1}[call.node.op], call.get("hidden_size")
    direction = call.get("direction", "forward")
    _refuse(call)
    steps, batch, width = call.shape(0)
    rows = e.reshape(call[0], (steps * batch, width))
    outputs, last = [], []
    for number, name in enumerate(("forward", "reverse") if direction == "bidirectional" else (direction,)):
        weights = _weights(e, call, number, gates, hidden)
        bias = weights.input_bias if gru else e.map(lambda x, y: x + y, weights.input_bias, weights.state_bias)
        known = [e.tensors[each].value for each in (weights.input_bias, weights.state_bias)]
        if not gru and all(value is not None for value in known):
            bias = e.constant((known[0] + known[1]).astype(known[0].dtype))
        ready = e.matmul(rows, weights.inputs, bias)
        states = [e.reshape(e.slice(call[place], 0, number, 1), (batch, hidden)) if call.has(place) else None
                  for place in ((5, 6) if lstm else (5,))]
        made: dict[int, str] = {}
        for step in reversed(range(steps)) if name == "reverse" else range(steps):
            now = e.slice(ready, 0, step * batch, batch)
            states = (_lstm(e, weights, now, states, hidden) if lstm else _rnn(e, weights, now, states) if not gru else
                      _gru(e, weights, now, states, hidden, bool(call.get("linear_before_reset", 0))))
            made[step] = states[0]
        outputs.append(e.concat([e.reshape(made[step], (1, 1, batch, hidden)) for step in range(steps)], 0))
        last.append(states)
    finals = [e.concat([e.reshape(states[place], (1, batch, hidden)) for states in last], 0) for place in range(len(last[0]))]
    return [e.concat(outputs, 1), *finals]


def _refuse(call: Call) -> None:
    if call.has(4):
        lengths = call.constant(4)
        if (lengths != call.shape(0)[0]).any():
            raise call.error("sequences of different lengths are not there")
    usual = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}[call.node.op]
    for name in ("clip", "layout", "input_forget"):
        if call.get(name, 0):
            raise call.error(f"{name}={call.get(name)} is not there")
    given = call.get("activations")
    if call.has(7) or (given and [*given] != usual * (len(given) // len(usual))):
        raise call.error("peepholes and other activations are not there")
