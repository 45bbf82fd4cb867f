"""Small ONNX models for tests, and the comparison of the front half with onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from compiler.frontend.front import front
from compiler.frontend.import_onnx import import_model
from compiler.graph.reference import run
from models.oracle import answers

__all__ = ["agree", "model", "one_node"]


def model(nodes, inputs: dict[str, np.ndarray], outputs: list[str], constants: dict[str, np.ndarray] | None = None,
          opset: int = 21) -> onnx.ModelProto:
    """A checked model; inputs take shape and type from their arrays."""
    graph = helper.make_graph(
        nodes, "test", [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
                        for name, value in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    made = onnx.shape_inference.infer_shapes(made, strict_mode=True, data_prop=True)
    for output in made.graph.output:         # ONNX infers no shape for GroupNormalization and Loop
        if not output.type.tensor_type.HasField("shape"):
            output.type.CopyFrom(made.graph.input[0].type)
    onnx.checker.check_model(made)
    return made


def one_node(op: str, inputs: dict[str, np.ndarray], constants: dict[str, np.ndarray] | None = None, outputs: int = 1,
             opset: int = 21, order: list[str] | None = None, **attributes) -> onnx.ModelProto:
    """A model of one operator; ``order`` of its inputs, default inputs then constants."""
    names = [f"y{number}" for number in range(outputs)]
    node = helper.make_node(op, order or [*inputs, *(constants or {})], names, name="the_node", **attributes)
    return model([node], inputs, names, constants, opset)


def agree(made: onnx.ModelProto, inputs: dict[str, np.ndarray], tolerance: float = 2e-5, **options) -> dict[str, np.ndarray]:
    """Asserts that the core graph in float64 gives what onnxruntime gives; returns the former."""
    expected = answers(made, inputs)
    core = front(import_model(made, {name: value.shape for name, value in inputs.items()}), **options)
    found = run(core, inputs)
    for name, value in expected.items():
        assert found[name].shape == value.shape
        np.testing.assert_allclose(found[name], value, rtol=tolerance, atol=tolerance, err_msg=f"{name}\n{core.dump()}")
    return found
