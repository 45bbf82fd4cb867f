"""Nodes that stand for others: operators that ONNX defines by others (Shrink, CastLike, SoftmaxCrossEntropyLoss, ...), and an If whose
condition is known."""

from __future__ import annotations

import onnx

from ..graph.ir import GraphError, Node, Operator, Tensor
from .import_onnx import constant_of, import_node, onnx_type

__all__ = ["node_proto", "type_proto", "written_out"]


def written_out(node: Node, tensors: dict[str, Tensor]) -> list[Node] | None:
    """The nodes of the operator's definition, its constants put into ``tensors``; None if there is none."""
    opset = node.attributes.values["opset"]
    if node.op == "If":
        return _branch(node, tensors, opset)
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


def _branch(node: Node, tensors: dict[str, Tensor], opset: int) -> list[Node]:
    """The nodes of the branch that is taken; names of its own are put under the node's."""
    condition = tensors[node.inputs[0]].value
    if condition is None:
        raise GraphError(f"operator If of node {node.name!r}: its condition depends on values; control flow is not there")
    branch = node.attributes.values["then_branch" if condition.item() else "else_branch"]
    names = dict(zip((value.name for value in branch.output), node.outputs, strict=True))
    own = [name for each in branch.node for name in each.output if name]
    joined = [(name, output) for name, output in names.items() if name not in own]         # a tensor from outside, or a constant
    names = {name: output for name, output in names.items() if name in own}
    for name in (*own, *(each.name for each in branch.initializer)):
        names.setdefault(name, f"{node.name}/{name}")
    for each in branch.initializer:
        tensors[names[each.name]] = constant_of(names[each.name], each)
    nodes = []
    for number, each in enumerate(branch.node):
        renamed = onnx.NodeProto()
        renamed.CopyFrom(each)
        renamed.input[:] = [names.get(name, name) for name in each.input]
        renamed.output[:] = [names.get(name, name) for name in each.output]
        made = import_node(renamed, f"{node.name}/{each.name or each.op_type}_{number}", tensors, opset)
        nodes += [made] if made else []
    for name, output in joined:
        nodes.append(Node("Identity", (names.get(name, name),), (output,), Operator({"opset": opset}), f"{node.name}/{output}"))
    return nodes


def node_proto(node: Node) -> onnx.NodeProto:
    """The node as ONNX has it."""
    attributes = {key: value for key, value in node.attributes.values.items() if key != "opset"}
    return onnx.helper.make_node(node.op, node.inputs, node.outputs, node.name, **attributes)


def type_proto(tensor: Tensor) -> onnx.TypeProto:
    """A tensor's type and shape as ONNX has them."""
    return onnx.helper.make_tensor_type_proto(onnx_type(tensor.dtype), tensor.shape)
