"""Every operator, lowered to the core graph and run in float64, against onnxruntime."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from compiler.frontend.operators import LOWERINGS, supported

from .onnx_models import agree, model, one_node
from .test_operators_made_of_others import CASES as MADE_OF_OTHERS

RANDOM = np.random.default_rng(8)


def normal(*shape) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def ints(*values) -> np.ndarray:
    return np.array(values, dtype=np.int64)


X = {"x": normal(2, 3, 5)}
IMAGE = {"x": normal(2, 4, 7, 6)}
POSITIVE = {"x": np.abs(normal(2, 3, 5)) + 0.1}
TRUTH = {"a": RANDOM.random((2, 3)) < 0.5, "b": RANDOM.random((2, 3)) < 0.5}
PAIR = {"x": normal(2, 3, 5), "y": normal(3, 1)}

UNARY = ["Abs", "Ceil", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Neg", "Reciprocal", "Relu",
         "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Tanh", "Sin", "Cos", "Celu", "ThresholdedRelu", "Mish"]
CASES = {
    **{op: (op, X, {}, {}) for op in UNARY},
    "Round": ("Round", {"x": np.array([-2.5, -1.5, -0.4, 0.5, 1.5, 2.6], np.float32)}, {}, {}),
    "InstanceNormalization": ("InstanceNormalization", IMAGE, {"g": normal(4), "b": normal(4)}, {}),
    "GroupNormalization": ("GroupNormalization", IMAGE, {"g": normal(4), "b": normal(4)}, {"num_groups": 2}),
    "ReduceLogSumExp": ("ReduceLogSumExp", X, {"a": ints(0, 2)}, {}),
    "ReduceLogSum": ("ReduceLogSum", POSITIVE, {"a": ints(1)}, {"keepdims": 0}),
    "Sqrt": ("Sqrt", POSITIVE, {}, {}), "Log": ("Log", POSITIVE, {}, {}),
    "Gelu": ("Gelu", X, {}, {}), "Gelu tanh": ("Gelu", X, {}, {"approximate": "tanh"}),
    **{op: (op, PAIR, {}, {}) for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean", "PRelu")},
    "Div constant": ("Div", X, {"c": normal(5)}, {}), "Div scalar": ("Div", X, {"c": np.float32(3)}, {}),
    **{op: (op, {"x": PAIR["x"], "y": PAIR["x"].round(0)}, {}, {})
       for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")},
    **{op: (op, TRUTH, {}, {}) for op in ("And", "Or", "Xor")}, "Not": ("Not", {"a": TRUTH["a"]}, {}, {}),
    **{f"Pow {power}": ("Pow", POSITIVE, {"p": np.float32(power)}, {}) for power in (0, 1, 2, 3, 7, 0.5, -1, -0.5, -2, 2.5)},
    "Pow of tensors": ("Pow", POSITIVE | {"p": normal(5)}, {}, {}),
    "Where": ("Where", {"c": TRUTH["a"], "x": normal(2, 3), "y": normal(3)}, {}, {}),
    "Clip": ("Clip", X, {"low": np.float32(-0.5), "high": np.float32(1)}, {}),
    "Cast int": ("Cast", {"x": normal(3, 4) * 5}, {}, {"to": 7}), "Cast bool": ("Cast", {"x": normal(3, 4).round(0)}, {}, {"to": 9}),
    "Cast float": ("Cast", {"x": ints(3, -4)}, {}, {"to": 1}),
    "BatchNormalization": ("BatchNormalization", IMAGE, {"s": normal(4), "b": normal(4), "m": normal(4), "v": np.abs(normal(4))}, {}),
    "MatMul": ("MatMul", {"a": normal(2, 3, 5), "b": normal(5, 4)}, {}, {}),
    "MatMul batch": ("MatMul", {"a": normal(2, 1, 3, 5), "b": normal(4, 5, 2)}, {}, {}),
    "MatMul vector": ("MatMul", {"a": normal(5), "b": normal(2, 5, 3)}, {}, {}),
    "MatMul vectors": ("MatMul", {"a": normal(5), "b": normal(5)}, {}, {}),
    "Gemm": ("Gemm", {"a": normal(5, 3)}, {"b": normal(4, 5), "c": normal(4)}, {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
    "Gemm column": ("Gemm", {"a": normal(3, 5), "b": normal(5, 4), "c": normal(3, 1)}, {}, {"alpha": 1.5}),
    "Einsum": ("Einsum", {"a": normal(2, 3, 4, 5), "b": normal(2, 6, 4, 5)}, {}, {"equation": "bqhd,bkhd->bhqk"}),
    "Conv": ("Conv", IMAGE, {"w": normal(3, 4, 3, 2), "b": normal(3)}, {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]}),
    "Conv groups": ("Conv", IMAGE, {"w": normal(6, 2, 3, 3), "b": normal(6)}, {"group": 2, "auto_pad": "SAME_UPPER"}),
    "Conv depthwise": ("Conv", IMAGE, {"w": normal(4, 1, 3, 3)}, {"group": 4, "auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "Conv 1-D": ("Conv", X, {"w": normal(4, 3, 3)}, {"pads": [2, 0]}),
    "MaxPool": ("MaxPool", IMAGE, {}, {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
    "MaxPool ceil": ("MaxPool", IMAGE, {}, {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    "AveragePool": ("AveragePool", IMAGE, {}, {"kernel_shape": [2, 2], "strides": [2, 1]}),
    "AveragePool pads": ("AveragePool", IMAGE, {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "AveragePool counts": ("AveragePool", IMAGE, {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1,
                                                      "strides": [2, 2], "ceil_mode": 1}),
    "GlobalAveragePool": ("GlobalAveragePool", IMAGE, {}, {}), "GlobalMaxPool": ("GlobalMaxPool", IMAGE, {}, {}),
    **{op: (op, X, {"axes": ints(0, -1)}, {"keepdims": 0}) for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2",
                                                                      "ReduceL1", "ReduceSumSquare")},
    "ReduceMean all": ("ReduceMean", X, {}, {}),
    "Softmax": ("Softmax", X, {}, {"axis": 1}), "LogSoftmax": ("LogSoftmax", X, {}, {}),
    "LayerNormalization": ("LayerNormalization", X, {"g": normal(3, 5), "b": normal(3, 5)}, {"axis": 1}),
    "LayerNormalization plain": ("LayerNormalization", X, {"g": normal(5)}, {"epsilon": 0.1}),
    "ArgMax": ("ArgMax", X, {}, {"axis": 1}), "ArgMin": ("ArgMin", X, {}, {"axis": -1, "keepdims": 0}),
    "CumSum": ("CumSum", X, {"axis": np.int64(1)}, {"reverse": 1, "exclusive": 1}),
    "Transpose": ("Transpose", X, {}, {"perm": [2, 0, 1]}), "Transpose plain": ("Transpose", X, {}, {}),
    "Reshape": ("Reshape", X, {"s": ints(5, 0, -1)}, {}), "Flatten": ("Flatten", X, {}, {"axis": 2}),
    "Squeeze": ("Squeeze", {"x": normal(1, 3, 1)}, {"axes": ints(0)}, {}), "Unsqueeze": ("Unsqueeze", X, {"axes": ints(1, -1)}, {}),
    "Expand": ("Expand", {"x": normal(3, 1)}, {"s": ints(2, 1, 4)}, {}), "Tile": ("Tile", X, {"n": ints(2, 1, 3)}, {}),
    "Slice": ("Slice", X, {"s": ints(-1, 1), "e": ints(-100, 2**62), "a": ints(2, 1), "t": ints(-2, 1)}, {}),
    "Concat": ("Concat", {"x": normal(2, 3), "y": normal(2, 1)}, {}, {"axis": -1}),
    "Pad": ("Pad", X, {"p": ints(1, -1, 0, 0, 2, 1)}, {}), "Pad value": ("Pad", X, {"p": ints(0, 1, 2, 0, 0, 1), "v": np.float32(7)}, {}),
    "DepthToSpace": ("DepthToSpace", IMAGE, {}, {"blocksize": 2}),
    "DepthToSpace CRD": ("DepthToSpace", IMAGE, {}, {"blocksize": 2, "mode": "CRD"}),
    "SpaceToDepth": ("SpaceToDepth", {"x": normal(1, 2, 4, 6)}, {}, {"blocksize": 2}),
    "Resize": ("Resize", IMAGE, {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 3], np.float32)}, {}),
    "Resize floor": ("Resize", IMAGE, {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 1], np.float32)},
                     {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    "Trilu": ("Trilu", X, {"k": np.int64(1)}, {}), "Trilu lower": ("Trilu", X, {}, {"upper": 0}),
    "OneHot": ("OneHot", {"i": ints(1, 3, -1)}, {"d": np.int64(4), "v": np.array([0.5, 2], np.float32)}, {"axis": 0}),
    "Gather": ("Gather", X | {"i": np.array([[2, 0], [1, -1]])}, {}, {"axis": 1}),
    "Gather slice": ("Gather", X, {"i": ints(4, 2, 0)}, {"axis": 2}),
    "Gather rows": ("Gather", X, {"i": np.array([[2, 0, 0]])}, {"axis": 1}),
    "Gather one": ("Gather", X, {"i": np.int64(-1)}, {"axis": 1}),
    "GatherElements": ("GatherElements", {"x": normal(3, 4), "i": RANDOM.integers(-3, 3, (2, 4))}, {}, {"axis": 0}),
    "GatherND": ("GatherND", X | {"i": np.array([[1, 2], [0, -1]])}, {}, {}),
    "ScatterND": ("ScatterND", X | {"i": np.array([[1, 2], [0, 0]]), "u": normal(2, 5)}, {}, {}),
    "ScatterElements": ("ScatterElements", {"x": normal(3, 4), "i": np.array([[2, 0]]), "u": normal(1, 2)}, {}, {"axis": 1}),
    "DequantizeLinear": ("DequantizeLinear", {}, {"x": RANDOM.integers(-128, 127, (3, 4)).astype(np.int8), "s": np.abs(normal(4)),
                                                  "z": ints(0, 1, -3, 2).astype(np.int8)}, {"axis": 1}),
    "QuantizeLinear": ("QuantizeLinear", {"x": normal(5, 4) * 3}, {"s": np.abs(normal(4)) / 20, "z": ints(0, 1, -30, 2).astype(np.int8)},
                       {"axis": 1}),
    "QuantizeLinear, one scale": ("QuantizeLinear", {"x": normal(5, 4) * 9}, {"s": np.float32(0.05), "z": np.int8(0)}, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_operator(name):
    op, inputs, constants, attributes = CASES[name]
    agree(one_node(op, inputs, constants, **attributes), inputs)


def test_outputs_in_several_parts():
    agree(one_node("Split", X, {"s": ints(1, 2)}, outputs=2, axis=1), X)
    agree(one_node("TopK", X, {"k": ints(3)}, outputs=2), X)
    agree(one_node("TopK", X, {"k": ints(2)}, outputs=2, axis=1, largest=0), X)


@pytest.mark.parametrize("attributes, mask", [({}, None), ({"is_causal": 1}, None), ({"scale": 0.3}, "float"), ({}, "bool")])
def test_attention(attributes, mask):
    inputs = {"q": normal(2, 4, 3, 8), "k": normal(2, 2, 5, 8), "v": normal(2, 2, 5, 6)}
    if mask:
        inputs["m"] = normal(3, 5) if mask == "float" else np.tri(3, 5, 1, dtype=bool)
    agree(one_node("Attention", inputs, opset=23, **attributes), inputs)


def test_attention_with_cache():
    inputs = {"q": normal(1, 2, 24), "k": normal(1, 2, 12), "v": normal(1, 2, 12), "pk": normal(1, 2, 3, 6), "pv": normal(1, 2, 3, 6)}
    made = one_node("Attention", inputs, outputs=3, opset=23, order=["q", "k", "v", "", "pk", "pv"], q_num_heads=4, kv_num_heads=2)
    agree(made, inputs)


@pytest.mark.parametrize("attributes", [{}, {"interleaved": 1}, {"rotary_embedding_dim": 4}])
def test_rotary(attributes):
    half = 2 if "rotary_embedding_dim" in attributes else 4
    inputs = {"x": normal(2, 3, 5, 8), "c": normal(9, half), "s": normal(9, half), "p": RANDOM.integers(0, 9, (2, 5))}
    agree(one_node("RotaryEmbedding", inputs, opset=23, **attributes), inputs)


def test_cache_append_and_norm_of_later_opsets():
    inputs = {"past": normal(2, 3, 6, 4), "new": normal(2, 3, 2, 4), "at": ints(3, 1)}
    agree(one_node("TensorScatter", inputs, opset=24), inputs)
    agree(one_node("RMSNormalization", X, {"g": normal(5)}, opset=23), X)
    agree(one_node("Swish", X, opset=24), X)


def test_shapes_fold_away():
    nodes = [helper.make_node("Shape", ["x"], ["shape"]), helper.make_node("Gather", ["shape", "zero"], ["first"]),
             helper.make_node("Concat", ["first", "rest"], ["target"], axis=0), helper.make_node("Reshape", ["x", "target"], ["y"])]
    made = model(nodes, X, ["y"], {"zero": ints(0), "rest": ints(-1)})
    agree(made, X)


@pytest.mark.parametrize("op, gates, attributes", [("LSTM", 4, {}), ("LSTM", 4, {"direction": "bidirectional"}), ("GRU", 3, {}),
                                                   ("GRU", 3, {"linear_before_reset": 1, "direction": "reverse"})])
def test_recurrent(op, gates, attributes):
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    constants = {"w": normal(directions, gates * 6, 4), "r": normal(directions, gates * 6, 6), "b": normal(directions, 2 * gates * 6)}
    states = {"h": normal(directions, 2, 6)} | ({"c": normal(directions, 2, 6)} if op == "LSTM" else {})
    outputs = 3 if op == "LSTM" else 2
    inputs = {"x": normal(5, 2, 4)}
    agree(one_node(op, inputs, constants, outputs=outputs, hidden_size=6, **attributes), inputs)
    agree(one_node(op, inputs | states, constants, outputs=outputs, order=["x", "w", "r", "b", "", *states], hidden_size=6, **attributes),
          inputs | states)


TESTED_ELSEWHERE = {"LSTM", "GRU", "RNN",
                    "Attention", "RotaryEmbedding", "TensorScatter", "RMSNormalization", "Swish", "Split", "TopK", "Silu", "Dropout",
                    "DynamicQuantizeLinear"}


def test_none_is_forgotten():
    assert {op for op, *_ in (*CASES.values(), *MADE_OF_OTHERS.values())} | TESTED_ELSEWHERE >= set(LOWERINGS)


def test_the_documented_list_is_the_list():
    text = (Path(__file__).parents[2] / "docs" / "compiler.md").read_text()
    assert text.split("```text\n")[1].split("```")[0].split() == supported()
