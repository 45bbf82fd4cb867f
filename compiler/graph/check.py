"""Consistency of a graph: names, order, and for core operators shapes and types."""

from __future__ import annotations

from math import prod

import numpy as np

from .ir import INTEGER_RESULT, Core, DType, Function, Graph, GraphError, Map, Node, Reduction, Tensor

__all__ = ["check", "step_is_integer"]


def check(graph: Graph) -> None:
    """Raises :class:`GraphError` for the first thing that is wrong, naming the node."""
    known = set(graph.inputs) | {tensor.name for tensor in graph.constants}
    viewed: set[str] = set()
    for tensor in graph.tensors.values():
        if tensor.is_constant and (tensor.value.shape != tensor.shape or tensor.value.dtype != tensor.dtype.numpy):
            raise GraphError(f"constant {tensor.name!r} is {tensor.value.dtype}{list(tensor.value.shape)}, declared {tensor}")
    for node in graph.nodes:
        for name in node.inputs:
            if name and name not in known:
                raise GraphError(f"node {node.name!r} reads {name!r}, which no earlier node makes")
        for name in node.outputs:
            if name in known:
                raise GraphError(f"node {node.name!r} makes {name!r} a second time")
            if name not in graph.tensors:
                raise GraphError(f"node {node.name!r} makes {name!r}, which is not declared")
            known.add(name)
        if isinstance(node.op, Core):
            if node.op is Core.VIEW and node.inputs[0] in viewed:
                raise GraphError(f"node {node.name!r} is a VIEW of the VIEW {node.inputs[0]!r}")
            if node.op is Core.VIEW:
                viewed.add(node.output)
            _check_core(graph, node)
    for name in graph.outputs:
        if name not in known:
            raise GraphError(f"output {name!r} is made by no node")


def _check_core(graph: Graph, node: Node) -> None:
    if any(graph[name].shape is None for name in (*node.inputs, *node.outputs)):
        raise GraphError(f"node {node.name!r}: a core operator needs known shapes")
    for name in (*node.inputs, *node.outputs):
        if not graph[name].dtype.is_core:
            raise GraphError(f"node {node.name!r}: {graph[name]} is not a type of core operators")
    inputs, output = [graph[name] for name in node.inputs], graph[node.output]
    problem = RULES[node.op](node, inputs, output)
    if problem:
        raise GraphError(f"node {node.name!r} ({node.op.value} {', '.join(map(str, inputs))} -> {output}): {problem}")


def _matmul(node: Node, inputs: list[Tensor], output: Tensor) -> str:
    a, b, *bias = inputs
    if b.dtype is DType.INT8:
        if not b.is_constant or len(b.shape) != 2 or not bias or bias.pop() != Tensor(inputs[-1].name, b.shape[-1:], DType.FP32):
            return "INT8 weights are a constant [K, N], with FP32 scales [N] as the last input"
        b = Tensor(b.name, b.shape, DType.FP32)
    if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-2]:
        return "inner dimensions differ"
    if not all(tensor.dtype.is_float for tensor in (a, b, *bias, output)):
        return "operands are FP32 or BF16"
    if bias and bias[0].shape != b.shape[-1:]:
        return f"the bias is [{b.shape[-1]}]"
    return _same(output, (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]))


def _map(node: Node, inputs: list[Tensor], output: Tensor) -> str:
    try:
        reached = np.broadcast_shapes(output.shape, *(tensor.shape for tensor in inputs))
    except ValueError:
        return "shapes do not broadcast"
    if not node.attributes.steps:
        return "no steps"
    for number, step in enumerate(node.attributes.steps):
        if len(step.arguments) != step.function.arity:
            return f"step {number}: {step.function.value} takes {step.function.arity} operands"
        for argument in step.arguments:
            limit = {"input": len(inputs), "step": number, "index": len(output.shape)}.get(argument.kind)
            if limit is not None and not 0 <= argument.value < limit:
                return f"step {number}: {argument} is not there"
    if step_is_integer(node.attributes, inputs, len(node.attributes.steps) - 1) == output.dtype.is_float:
        return "the last step's type is not the output's"
    return _same(output, reached)


def step_is_integer(attributes: Map, inputs: list[Tensor], number: int) -> bool:
    """Whether step ``number`` of a MAP gives an INT32 (else an FP32)."""
    step = attributes.steps[number]
    if step.function is not Function.SELECT:
        return step.function in INTEGER_RESULT
    for argument in step.arguments[:2]:
        if argument.kind == "input":
            return not inputs[argument.value].dtype.is_float
        if argument.kind == "step":
            return step_is_integer(attributes, inputs, argument.value)
        if argument.kind == "index":
            return True
    return isinstance(step.arguments[0].value, int)


def _reduce(node: Node, inputs: list[Tensor], output: Tensor) -> str:
    [x] = inputs
    if not x.shape or not x.dtype.is_float:
        return "reduces the last axis of an FP32 or BF16 tensor"
    if (node.attributes.kind is Reduction.ARGMAX) != (output.dtype is DType.INT32):
        return "only argmax gives, and gives only, INT32"
    return _same(output, (*x.shape[:-1], 1))


def _view(node: Node, inputs: list[Tensor], output: Tensor) -> str:
    [x], view = inputs, node.attributes
    extents = [(size - 1) * stride for size, stride in view.loops]
    low, high = (view.offset + sum(extent for extent in extents if (extent > 0) == up) for up in (False, True))
    if prod(view.shape) and not 0 <= low <= high < x.elements:
        return f"reaches elements {low} to {high} of {x.elements}"
    return _same(output, view.shape) or ("" if x.dtype is output.dtype else "types differ")


def _copy(node: Node, inputs: list[Tensor], output: Tensor) -> str:
    places = node.attributes.places
    if len(places) != len(inputs):
        return "one place per input"
    for number, (x, place) in enumerate(zip(inputs, places, strict=True)):
        if x.dtype is not output.dtype:
            return "types differ"
        if len(place.strides) != len(x.shape):
            return f"place {number}: as many strides as dimensions"
        last = place.offset + sum((size - 1) * stride for size, stride in zip(x.shape, place.strides, strict=True))
        if x.elements and not (min(place.strides, default=0) >= 0 and 0 <= place.offset <= last < output.elements):
            return f"place {number}: outside of the output"
    return ""


def _gather(node: Node, inputs: list[Tensor], output: Tensor) -> str:
    table, indices = inputs
    if indices.dtype is not DType.INT32 or not table.shape or table.dtype is not output.dtype:
        return "INT32 indices into the first axis of a table of the output's type"
    return _same(output, indices.shape + table.shape[1:])


def _update(node: Node, inputs: list[Tensor], output: Tensor) -> str:
    target, values, indices = inputs
    if indices.dtype is not DType.INT32 or len(indices.shape) != 1 or values.shape != indices.shape + target.shape[1:]:
        return "INT32 indices [M], values [M, ...] of the target's [N, ...]"
    if len({target.dtype, values.dtype, output.dtype}) > 1:
        return "types differ"
    return _same(output, target.shape)


def _same(output: Tensor, shape: tuple[int, ...]) -> str:
    return "" if output.shape == tuple(shape) else f"gives {list(shape)}"


RULES = {Core.MATMUL: _matmul, Core.MAP: _map, Core.REDUCE: _reduce, Core.VIEW: _view, Core.COPY: _copy, Core.GATHER: _gather,
         Core.UPDATE: _update}
