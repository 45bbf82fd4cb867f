"""Structural patterns over an imported graph: nested tuples (operator, operand, ...), products and sums in either order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..graph.ir import Graph, Node

__all__ = ["Anything", "Either", "Matcher", "Scalar", "either"]

COMMUTATIVE = ("Add", "Mul")


@dataclass(frozen=True)
class Anything:
    """Any tensor; the same one wherever the same name stands."""

    name: str


@dataclass(frozen=True)
class Scalar:
    """A constant of one element, of this value if one is given."""

    name: str
    value: float | None = None


@dataclass(frozen=True)
class Either:
    """Any of several patterns."""

    patterns: tuple


def either(*patterns) -> Either:
    return Either(patterns)


class Matcher:
    """Matches patterns against the tensors of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.producers = graph, graph.producers()

    def match(self, tensor: str, pattern) -> dict | None:
        """Names -> tensors, and "nodes": operator -> matched nodes; or None."""
        return next(self._all(tensor, pattern, {"nodes": {}}), None)

    def _all(self, tensor: str, pattern, bound: dict):
        if isinstance(pattern, Either):
            for each in pattern.patterns:
                yield from self._all(tensor, each, bound)
        elif isinstance(pattern, Anything):
            if bound.get(pattern.name, tensor) == tensor:
                yield bound | {pattern.name: tensor}
        elif isinstance(pattern, Scalar):
            value = self.graph[tensor].value if tensor else None
            if value is not None and value.size == 1 and (pattern.value is None or np.isclose(float(value.item()), pattern.value)):
                yield bound | {pattern.name: tensor}
        else:
            yield from self._node(self.producers.get(tensor), pattern, bound)

    def _node(self, node: Node | None, pattern: tuple, bound: dict):
        op, *operands = pattern
        if node is None or node.op != op or len(node.inputs) < len(operands):
            return
        nodes = bound["nodes"]
        found = bound | {"nodes": nodes | {op: [*nodes.get(op, []), node]}}
        orders = [node.inputs[:len(operands)]]
        if op in COMMUTATIVE and len(operands) == 2:
            orders.append(orders[0][::-1])
        for order in orders:
            yield from self._operands(list(zip(order, operands, strict=True)), found)

    def _operands(self, pairs: list, bound: dict):
        if not pairs:
            yield bound
            return
        for found in self._all(*pairs[0], bound):
            yield from self._operands(pairs[1:], found)
