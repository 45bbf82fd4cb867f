"""Every model of the zoo through the front half, against onnxruntime."""

import subprocess
import sys

import numpy as np
import onnx
import pytest

from compiler.frontend.front import front
from compiler.frontend.import_onnx import import_model
from compiler.graph.ir import DType
from compiler.graph.reference import run
from models import ZOO, entry
from models.digits import WEIGHTS
from models.oracle import widened

from ..compiler.onnx_models import agree

BF16 = DType.BF16.numpy


@pytest.mark.parametrize("name", [name for name in ZOO if not name.endswith("_bf16")])
def test_model(name):
    model, inputs = entry(name).build()
    agree(model, inputs, tolerance=1e-4)


@pytest.mark.parametrize("name", [name for name in ZOO if name.endswith("_bf16")])
def test_bf16_model(name):
    model, inputs = entry(name).build()
    core = front(import_model(model))
    assert {tensor.dtype for tensor in core.tensors.values()} <= {DType.BF16, DType.INT32}
    wide = {key: value.astype(np.float32) if value.dtype == BF16 else value for key, value in inputs.items()}
    expected = agree(widened(model), wide, tolerance=1e-4)
    for key, value in run(core, inputs).items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-3, atol=1e-3)


def test_classifiers_classify():
    with np.load(WEIGHTS) as archive:
        digits = archive["held_out.digits"]
    for name, right in (("digits_mlp", 15), ("digits_cnn", 4), ("digits_mlp_int8", 15)):
        model, inputs = entry(name).build()
        found = run(front(import_model(model)), inputs)["digit"]
        assert (found == digits[:len(found)]).sum() >= right


def test_fft_convolves():
    model, inputs = entry("fft_conv").build()
    random = np.random.default_rng(42)
    kernel = random.normal(0, 1, 256) * np.exp(-np.arange(256) / 20)
    x = inputs["x"].astype(np.float64).reshape(4, 256)
    expected = np.fft.ifft(np.fft.fft(x) * np.fft.fft(kernel)).real
    np.testing.assert_allclose(run(front(import_model(model)), inputs)["y"].reshape(4, 256), expected, rtol=1e-4, atol=1e-4)


def test_decoding_continues_the_prefill():
    model, inputs = entry("gpt_prefill").build()
    whole = run(front(import_model(model)), inputs)
    model, step = entry("gpt_decode").build()
    position = 15
    step |= {"token": inputs["tokens"][:, position:], "position": np.array([position])}
    for name in ("key0", "value0", "key1", "value1"):
        step[f"past_{name}"] = np.zeros_like(step[f"past_{name}"])
        step[f"past_{name}"][:, :, :position] = whole[name][:, :, :position]
    found = run(front(import_model(model)), step)
    np.testing.assert_allclose(found["logits"][0, 0], whole["logits"][0, position], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["key1"][:, :, :16], whole["key1"], rtol=1e-5, atol=1e-5)


def test_training_lowers_the_loss():
    model, inputs = entry("train_step").build()
    core = front(import_model(model))
    losses = []
    for _ in range(5):
        found = run(core, inputs)
        losses.append(float(found["loss"]))
        inputs |= {name: found[f"new_{name}"].astype(np.float32) for name in ("w1", "b1", "w2", "b2")}
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.9 * losses[0]


def test_files(tmp_path):
    command = [sys.executable, "-m", "models"]
    made = subprocess.run([*command, "monarch_bf16", "--folder", str(tmp_path)], check=True, capture_output=True, text=True)
    assert "monarch_bf16.onnx" in made.stdout
    assert onnx.load(tmp_path / "monarch_bf16.onnx").graph.node
    wrong = subprocess.run([*command, "nothing"], capture_output=True, text=True)
    assert wrong.returncode and "'nothing' does not exist; there are digits_mlp" in wrong.stderr
