"""``rdu run``: from files to files on the simulated RTL, and one line for everything that is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from compiler.import_onnx import import_model
from compiler.inputs import save_arrays
from compiler.run import compile_graph
from hw.config import preset
from models import entry
from sw_driver import cli

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """digits_mlp.onnx and digits_mlp.npz."""
    path = tmp_path_factory.mktemp("models")
    model, inputs = entry("digits_mlp").build()
    onnx.save(model, path / "digits_mlp.onnx")
    save_arrays(path / "digits_mlp.npz", inputs)
    return path


def rdu(*words) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "sw_driver.cli", "run", *map(str, words)], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})


def test_run(folder):
    output, report, dump = folder / "out" / "y.npz", folder / "report.json", folder / "dump"
    done = rdu(folder / "digits_mlp.onnx", "--input", folder / "digits_mlp.npz", "--output", output, "--json", report, "--dump", dump)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    assert found["bit_exact"] and found["max_abs_error"] < 1e-5 and found["preset"] == "small" and found["fuse"] == "full"
    assert found["cycles"] == sum(launch["cycles"] for launch in found["launches"]) > 0
    assert found["kernels"] == len(found["launches"]) and found["bytes"]["hbm"] > 16 * 64 * 4
    assert found["predicted_cycles"] == sum(launch["predicted_cycles"] for launch in found["launches"])
    assert set(found["outputs"]) == {"probabilities", "digit"} and (dump / "07-core.svg").exists()
    session = onnxruntime.InferenceSession(folder / "digits_mlp.onnx", providers=["CPUExecutionProvider"])
    with np.load(folder / "digits_mlp.npz") as arrays, np.load(output) as outputs:
        for name, expected in zip(("probabilities", "digit"), session.run(["probabilities", "digit"], dict(arrays)), strict=True):
            assert outputs[name].dtype == expected.dtype
            np.testing.assert_allclose(outputs[name], expected, atol=1e-5)


def test_wrong_use_is_one_line(folder, capsys, monkeypatch):
    """Before any simulator is built, and without a file half written."""
    model = folder / "digits_mlp.onnx"
    (folder / "damaged.onnx").write_bytes(model.read_bytes()[:1000])
    (folder / "damaged.npz").write_bytes(b"PK nothing")
    np.savez(folder / "shape.npz", pictures=np.zeros((16, 65), np.float32))
    np.savez(folder / "name.npz", picture=np.zeros((16, 64), np.float32))
    for words, text in [
        ((folder / "nothing.onnx",), "nothing.onnx does not exist"), ((folder / "damaged.onnx",), "no valid ONNX model"),
        ((model, "--input", folder / "nothing.npz"), "nothing.npz does not exist"),
        ((model, "--input", folder / "damaged.npz"), "no .npz file"),
        ((model, "--input", folder / "shape.npz"), "'pictures' is [16, 65], the model wants [16, 64]"),
        ((model, "--input", folder / "name.npz"), "input 'pictures' is missing; there is no input 'picture'"),
        ((model, "--fuse", "some"), "fuse='some'"), ((model, "--preset", "huge"), "huge"),
    ]:
        monkeypatch.setattr(sys, "argv", ["rdu", "run", *map(str, words), "--json", str(folder / "no" / "report.json")])
        with pytest.raises(SystemExit) as end:
            cli.main()
        shown = capsys.readouterr()
        assert end.value.code == 1 and text in shown.err and shown.err.count("\n") == 1, (words, shown.err)
        assert not (folder / "no").exists()


def test_the_same_model_gives_the_same_kernels():
    model, _ = entry("digits_mlp").build()
    first, second = (compile_graph(import_model(model), preset("small")).program for _ in range(2))
    assert [record.kernel for record in first.kernels] == [record.kernel for record in second.kernels]
    assert first.launches == second.launches and first.symbols == second.symbols
