"""Weights that are INT8 times a scale per column stay INT8 in memory: the PCU's header makes FP32 of them (docs/decisions/0005).

A constant that came from a DequantizeLinear knows its INT8 numbers and scales (:class:`~compiler.graph.ir.Quantised`). A MATMUL that has it
as columns reads those instead: (a, INT8[K, N], (bias,) scales[N]). Its weights are fp32(scale * q), as folding makes them: no bit changes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..graph.ir import Core, DType, Graph, Node, Quantised, Tensor

__all__ = ["as_floats", "forgotten", "is_int8", "quantised", "with_int8"]

LEAST = 1 << 10          # weights; fewer are not worth a stream of scales
WORD = 4                 # INT8 in a word: a row of weights is whole words
NUMBERS, SCALES = ":int8", ":scales"


def quantised(node: Node, tensors: dict[str, Tensor]) -> Quantised | None:
    """What a folded DequantizeLinear of FP32 is made of; None for other nodes, types, and zero points but 0."""
    if node.op != "DequantizeLinear" or tensors[node.inputs[0]].dtype is not DType.INT8 or node.attributes.values.get("block_size", 0):
        return None
    whole, scale = (tensors[name].value for name in node.inputs[:2])
    zero = tensors[node.inputs[2]].value if len(node.inputs) > 2 and node.inputs[2] else np.zeros(1, np.int8)
    if zero.any() or scale.dtype != np.float32:
        return None
    axis = node.attributes.values.get("axis", 1)
    if scale.size > 1:
        scale = scale.reshape([-1 if place == axis % whole.ndim else 1 for place in range(whole.ndim)])
    return Quantised(whole, np.broadcast_to(scale.reshape(scale.shape if scale.size > 1 else ()), whole.shape))


def is_int8(graph: Graph, node: Node) -> bool:
    """Whether a MATMUL has INT8 weights, and scales as its last input."""
    return node.op is Core.MATMUL and graph[node.inputs[1]].dtype is DType.INT8


def with_int8(graph: Graph) -> Graph:
    """The graph whose products read INT8 weights where they can."""
    tensors, nodes = dict(graph.tensors), []
    for node in graph.nodes:
        if node.op is Core.MATMUL and (parts := _parts(graph[node.inputs[1]])):
            tensors |= {part.name: part for part in parts}
            node = replace(node, inputs=(node.inputs[0], parts[0].name, *node.inputs[2:], parts[1].name))
        nodes.append(node)
    return graph.with_nodes(nodes, tensors)


def forgotten(graph: Graph) -> Graph:
    """The graph without knowledge of what its constants are made of."""
    return replace(graph, tensors={name: replace(tensor, quantised=None) for name, tensor in graph.tensors.items()})


def _parts(weights: Tensor) -> tuple[Tensor, Tensor] | None:
    """(INT8, scales) of a matrix of weights."""
    known = weights.quantised
    if known is None or len(weights.shape) != 2 or weights.elements < LEAST or weights.shape[1] % WORD or \
            (known.scale != known.scale[:1]).any():
        return None
    whole, scales = (np.ascontiguousarray(each) for each in (known.whole, known.scale[0]))
    return (Tensor(weights.name + NUMBERS, whole.shape, DType.INT8, whole),
            Tensor(weights.name + SCALES, scales.shape, DType.FP32, scales))


def as_floats(graph: Graph, name: str) -> Graph:
    """The graph whose products read the INT8 weights ``name`` as FP32 again."""
    tensors, nodes = dict(graph.tensors), []
    for node in graph.nodes:
        if node.op is Core.MATMUL and node.inputs[1] == name:
            value = graph[name].value.astype(np.float32) * graph[node.inputs[-1]].value
            tensors[name.removesuffix(NUMBERS)] = Tensor(name.removesuffix(NUMBERS), value.shape, DType.FP32, value)
            node = replace(node, inputs=(node.inputs[0], name.removesuffix(NUMBERS), *node.inputs[2:-1]))
        nodes.append(node)
    return graph.with_nodes(nodes, tensors)
