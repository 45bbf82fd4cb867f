"""Quantised models: eight bits in both signs, per tensor and per channel, static and dynamic; and FP16. Against onnxruntime."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from compiler.frontend.front import front
from compiler.frontend.import_onnx import import_model
from compiler.frontend.inputs import checked
from compiler.graph.ir import DType, GraphError
from compiler.graph.reference import run
from models.oracle import answers

from .onnx_models import agree, model, one_node

RANDOM = np.random.default_rng(41)


def u8(*shape) -> np.ndarray:
    return RANDOM.integers(0, 256, shape).astype(np.uint8)


def i8(*shape) -> np.ndarray:
    return RANDOM.integers(-128, 128, shape).astype(np.int8)


def i7(*shape) -> np.ndarray:
    """Weights for unsigned eight bits: two products fit in 16 bits, where onnxruntime saturates on processors without VNNI."""
    return RANDOM.integers(-64, 64, shape).astype(np.int8)


def normal(*shape) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def real(value) -> np.ndarray:
    return np.array(value, np.float32)


PRODUCTS = {
    "constant weights, cut twice": ("MatMulInteger", {"a": u8(3, 600)}, {"b": u8(600, 5), "az": np.uint8(7), "bz": np.uint8(131)}, {}),
    "a zero point per column": ("MatMulInteger", {"a": u8(3, 40)}, {"b": i7(40, 5), "az": np.uint8(7), "bz": i8(5)}, {}),
    "two inputs": ("MatMulInteger", {"a": u8(2, 3, 300), "b": u8(300, 5)}, {}, {}),
    "convolution, channels cut": ("ConvInteger", {"a": u8(1, 70, 6, 6)}, {"b": u8(4, 70, 3, 3), "az": np.uint8(7)}, {"pads": [1, 1, 1, 1]}),
    "QLinearMatMul": ("QLinearMatMul", {"a": u8(3, 40)}, {
        "as": real(0.02), "az": np.uint8(120), "b": u8(40, 5), "bs": real(0.013), "bz": np.uint8(131),
        "ys": real(0.04), "yz": np.uint8(128)}, {}),
    "QLinearConv": ("QLinearConv", {"a": u8(1, 3, 6, 6)}, {
        "as": real(0.02), "az": np.uint8(120), "b": i7(4, 3, 3, 3), "bs": real([0.01, 0.02, 0.03, 0.005]), "bz": np.zeros(4, np.int8),
        "ys": real(0.2), "yz": np.uint8(128), "bias": np.array([100, -2000, 30, 4], np.int32)}, {}),
}


@pytest.mark.parametrize("case", PRODUCTS)
def test_products(case):
    op, inputs, constants, attributes = PRODUCTS[case]
    agree(one_node(op, inputs, constants, **attributes), inputs, tolerance=0)


@pytest.mark.parametrize("scale, zero, axis", [(real(0.02), np.uint8(100), 1), (real(0.05), np.int8(-3), 1),
                                               (real([0.02, 0.03, 0.5]), np.array([100, 0, 3], np.int8), 0)])
def test_there_and_back(scale, zero, axis):
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=axis),
             helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=axis)]
    inputs = {"x": np.concatenate([normal(3, 40) * 2, [[np.inf], [-np.inf], [1e30]]], axis=1).astype(np.float32)}
    agree(model(nodes, inputs, ["q", "y"], {"s": scale, "z": zero}), inputs, tolerance=1e-6)


@pytest.mark.parametrize("values", [normal(3, 40), np.abs(normal(3, 4)), np.zeros((2, 3), np.float32)])
def test_dynamic(values):
    """Also where there is no range at all."""
    nodes = [helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
             helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    agree(model(nodes, {"x": values}, ["y"]), {"x": values})


def test_eight_bits_are_moved_and_wrap():
    nodes = [helper.make_node("Transpose", ["x"], ["t"]), helper.make_node("Concat", ["t", "t"], ["c"], axis=0),
             helper.make_node("Gather", ["c", "i"], ["g"]), helper.make_node("Add", ["g", "g"], ["y"]),
             helper.make_node("Cast", ["g"], ["s"], to=TensorProto.INT8)]
    inputs = {"x": u8(2, 6)}
    made = model(nodes, inputs, ["y", "s"], {"i": np.array([1, 6])})
    core, expected = front(import_model(made)), answers(made, inputs)
    found = run(core, {"x": inputs["x"].astype(np.int32)})
    assert all((found[name] == expected[name]).all() for name in expected)
    with pytest.raises(GraphError, match=r"input 'x' holds -1 to -1, which UINT8 does not"):
        checked(import_model(made), {"x": np.full((2, 6), -1)})


def test_weights_of_four_bits():
    weights = helper.make_tensor("w", TensorProto.INT4, [4, 6], [-8, 7, 1] * 8)
    nodes = [helper.make_node("DequantizeLinear", ["w", "s"], ["d"]), helper.make_node("MatMul", ["x", "d"], ["y"])]
    inputs = {"x": normal(3, 4)}
    made = model(nodes[1:], inputs | {"d": normal(4, 6)}, ["y"], {"s": real(0.25)})
    del made.graph.input[1:]
    made.graph.node.insert(0, nodes[0])
    made.graph.initializer.append(weights)
    agree(made, inputs)


def test_fp16_is_computed_in_fp32():
    """Weights keep their values; nothing is rounded to FP16 in between."""
    inputs = {"x": normal(3, 8).astype(np.float16)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Cast", ["h"], ["f"], to=TensorProto.FLOAT),
             helper.make_node("Exp", ["f"], ["e"]), helper.make_node("Cast", ["e"], ["y"], to=TensorProto.FLOAT16)]
    weights = normal(8, 5).astype(np.float16)
    made = model(nodes, inputs, ["y"], {"w": weights})
    graph = import_model(made)
    assert graph["x"].dtype is DType.FP32
    found = run(front(graph), checked(graph, inputs))["y"]
    np.testing.assert_allclose(found, np.exp(inputs["x"].astype(np.float64) @ weights.astype(np.float64)), rtol=1e-5)
    np.testing.assert_allclose(found, answers(made, inputs)["y"], rtol=2e-2)
