"""Models as torch's two exporters write them (tests/compiler/exported/make.py), from the file to the smallest device, bit for bit."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler.run import compile_model, run_model
from hw.config import preset
from models.oracle import answers
from sim.device import VerilatedBackend
from sw_driver.device import Device

FOLDER = Path(__file__).parent / "exported"
TINY = preset("tiny")


@pytest.fixture(scope="module")
def device():
    with Device(VerilatedBackend(TINY)) as device:
        yield device


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.onnx")))
def test_runs_at_the_first_try(device, name):
    path = FOLDER / f"{name}.onnx"
    with np.load(path.with_suffix(".npz")) as file:
        inputs = dict(file)
    compiled = compile_model(path, TINY, inputs)
    outputs, report = run_model(compiled, device, inputs)
    compiled.program.release(device)
    assert report["bit_exact"]
    for output, expected in answers(onnx.load(path), inputs).items():
        assert outputs[output].dtype == expected.dtype and outputs[output].shape == expected.shape
        np.testing.assert_allclose(outputs[output], expected, rtol=1e-5, atol=1e-5)
