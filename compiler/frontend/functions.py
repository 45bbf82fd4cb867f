"""Nodes that stand for others: operators that ONNX defines by others (Shrink, CastLike, DynamicQuantizeLinear, ...), control flow
(control.py), and products of quantised numbers (quantised.py)."""

from __future__ import annotations

import onnx

from ..graph.ir import Node, Tensor
from . import control, quantised
from .import_onnx import import_node, onnx_type

__all__ = ["node_proto", "type_proto", "written_out"]


def written_out(node: Node, tensors: dict[str, Tensor]) -> list[Node] | None:
    """The nodes of the operator's definition, its constants put into ``tensors``; None if there is none."""
    opset = node.attributes.values["opset"]
    if node.op in control.CONTROL:
        return control.written_out(node, tensors)
    if node.op in quantised.QUANTISED:
        return [import_node(each, each.name, tensors, opset) for each in quantised.nodes_of(node, tensors)]
    schema = onnx.defs.get_schema(node.op, opset)
    if schema.has_context_dependent_function:
        types = [type_proto(tensors[name]).SerializeToString() if name else b"" for name in node.inputs]
        body = onnx.FunctionProto.FromString(schema.get_context_dependent_function(node_proto(node).SerializeToString(), types))
    elif schema.has_function:
        body = schema.function_body
    else:
        return None
    opset = next((each.version for each in body.opset_import if each.domain == ""), opset)
    given = {attribute.name: attribute for attribute in node_proto(node).attribute}
    defaults = {name: each.default_value for name, each in schema.attributes.items() if each.default_value.name}
    names = dict(zip(body.input, (*node.inputs, *("",) * len(body.input)), strict=False)) | {"": ""}
    names |= dict(zip(body.output, node.outputs, strict=False))
    nodes = []
    for number, each in enumerate(body.node):
        for name in each.output:
            names.setdefault(name, f"{node.name}/{name}")
        plain = onnx.NodeProto()
        plain.CopyFrom(each)
        del plain.input[:], plain.output[:], plain.attribute[:]
        plain.input.extend(names[name] for name in each.input)
        plain.output.extend(names[name] for name in each.output)
        for attribute in each.attribute:
            value = attribute
            if attribute.ref_attr_name:
                found = given.get(attribute.ref_attr_name) or defaults.get(attribute.ref_attr_name)
                if found is None:
                    continue
                value = onnx.AttributeProto()
                value.CopyFrom(found)
                value.name = attribute.name
            plain.attribute.append(value)
        made = import_node(plain, f"{node.name}/{each.op_type}_{number}", tensors, opset)
        nodes += [made] if made else []
    return nodes


def node_proto(node: Node) -> onnx.NodeProto:
    """The node as ONNX has it."""
    attributes = {key: value for key, value in node.attributes.values.items() if key != "opset"}
    return onnx.helper.make_node(node.op, node.inputs, node.outputs, node.name, **attributes)


def type_proto(tensor: Tensor) -> onnx.TypeProto:
    """A tensor's type and shape as ONNX has them."""
    return onnx.helper.make_tensor_type_proto(onnx_type(tensor.dtype), tensor.shape)
