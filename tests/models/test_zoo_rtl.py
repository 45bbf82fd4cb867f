"""Models of the zoo on the simulated `small` socket: bit for bit the mapped reference, close to float64 and to onnxruntime."""

import numpy as np
import pytest

from compiler.frontend.import_onnx import import_model
from compiler.run import compile_graph, run_model
from hw.config import preset
from models import ZOO, entry
from models.oracle import answers
from sim.device import VerilatedBackend
from sw_driver.device import Device

CONFIG = preset("small")
QUICK = [("digits_cnn", "full"), ("gpt_decode", "full"), ("monarch", "none"), ("train_step", "full"), ("vit_bf16", "full")]


@pytest.fixture(scope="module")
def device():
    with Device(VerilatedBackend(CONFIG)) as device:
        yield device


def check(device, name: str, fuse: str, **options) -> dict:
    model, inputs = entry(name).build()
    compiled = compile_graph(import_model(model), CONFIG, fuse=fuse)
    outputs, report = run_model(compiled, device, inputs, **options)
    compiled.program.release(device)
    assert report["bit_exact"], report["outputs"]
    limit = 0.3 if name.endswith("_bf16") else 1e-4
    assert report["max_abs_error"] < limit
    for key, expected in answers(model, inputs).items():
        np.testing.assert_allclose(outputs[key].astype(np.float64), expected.astype(np.float64), rtol=limit, atol=limit)
    return report


@pytest.mark.parametrize("name, fuse", QUICK)
def test_model(device, name, fuse):
    check(device, name, fuse)


@pytest.mark.long
@pytest.mark.parametrize("fuse", ["none", "op", "full"])
@pytest.mark.parametrize("name", ZOO)
def test_whole_zoo(device, name, fuse):
    check(device, name, fuse)


def test_counters_tell_bytes_and_the_busiest_unit(device):
    report = check(device, "digits_mlp", "none", counters=True)
    for launch in report["launches"]:
        assert launch["busiest"].startswith(("pcu", "pmu", "agcu", "memory")) and 0 < launch["busiest_share"] <= 1
        assert launch["bottleneck_right"], launch
    assert report["bytes"]["hbm"] <= report["measured_bytes"] < 1.5 * report["bytes"]["hbm"]
