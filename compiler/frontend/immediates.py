"""Constants of one element become part of the steps that use them: no unit loads them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..graph.ir import Argument, Core, DType, Graph, Map, Node, Step, Tensor

__all__ = ["immediates"]


def immediates(graph: Graph) -> Graph:
    """Every MAP whose inputs are constants of one element has them in its steps; at least one input stays."""
    return graph.with_nodes([_immediate(graph, node) if node.op is Core.MAP else node for node in graph.nodes])


def _immediate(graph: Graph, node: Node) -> Node:
    values = {place: value for place, name in enumerate(node.inputs) if (value := _value(graph[name])) is not None}
    left = [place for place in range(len(node.inputs)) if place not in values]
    if not values or not left:
        return node

    def new(argument: Argument) -> Argument:
        if argument.kind != "input":
            return argument
        return Argument("constant", values[argument.value]) if argument.value in values else Argument("input", left.index(argument.value))
    steps = tuple(Step(step.function, tuple(map(new, step.arguments))) for step in node.attributes.steps)
    return replace(node, inputs=tuple(node.inputs[place] for place in left), attributes=Map(steps))


def _value(tensor: Tensor) -> float | int | None:
    """The value of a constant of one element, as a step has it; None of anything else."""
    if not tensor.is_constant or tensor.elements != 1 or tensor.dtype not in (DType.FP32, DType.BF16, DType.INT32):
        return None
    value = tensor.value.item() if tensor.dtype is DType.INT32 else float(tensor.value.astype(np.float32).item())
    return None if value != value else value         # a NaN keeps its bits in memory
