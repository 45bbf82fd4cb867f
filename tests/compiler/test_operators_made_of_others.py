"""Operators made of several core nodes: integers, resampling, einsum, functions that ONNX defines by others; against onnxruntime."""

import numpy as np
import pytest

from compiler.frontend.front import front
from compiler.frontend.import_onnx import import_model
from compiler.graph.ir import GraphError

from .onnx_models import agree, one_node

RANDOM = np.random.default_rng(18)


def normal(*shape) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def ints(*values) -> np.ndarray:
    return np.array(values, dtype=np.int64)


IMAGE = {"x": normal(2, 4, 5, 6)}
WIDE = RANDOM.integers(-2**31, 2**31, (40, 50)).astype(np.int32)
BELOW = np.where(RANDOM.random((40, 50)) < 0.5, RANDOM.integers(1, 99, (40, 50)), WIDE[::-1]).astype(np.int32)
PAIR = {"x": WIDE, "y": np.where(BELOW == 0, 1, BELOW)}
SUMMED = {"x": (WIDE // 64).astype(np.int32)}
FRACTION = {"x": RANDOM.uniform(-0.99, 0.99, (3, 40)).astype(np.float32)}
ANGLES = {"x": np.concatenate([normal(40) * 3, [0, 1, -1, 1e-6]]).astype(np.float32)}
SPECIAL = {"x": np.array([1, np.nan, np.inf, -np.inf, 0], np.float32)}
EVERY_KIND = np.array([1, np.nan, np.inf, -np.inf, 0, 2.5, -2.5, 3e38, -3e9, 8388607.5, -8388609], np.float32)
INFINITE_ROWS = np.array([[np.nan, 1, 2], [np.inf, 1, 2], [-np.inf, -np.inf, -np.inf], [-np.inf, 1, 88]], np.float32)
NO_REGION = np.zeros(0, np.float32)

CASES = {
    **{op: (op, ANGLES, {}, {}) for op in ("Tan", "Atan", "Sinh", "Cosh", "Asinh")},
    **{op: (op, FRACTION, {}, {}) for op in ("Asin", "Acos", "Atanh")}, "Acosh": ("Acosh", {"x": np.abs(normal(9)) + 1}, {}, {}),
    "Atan of infinities": ("Atan", {"x": SPECIAL["x"][2:]}, {}, {}),
    "IsNaN": ("IsNaN", SPECIAL, {}, {}), "IsInf": ("IsInf", SPECIAL, {}, {}),
    **{f"{op} of infinities": (op, {"x": EVERY_KIND}, {}, {}) for op in ("Floor", "Ceil", "Round", "Sign", "Erf")},
    "ReduceLogSumExp of infinities": ("ReduceLogSumExp", {"x": INFINITE_ROWS}, {"a": ints(1)}, {}),
    "IsInf negative": ("IsInf", SPECIAL, {}, {"detect_positive": 0}),
    "Div": ("Div", PAIR, {}, {}), "Mod": ("Mod", PAIR, {}, {}), "Mod of C": ("Mod", PAIR, {}, {"fmod": 1}),
    "Mod of floats": ("Mod", {"x": normal(4, 5) * 5, "y": normal(5) + 3}, {}, {"fmod": 1}),
    **{op: (op, PAIR, {}, {}) for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")}, "BitwiseNot": ("BitwiseNot", SUMMED, {}, {}),
    **{f"{op} of integers": (op, SUMMED, {"a": ints(1)}, {"keepdims": 0}) for op in ("ReduceSum", "ReduceMax", "ReduceMin")},
    "ArgMax of integers": ("ArgMax", {"x": WIDE}, {}, {"axis": 0}), "ArgMin of integers": ("ArgMin", {"x": WIDE // 2**28}, {}, {"axis": 1}),
    "CumSum of integers": ("CumSum", SUMMED, {"a": ints(0)}, {"exclusive": 1}),
    "ReduceProd": ("ReduceProd", {"x": normal(3, 7, 2)}, {"a": ints(1)}, {}), "ReduceProd all": ("ReduceProd", IMAGE, {}, {"keepdims": 0}),
    "Hardmax": ("Hardmax", IMAGE, {}, {"axis": 1}),
    "LpNormalization": ("LpNormalization", IMAGE, {}, {}), "LpNormalization 1": ("LpNormalization", IMAGE, {}, {"p": 1, "axis": 2}),
    "LRN": ("LRN", {"x": normal(2, 7, 3, 4)}, {}, {"size": 3, "alpha": 0.3, "beta": 0.6}),
    **{f"Pad {mode}": ("Pad", IMAGE, {"p": ints(0, -1, 2, 3, 0, 2, -1, 4)}, {"mode": mode}) for mode in ("reflect", "edge", "wrap")},
    **{f"Resize {mode} {transform}": ("Resize", IMAGE, {"r": NO_REGION, "s": np.array([1, 1, 1.6, 0.7], np.float32)},
                                      {"mode": mode, "coordinate_transformation_mode": transform})
       for mode in ("nearest", "linear", "cubic") for transform in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")},
    "Resize to one": ("Resize", {"x": normal(1, 2, 5, 2)}, {"r": NO_REGION, "s": np.array([1, 1, 1, 0.75], np.float32)},
                      {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}),
    "MaxPool without empty windows": ("MaxPool", {"x": normal(1, 1, 2, 5)}, {}, {"kernel_shape": [2, 2], "strides": [2, 2],
                                                                              "pads": [0, 1, 0, 1], "ceil_mode": 1}),
    "AveragePool without empty windows": ("AveragePool", {"x": normal(1, 1, 3, 6)}, {}, {"kernel_shape": [2, 2], "strides": [3, 3],
                                                                                      "pads": [0, 1, 1, 1], "ceil_mode": 1}),
    "Resize to sizes": ("Resize", IMAGE, {"r": NO_REGION, "s": NO_REGION, "z": ints(2, 4, 7, 3)}, {"mode": "linear"}),
    **{f"ConvTranspose {number}": ("ConvTranspose", IMAGE, {"w": normal(4, 3, 3, 3), "b": normal(3 * attributes.get("group", 1))},
                                  attributes)
       for number, attributes in enumerate([
           {}, {"strides": [3, 3]}, {"strides": [2, 3], "pads": [1, 1, 1, 1], "output_padding": [1, 2]}, {"group": 2, "strides": [2, 2]},
           {"strides": [2, 2], "pads": [1, 0, 2, 1], "dilations": [2, 1]}, {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
           {"strides": [2, 2], "auto_pad": "SAME_LOWER"}, {"strides": [3, 2], "output_shape": [15, 13]}, {"pads": [2, 2, 2, 2]}])},
    "ConvTranspose 1-D": ("ConvTranspose", {"x": normal(2, 4, 7)}, {"w": normal(4, 3, 5)}, {"strides": [3], "pads": [2, 1]}),
    "Conv 3-D": ("Conv", {"x": normal(2, 3, 4, 5, 6)}, {"w": normal(4, 3, 2, 3, 2)}, {"pads": [0, 1, 1, 0, 1, 0]}),
    "ScatterND adds": ("ScatterND", {"x": normal(5, 4), "i": np.array([[3], [1], [3], [-1]]), "u": normal(4, 4)}, {}, {"reduction": "add"}),
    "ScatterElements adds": ("ScatterElements", {"x": normal(5, 4), "i": np.array([[3, 1], [0, -1], [3, 3]]), "u": normal(3, 2)}, {},
                             {"reduction": "add", "axis": 1}),
    "Clip to inputs": ("Clip", IMAGE | {"low": np.array(-0.3, np.float32), "high": np.array(0.5, np.float32)}, {}, {}),
    "BatchNormalization by inputs": ("BatchNormalization", IMAGE | {"s": normal(4), "b": normal(4), "m": normal(4), "v": normal(4)**2},
                                     {}, {}),
    "Shrink": ("Shrink", IMAGE, {}, {"lambd": 0.3, "bias": 0.1}), "CastLike": ("CastLike", IMAGE | {"y": ints(1)}, {}, {}),
    "MeanVarianceNormalization": ("MeanVarianceNormalization", IMAGE, {}, {"axes": [0, 2, 3]}),
    "CenterCropPad": ("CenterCropPad", {"x": normal(5, 7)}, {"s": ints(3, 9)}, {}),
    "SoftmaxCrossEntropyLoss": ("SoftmaxCrossEntropyLoss", {"x": normal(5, 7), "l": ints(1, 6, 0, 3, 3)}, {}, {}),
}
EQUATIONS = {"bhid->bhi": [(2, 3, 4, 5)], "ii->i": [(4, 4)], "ij->": [(3, 4)], "...ij,...jk->...ik": [(2, 3, 4, 5), (2, 3, 5, 2)],
             "ij,jk": [(3, 4), (4, 5)], "i,j->ij": [(3,), (4,)], "bi,ij,bj->b": [(2, 3), (3, 4), (2, 4)], "ij,ij->ij": [(3, 4), (3, 4)],
             "abc,cd,def->abef": [(2, 3, 4), (4, 5), (5, 2, 3)], "...d,d->...": [(2, 3, 4), (4,)]}


@pytest.mark.parametrize("name", CASES)
def test_operator(name):
    op, inputs, constants, attributes = CASES[name]
    agree(one_node(op, inputs, constants, **attributes), inputs)


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(equation):
    inputs = {f"x{number}": normal(*shape) for number, shape in enumerate(EQUATIONS[equation])}
    agree(one_node("Einsum", inputs, equation=equation), inputs)


def test_batch_norm_of_training():
    inputs = IMAGE | {"s": normal(4), "b": normal(4)}
    agree(one_node("BatchNormalization", inputs, {"m": normal(4), "v": normal(4)**2}, outputs=3, training_mode=1, momentum=0.8), inputs)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_a_layer_without_gates(direction):
    count = 1 + (direction == "bidirectional")
    inputs = {"x": normal(4, 3, 5)}
    agree(one_node("RNN", inputs, {"w": normal(count, 6, 5), "r": normal(count, 6, 6), "b": normal(count, 12)}, outputs=2, hidden_size=6,
                   direction=direction, activations=["Tanh"] * count), inputs)


@pytest.mark.parametrize(("op", "inputs", "constants", "attributes", "text"), [
    ("ReduceSum", {"x": np.ones((2, 9000), np.int32)}, {"a": ints(1)}, {}, "a sum of 9000 integers; at most 8192"),
    ("ReduceMean", {"x": np.ones((2, 9), np.int32)}, {"a": ints(1)}, {}, "of integers is there for constants only"),
    ("Resize", IMAGE, {"r": np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32), "s": np.ones(4, np.float32)},
     {"coordinate_transformation_mode": "tf_crop_and_resize"}, "tf_crop_and_resize is not there"),
    ("ScatterND", {"x": normal(5), "i": ints([1]), "u": normal(1)}, {}, {"reduction": "mul"}, "reduction 'mul' of 1 rows into 5, fp32"),
    ("Pad", IMAGE, {"p": ints(0, 0, 5, 0, 0, 0, 0, 0)}, {"mode": "reflect"}, "axis 2 of 5 elements padded by 5 in mode 'reflect'"),
])
def test_what_is_not_there_is_refused(op, inputs, constants, attributes, text):
    with pytest.raises(GraphError, match=text):
        front(import_model(one_node(op, inputs, constants, **attributes)))
