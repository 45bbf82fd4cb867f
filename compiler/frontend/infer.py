"""Shapes and types of an imported graph, by the operators' ONNX definitions; what depends on constants alone becomes a constant.

One walk does both, as shapes depend on constants (Reshape) and constants on shapes (Shape).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from ..graph.ir import DType, Graph, GraphError, Node, Tensor
from .fold import fold
from .functions import node_proto, type_proto, written_out
from .import_onnx import TYPES
from .int8 import quantised
from .operators import missing, supported

__all__ = ["infer"]

LARGEST_HINT = 1 << 12       # elements of a constant that shape inference may look at
POOLS, POOLS_OPSET = ("AveragePool", "MaxPool"), 22     # from there on no window lies in the padding alone, as exporters always meant it
SHAPE_OF_INPUT = ("GroupNormalization",)     # ONNX defines no inference for it


def infer(graph: Graph) -> Graph:
    """The graph with a shape and a type for every tensor.

    Operators that are not there and do not fold away, and free dimensions, are refused. A tensor without elements is a constant, whatever
    makes it; as an output of the graph it is refused.
    """
    tensors, nodes, lowered, todo = dict(graph.tensors), [], supported(), list(graph.nodes[::-1])
    while todo:
        node = todo.pop()
        values = fold(node, tensors)
        if values is None and node.op not in lowered:
            if (body := written_out(node, tensors)) is None:
                raise missing(node.op, node.name)
            todo += body[::-1]
            continue
        if values is None:
            made = _types(node, tensors)
            if not all(output.is_constant for output in made):
                nodes.append(node)
            tensors |= {output.name: output for output in made}
        else:
            for name, value in zip(node.outputs, values, strict=False):
                tensors[name] = Tensor(name, value.shape, DType.of(value), value, quantised(node, tensors))
    for name in graph.outputs:
        if not tensors[name].elements:
            raise GraphError(f"output {tensors[name]} is empty")
    return graph.with_nodes(nodes, tensors)


def _types(node: Node, tensors: dict[str, Tensor]) -> list[Tensor]:
    opset = node.attributes.values["opset"]
    if node.op in POOLS:
        opset = max(opset, POOLS_OPSET)
    types, data = {}, {}
    for name in node.inputs:
        if not name:
            continue
        tensor = tensors[name]
        types[name] = type_proto(tensor)
        if tensor.is_constant and tensor.elements <= LARGEST_HINT:
            data[name] = numpy_helper.from_array(tensor.value, name)
    try:
        schema = onnx.defs.get_schema(node.op, opset)
        found = onnx.shape_inference.infer_node_outputs(schema, node_proto(node), types, data,
                                                        opset_imports=[onnx.helper.make_opsetid("", opset)])
    except Exception as error:
        text = " ".join(str(error).split())
        raise GraphError(f"operator {node.op} of node {node.name!r}: {text}; its inputs are "
                         f"{', '.join(str(tensors[name]) for name in node.inputs if name)}") from None
    if node.op in SHAPE_OF_INPUT:
        first = tensors[node.inputs[0]]
        return [Tensor(node.outputs[0], first.shape, first.dtype)]
    return [_output(node, name, found) for name in node.outputs]


def _output(node: Node, name: str, found: dict[str, onnx.TypeProto]) -> Tensor:
    kind = found[name].tensor_type if name in found else None
    if kind is None or not kind.HasField("shape") or not all(axis.HasField("dim_value") for axis in kind.shape.dim):
        raise GraphError(f"operator {node.op} of node {node.name!r}: the shape of {name!r} depends on values that are not constant")
    shape = tuple(axis.dim_value for axis in kind.shape.dim)
    if kind.elem_type not in TYPES:
        raise GraphError(f"operator {node.op} of node {node.name!r} makes {name!r} of type "
                         f"{onnx.TensorProto.DataType.Name(kind.elem_type).lower()}; there are {', '.join(t.value for t in DType)}")
    made = TYPES[kind.elem_type]
    return Tensor(name, shape, made, np.zeros(shape, made.numpy) if 0 in shape else None)
