"""What onnxruntime says of a model; BF16 ones, of which its CPU has few operators, are run with the same numbers in FP32."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from compiler.graph.ir import DType

__all__ = ["answers", "widened"]

BF16 = DType.BF16.numpy


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """A BF16 model with the same numbers in FP32."""
    wide = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in wide.graph.initializer:
        if tensor.data_type == onnx.TensorProto.BFLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for value in (*wide.graph.input, *wide.graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.BFLOAT16:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    del wide.graph.value_info[:]
    return wide


def answers(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs by name. Its optimiser is off: it would quantise activations of models with quantised weights."""
    plain = onnxruntime.SessionOptions()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(widened(model).SerializeToString(), plain, providers=["CPUExecutionProvider"])
    wide = {name: value.astype(np.float32) if value.dtype == BF16 else value for name, value in inputs.items()}
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, wide), strict=True))
