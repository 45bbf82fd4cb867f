"""Models of kinds that the front half writes anew, from ONNX to the smallest device, bit for bit: quantised, FP16, loops and branches."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from compiler.frontend.import_onnx import import_model
from compiler.run import compile_graph, run_model
from hw.config import preset
from models.oracle import answers
from sim.device import VerilatedBackend
from sw_driver.device import Device

from .onnx_models import model

RANDOM = np.random.default_rng(61)
START = RANDOM.bit_generator.state
TINY = preset("tiny")
NODE = helper.make_node


@pytest.fixture(scope="module")
def device():
    with Device(VerilatedBackend(TINY)) as device:
        yield device


def normal(*shape, scale=1.0) -> np.ndarray:
    return (RANDOM.standard_normal(shape) * scale).astype(np.float32)


def dynamic():
    """A layer as onnxruntime's quantize_dynamic writes it."""
    nodes = [NODE("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]), NODE("MatMulInteger", ["q", "w", "z", "wz"], ["whole"]),
             NODE("Cast", ["whole"], ["wide"], to=TensorProto.FLOAT), NODE("Mul", ["s", "ws"], ["scale"]),
             NODE("Mul", ["wide", "scale"], ["h"]), NODE("Relu", ["h"], ["y"])]
    return nodes, {"x": normal(3, 20)}, {
        "w": RANDOM.integers(0, 256, (20, 7)).astype(np.uint8), "wz": np.uint8(127), "ws": np.float32(0.01)}


def static():
    """A convolution between QuantizeLinear and DequantizeLinear, weights per channel; no sum of these scales lies half way between two
    steps, where the order of the sum would decide."""
    nodes = [NODE("QuantizeLinear", ["x", "s", "z"], ["q"]), NODE("DequantizeLinear", ["q", "s", "z"], ["d"]),
             NODE("DequantizeLinear", ["w", "ws"], ["v"], axis=0), NODE("Conv", ["d", "v"], ["c"]),
             NODE("QuantizeLinear", ["c", "s", "z"], ["p"]), NODE("DequantizeLinear", ["p", "s", "z"], ["y"])]
    return nodes, {"x": normal(1, 2, 5, 5)}, {"w": RANDOM.integers(-128, 128, (3, 2, 3, 3)).astype(np.int8), "s": np.float32(0.03),
                                              "ws": np.array([0.0103, 0.0197, 0.00311], np.float32), "z": np.uint8(110)}


def half():
    """Weights and inputs of FP16."""
    nodes = [NODE("Gemm", ["x", "w", "b"], ["h"]), NODE("Tanh", ["h"], ["y"])]
    return nodes, {"x": normal(3, 8).astype(np.float16)}, {"w": normal(8, 5).astype(np.float16), "b": normal(5).astype(np.float16)}


def loop():
    """A recurrence of three steps, each of which chooses by values."""
    info = helper.make_tensor_value_info
    yes = helper.make_graph([NODE("Tanh", ["p"], ["t"])], "yes", [], [info("t", TensorProto.FLOAT, (1, 5))])
    no = helper.make_graph([NODE("Neg", ["p"], ["n"])], "no", [], [info("n", TensorProto.FLOAT, (1, 5))])
    nodes = [NODE("MatMul", ["h", "u"], ["p"]), NODE("ReduceMax", ["p"], ["m"], keepdims=0), NODE("Greater", ["m", "zero"], ["high"]),
             NODE("If", ["high"], ["after"], then_branch=yes, else_branch=no), NODE("Identity", ["go"], ["again"])]
    body = helper.make_graph(nodes, "body", [info("i", TensorProto.INT64, ()), info("go", TensorProto.BOOL, ()),
                                             info("h", TensorProto.FLOAT, (1, 5))],
                             [info("again", TensorProto.BOOL, ()), info("after", TensorProto.FLOAT, (1, 5))])
    return [NODE("Loop", ["trips", "", "x"], ["y"], body=body)], {"x": normal(1, 5)}, {"u": normal(5, 5), "trips": np.array(3),
                                                                                       "zero": np.float32(0)}


@pytest.mark.parametrize("kind", [dynamic, static, half, loop])
def test_a_kind(device, kind):
    RANDOM.bit_generator.state = START                       # the same values whichever kinds ran before
    nodes, inputs, constants = kind()
    made = model(nodes, inputs, ["y"], constants)
    compiled = compile_graph(import_model(made), TINY)
    outputs, report = run_model(compiled, device, inputs)
    compiled.program.release(device)
    assert report["bit_exact"]
    np.testing.assert_allclose(outputs["y"], answers(made, inputs)["y"].astype(np.float32), atol=2e-3 if kind is half else 1e-6, rtol=1e-5)
