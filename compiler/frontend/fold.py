"""Constant folding: a node whose inputs are all constants, or that only asks for a shape, evaluated by ONNX's reference."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from ..graph.ir import DType, GraphError, Node, Tensor
from .functions import node_proto
from .import_onnx import WITH_BODIES

__all__ = ["fold"]

LARGEST = 1 << 24        # elements; a larger constant is better computed on the device

RANDOM = ("Random", "Bernoulli", "Multinomial")


def fold(node: Node, tensors: dict[str, Tensor]) -> list[np.ndarray] | None:
    """Values of the node's outputs, or None if they are not constant."""
    inputs = [tensors[name] for name in node.inputs if name]
    if node.op in ("Shape", "Size"):
        return [_shape(node, inputs[0].shape)]
    if not all(tensor.is_constant for tensor in inputs) or node.op.startswith(RANDOM) or node.op in WITH_BODIES:
        return None
    version = node.attributes.values["opset"]
    if node.op in ("DequantizeLinear", "QuantizeLinear"):        # the same since opset 13; ONNX's reference begins with 19
        version = max(version, 19)
    opset = onnx.helper.make_opsetid("", version)
    values = {tensor.name: tensor.value for tensor in inputs}
    if node.op == "CumSum" and inputs[1].shape == (1,):          # exporters write the axis so; ONNX's reference wants a scalar
        values[inputs[1].name] = inputs[1].value.reshape(())
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            graph = onnx.helper.make_graph(
                [node_proto(node)], "constant", [onnx.helper.make_empty_tensor_value_info(name) for name in values],
                [onnx.helper.make_empty_tensor_value_info(name) for name in node.outputs])
            found = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=[opset])).run(None, values)
    except Exception as error:
        text = " ".join(str(error).split())
        raise GraphError(f"operator {node.op} of node {node.name!r}, of constants: {text[:200] or type(error).__name__}") from None
    return [_typed(node, np.asarray(value)) for value in found]


def _shape(node: Node, shape: tuple[int, ...]) -> np.ndarray:
    if node.op == "Size":
        return np.array(np.prod(shape), dtype=np.int64)
    values = node.attributes.values
    return np.array(shape[values.get("start", 0):values.get("end", len(shape))], dtype=np.int64)


def _typed(node: Node, value: np.ndarray) -> np.ndarray:
    if value.dtype in (np.float64, np.float16):
        value = value.astype(np.float32)
    if value.dtype not in {kind.numpy for kind in DType}:
        raise GraphError(f"operator {node.op} of node {node.name!r} makes a constant of type {value.dtype}; "
                         f"there are {', '.join(kind.value for kind in DType)}")
    if value.size > LARGEST:
        raise GraphError(f"operator {node.op} of node {node.name!r} makes a constant of {value.size} elements; at most {LARGEST}")
    return value
