"""INT8 weights from memory into the PCU's header, on the smallest device: the bits of FP32 weights, a quarter of their bytes."""

import numpy as np
import pytest
from onnx import helper

from compiler.compile import compile
from compiler.frontend import int8
from compiler.frontend.front import front
from compiler.frontend.import_onnx import import_model
from hw.config import preset
from models.oracle import answers
from sim.device import VerilatedBackend
from sw_driver.device import Device

from .onnx_models import model

TINY = preset("tiny")


@pytest.fixture(scope="module")
def device():
    with Device(VerilatedBackend(TINY)) as device:
        yield device


@pytest.mark.parametrize("fuse", ["none", "full"])
@pytest.mark.parametrize(("rows", "k", "columns"), [(1, 20, 36), (5, 33, 16), (9, 7, 52)])
def test_a_layer(device, monkeypatch, fuse, rows, k, columns):
    monkeypatch.setattr(int8, "LEAST", 1)
    random = np.random.default_rng(rows)
    constants = {"q": random.integers(-128, 128, (columns, k)).astype(np.int8), "s": (random.random(columns) / 50).astype(np.float32),
                 "b": random.normal(size=columns).astype(np.float32)}
    inputs = {"x": random.normal(size=(rows, k)).astype(np.float32)}
    made = model([helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0),
                  helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=1), helper.make_node("Relu", ["h"], ["y"])],
                 inputs, ["y"], constants)
    graph, moved, bits = front(import_model(made)), {}, []
    for kept in (True, False):
        program = compile(graph, TINY, fuse=fuse, int8=kept)
        outputs, statistics = program.run(device, inputs, max_cycles=100_000)
        bits.append(outputs["y"].tobytes())
        moved[kept] = statistics.bytes["hbm"]
        assert outputs["y"].tobytes() == program.reference(inputs)["y"].tobytes()
        program.release(device)
    assert bits[0] == bits[1]
    np.testing.assert_allclose(outputs["y"], answers(made, inputs)["y"], atol=1e-5)
    assert moved[False] - moved[True] == 3 * k * columns - 4 * columns if rows == 1 else moved[True] <= moved[False]   # less scales
