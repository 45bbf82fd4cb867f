"""Composites that exporters write out, found again in an imported graph: norms, gelu and silu, attention.

Norms and activations become the one operator that they are; attention stays as it is, and its nodes get a group.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..graph.ir import DType, Graph, Node, Operator, Tensor
from .activations import pointwise
from .clean import drop_dead
from .match import Anything, Matcher, Scalar, either

__all__ = ["recognise"]


def recognise(graph: Graph) -> Graph:
    """The graph with composites in place of what they were written out as."""
    return _attention(drop_dead(pointwise(_norms(graph))))


X = Anything("x")
EPSILON = Scalar("epsilon")


def _square(x):
    return either(("Mul", x, x), ("Pow", x, Scalar("two", 2.0)))


def _deviation(x):
    return ("Add", ("ReduceMean", _square(x)), EPSILON)


def _normalised(x):
    root = either(("Sqrt", _deviation(x)), ("Pow", _deviation(x), Scalar("half", 0.5)))
    inverse = either(("Reciprocal", root), ("Div", Scalar("one", 1.0), root), ("Pow", _deviation(x), Scalar("power", -0.5)),
                     ("Pow", root, Scalar("minus", -1.0)))
    return either(("Div", x, root), ("Mul", x, inverse))


RMS = _normalised(X)
LAYER = _normalised(("Sub", X, ("ReduceMean", X)))


def _norms(graph: Graph) -> Graph:
    matcher, users, made = Matcher(graph), graph.users(), {}
    tensors = dict(graph.tensors)
    for node in graph.nodes:
        if node.op not in ("Div", "Mul") or node.name in made:
            continue
        for op, pattern in (("LayerNormalization", LAYER), ("RMSNormalization", RMS)):
            found = matcher.match(node.output, pattern)
            if found is None or not _same_axes(graph, found):
                continue
            last, inputs = _with_gain(graph, node, users, found["x"], bias=op == "LayerNormalization")
            if op == "LayerNormalization" and len(inputs) == 1:
                ones = f"{node.name}.gain"
                shape = graph[found["x"]].shape[_axis(graph, found):]
                tensors[ones] = _ones(ones, shape, graph[found["x"]].dtype)
                inputs.append(ones)
            values = {"opset": 23, "axis": _axis(graph, found), "epsilon": float(graph[found["epsilon"]].value.item())}
            made[last.name] = Node(op, tuple(inputs), last.outputs, Operator(values), last.name)
            break
    return graph.with_nodes([made.get(node.name, node) for node in graph.nodes], tensors)


def _ones(name: str, shape: tuple[int, ...], kind: DType) -> Tensor:
    return Tensor(name, shape, kind, np.ones(shape, kind.numpy))


def _axes(graph: Graph, node: Node) -> list[int]:
    """Axes of a ReduceMean, not negative, sorted."""
    rank = len(graph[node.inputs[0]].shape)
    axes = node.attributes.values.get("axes")
    if axes is None:
        axes = graph[node.inputs[1]].value.reshape(-1).tolist() if len(node.inputs) > 1 else range(rank)
    return sorted(int(axis) % rank for axis in axes)


def _same_axes(graph: Graph, found: dict) -> bool:
    """Whether all means are over the same last axes, kept."""
    means = found["nodes"]["ReduceMean"]
    rank = len(graph[found["x"]].shape)
    axes = [_axes(graph, node) for node in means]
    return (all(each == axes[0] for each in axes) and axes[0] == list(range(axes[0][0], rank))
            and all(node.attributes.values.get("keepdims", 1) for node in means))


def _axis(graph: Graph, found: dict) -> int:
    return _axes(graph, found["nodes"]["ReduceMean"][0])[0]


def _with_gain(graph: Graph, node: Node, users, x: str, bias: bool) -> tuple[Node, list[str]]:
    """The node that ends the norm, and its inputs: x, then the gain (and bias) if a product (and sum) with constants follows."""
    inputs, last = [x], node
    for op in ("Mul", "Add") if bias else ("Mul",):
        following = users[last.output]
        if len(following) != 1 or following[0].op != op or last.output in graph.outputs:
            break
        others = [name for name in following[0].inputs if name != last.output]
        if len(others) != 1 or not graph[others[0]].is_constant or graph[following[0].output].shape != graph[x].shape:
            break
        inputs, last = [*inputs, others[0]], following[0]
    return last, inputs


PASSED = ("Add", "Mul", "Div", "Where", "Cast", "Sub", "Identity", "Dropout")


def _attention(graph: Graph) -> Graph:
    """Tags: product, scaling and mask, softmax, product."""
    producers, users, groups = graph.producers(), graph.users(), {}
    count = 0
    for node in graph.nodes:
        if node.op != "Softmax":
            continue
        scores, results = _backward(graph, node, producers), _forward(node, users)
        if scores and results:
            groups |= {each.name: f"attention#{count}" for each in (*scores, node, *results)}
            count += 1
    return graph.with_nodes(replace(node, group=groups.get(node.name, node.group)) for node in graph.nodes)


def _backward(graph: Graph, node: Node, producers: dict[str, Node]) -> list[Node]:
    """Nodes from the softmax back to the product of queries and keys."""
    found, shape = [], graph[node.output].shape
    while True:
        candidates = [producers[name] for name in node.inputs if name in producers and graph[name].shape == shape]
        product = next((each for each in candidates if each.op == "MatMul"), None)
        if product is not None:
            return [product, *found]
        node = next((each for each in candidates if each.op in PASSED), None)
        if node is None:
            return []
        found.append(node)


def _forward(node: Node, users: dict[str, list[Node]]) -> list[Node]:
    """Nodes from the softmax on to the product with the values."""
    found = []
    while True:
        following = users[node.output]
        if len(following) != 1 or following[0].op not in ("MatMul", "Cast", "Identity", "Dropout"):
            return []
        found.append(node := following[0])
        if node.op == "MatMul":
            return found
