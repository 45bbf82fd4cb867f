"""Gelu, silu and sigmoid written out, found by what they compute: a chain of element-wise operators of one tensor and scalars is
evaluated at sample points and compared with the functions. So the order in which an exporter writes the factors does not matter.
"""

from __future__ import annotations

import numpy as np

from ..graph.ir import Graph, Node, Operator
from ..graph.reference import SCALAR, Function

__all__ = ["pointwise"]

F = Function
SAMPLES = np.linspace(-6.0, 6.0, 97) + 0.013
OPERATORS = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Neg": np.negative, "Exp": np.exp, "Tanh": np.tanh,
    "Reciprocal": np.reciprocal, "Sigmoid": SCALAR[F.SIGMOID], "Sqrt": np.sqrt, "Pow": np.power,
    "Erf": lambda x: (SCALAR[F.GELU](x * np.sqrt(2.0)) * 2.0) / (x * np.sqrt(2.0)) - 1.0,
}
# What is looked for around which operator, and what takes its place.
TARGETS = {
    "Erf": [("Gelu", 20, SCALAR[F.GELU])],
    "Sigmoid": [("Swish", 24, SCALAR[F.SILU])],
    "Exp": [("Swish", 24, SCALAR[F.SILU]), ("Sigmoid", 13, SCALAR[F.SIGMOID])],
}
FARTHEST = 4             # operators before the one looked around, and steps after it
TOLERANCE = 1e-6


def pointwise(graph: Graph) -> Graph:
    """The graph with these functions as one operator each; what they were made of is left dead."""
    producers, users = graph.producers(), graph.users()
    made: dict[str, Node] = {}
    for anchor in graph.nodes:
        for op, opset, function in TARGETS.get(anchor.op, ()):
            found = _find(graph, anchor, function, producers, users)
            if found is not None:
                root, last = found
                made[last.name] = Node(op, (root,), last.outputs, Operator({"opset": opset}), last.name)
                break
    return graph.with_nodes(made.get(node.name, node) for node in graph.nodes)


def _find(graph: Graph, anchor: Node, function, producers, users) -> tuple[str, Node] | None:
    """(tensor, node): the node computes ``function`` of the tensor, by way of ``anchor``."""
    expected, root = function(SAMPLES), anchor.inputs[0]
    for _ in range(FARTHEST):
        values = _spread(graph, root, users)
        after = _after(anchor, users)
        for node in reversed(after):
            found = values.get(node.output)
            if found is not None and graph[node.output].shape == graph[root].shape and np.allclose(found, expected, TOLERANCE, TOLERANCE):
                return root, node
        above = producers.get(root)
        varying = {name for name in above.inputs if not _scalar(graph, name)} if above and above.op in OPERATORS else set()
        if len(varying) != 1:
            return None
        [root] = varying
    return None


def _scalar(graph: Graph, name: str) -> bool:
    return graph[name].is_constant and graph[name].elements == 1


def _after(anchor: Node, users) -> list[Node]:
    """The anchor and what is reached from it in few steps."""
    found, layer = [anchor], [anchor]
    for _ in range(FARTHEST):
        layer = [node for each in layer for node in users[each.output] if node.op in OPERATORS]
        found += [node for node in layer if node not in found]
    return found


def _spread(graph: Graph, root: str, users) -> dict[str, np.ndarray]:
    """Values at the samples of all tensors that are functions of ``root`` and scalars alone, a few steps on."""
    values, layer = {root: SAMPLES}, [root]
    with np.errstate(all="ignore"):
        for _ in range(2 * FARTHEST):
            reached = [node for name in layer for node in users[name] if node.op in OPERATORS]
            layer = []
            for node in reached:
                if node.output in values or not all(name in values or _scalar(graph, name) for name in node.inputs):
                    continue
                operands = [values[name] if name in values else float(graph[name].value.item()) for name in node.inputs]
                values[node.output] = np.broadcast_to(OPERATORS[node.op](*operands), SAMPLES.shape)
                layer.append(node.output)
    return values
