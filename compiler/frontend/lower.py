"""Imported operators to core operators. The operators' lowerings are in the ``lower_*`` files, by kind."""

from __future__ import annotations

from ..graph.emit import Emitter
from ..graph.ir import Graph, GraphError, Tensor
from . import (
    lower_attention,
    lower_conv,
    lower_elementwise,
    lower_integer,
    lower_linear,
    lower_move,
    lower_quantised,
    lower_recurrent,
    lower_reduce,
    lower_resample,
    lower_trigonometry,
)
from .operators import EIGHT_BITS, LOWERINGS, Call, core_dtype, core_value

__all__ = ["lower"]

KINDS = (lower_attention, lower_conv, lower_elementwise, lower_integer, lower_linear, lower_move, lower_quantised, lower_recurrent,
         lower_reduce, lower_resample, lower_trigonometry)

ARITHMETIC = ("Abs", "Add", "BitwiseNot", "CumSum", "Mul", "Neg", "Pow", "ReduceSum", "Sub", "Sum")      # may leave eight bits


def lower(graph: Graph) -> Graph:
    """The core graph of an imported graph with shapes. INT64 and BOOL inputs and outputs become INT32."""
    emitter, names = Emitter(reserved={*graph.inputs, *graph.outputs}), {}
    for name in graph.inputs:
        tensor = graph[name]
        names[name] = emitter.input(Tensor(name, tensor.shape, core_dtype(tensor.dtype)))
    for node in graph.nodes:
        call = Call(graph, node, emitter, names)
        emitter.origin = node.name
        with emitter.inside(node.group):
            results = LOWERINGS[node.op](emitter, call)
        for number, (output, result) in enumerate(zip(node.outputs, [results] if isinstance(results, str) else results, strict=False)):
            if emitter.shape(result) != graph[output].shape:
                raise GraphError(f"operator {node.op} of node {node.name!r}: output {number} lowered to {emitter.tensors[result]}, "
                                 f"expected {graph[output]}")
            wraps = graph[output].dtype in EIGHT_BITS and node.op in ARITHMETIC
            names[output] = lower_elementwise.wrapped(emitter, result, graph[output].dtype) if wraps else result
    emitter.origin = ""
    for name in graph.outputs:
        if name not in names:
            names[name] = emitter.constant(core_value(graph[name]), name)
    return emitter.finish(graph.name, graph.inputs, {name: names[name] for name in graph.outputs})
