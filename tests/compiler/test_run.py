"""``rdu run``: from files to files on the simulated RTL, and one line for everything that is wrong."""

import hashlib
import json
import os
import subprocess
import sys
import xml.dom.minidom
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from compiler.errors import CompileError
from compiler.frontend.import_onnx import import_model
from compiler.frontend.inputs import checked, load_arrays, save_arrays
from compiler.graph.builder import Builder
from compiler.graph.ir import Graph
from compiler.graph.picture import draw
from compiler.image import load_compiled, save_compiled
from compiler.run import compile_graph
from hw.config import preset
from models import entry
from sw_driver import cli
from sw_driver.cli_options import save_json

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
    assert set(found["outputs"]) == {"probabilities", "digit"} and (dump / "08-core.svg").exists()
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
        ((folder,), "is no file"), ((model, "--output", folder), f"{folder}: Is a directory"),
        ((model, "--save", model / "x.rdu"), f"{model}: Not a directory"), ((model, "--fuse", "some"), "fuse='some'"),
        ((model, "--preset", "huge"), "huge"),
    ]:
        monkeypatch.setattr(sys, "argv", ["rdu", "run", *map(str, words), "--json", str(folder / "no" / "report.json")])
        with pytest.raises(SystemExit) as end:
            cli.main()
        shown = capsys.readouterr()
        assert end.value.code == 1 and text in shown.err and shown.err.count("\n") == 1, (words, shown.err)
        assert not (folder / "no").exists()


def test_a_saved_program_runs_like_the_model(folder):
    model, arrays, saved, again = (folder / name for name in ("digits_mlp.onnx", "digits_mlp.npz", "mlp.rdu", "again.rdu"))
    first = rdu(model, "--input", arrays, "--save", saved, "--output", folder / "a.npz", "--json", folder / "a.json")
    second = rdu(saved, "--input", arrays, "--save", again, "--output", folder / "b.npz", "--json", folder / "b.json")
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert (folder / "a.npz").read_bytes() == (folder / "b.npz").read_bytes() and saved.read_bytes() == again.read_bytes()
    one, two = (json.loads((folder / name).read_text()) for name in ("a.json", "b.json"))
    assert {**one, "compile_seconds": 0.0} == two and two["bit_exact"]


@pytest.mark.parametrize("dtype", ["", "_bf16", "_int8"])
def test_a_saved_program_is_the_same_program(tmp_path, dtype):
    model, inputs = entry(f"digits_mlp{dtype}").build()
    compiled = compile_graph(import_model(model), preset("small"))
    save_compiled(compiled, tmp_path / "a.rdu")
    save_compiled(compile_graph(import_model(model), preset("small")), tmp_path / "b.rdu")
    assert (tmp_path / "a.rdu").read_bytes() == (tmp_path / "b.rdu").read_bytes()
    loaded = load_compiled(tmp_path / "a.rdu", preset("small"))
    for name in ("config", "graph", "fuse", "kernels", "launches", "symbols", "homes", "outputs"):
        assert getattr(loaded.program, name) == getattr(compiled.program, name), name
    typed = checked(loaded.imported, inputs)
    expected, found = compiled.program.reference(typed), loaded.program.reference(typed)
    assert {name: value.tobytes() for name, value in expected.items()} == {name: value.tobytes() for name, value in found.items()}


def test_a_damaged_program_is_one_clear_error(tmp_path):
    model, _ = entry("digits_mlp").build()
    path = tmp_path / "a.rdu"
    save_compiled(compile_graph(import_model(model), preset("small")), path)
    whole = path.read_bytes()
    for damaged, text in [(whole[:-1], "is damaged"), (whole[:20], "is no compiled model"), (b"", "is no compiled model"),
                          (whole[:400] + bytes([whole[400] ^ 1]) + whole[401:], "is damaged"),
                          (whole[:4] + b"\x01" + whole[5:], "format version 1"), (_signed(whole, b"[]"), "makes no sense"),
                          (_signed(whole, b'{"=":"os.system"}'), "makes no sense")]:
        path.write_bytes(damaged)
        with pytest.raises(CompileError, match=text):
            load_compiled(path, preset("small"))
    path.write_bytes(whole)
    with pytest.raises(CompileError, match=r"compiled for small .* this device is medium"):
        load_compiled(path, preset("medium"))


def _signed(whole: bytes, text: bytes) -> bytes:
    """A file with a right checksum around another structure."""
    body = len(text).to_bytes(8, "little") + text
    return whole[:8] + len(body).to_bytes(8, "little") + hashlib.sha256(body).digest() + body


def test_names_are_data(tmp_path, capsys, monkeypatch):
    """Names of arrays that are arguments of numpy.savez; control characters of a model in an error; numbers that JSON has not."""
    arrays = {"file": np.ones(3, np.float32), "allow_pickle": np.arange(2), "a/b": np.zeros((), bool)}
    save_arrays(tmp_path / "a.npz", arrays)
    found = load_arrays(tmp_path / "a.npz")
    assert all((found[name] == value).all() and found[name].dtype == value.dtype for name, value in arrays.items()) and len(found) == 3
    node = onnx.helper.make_node("Nothing\x1b[31m\n", ["x"], ["y"], name="n\n")
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (3,)) for name in "xy"]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", values[:1], values[1:]),
                                     opset_imports=[onnx.helper.make_opsetid("", 21)]), tmp_path / "m.onnx")
    box = Graph("\x00<b>", (), {}, (), ())
    assert xml.dom.minidom.parseString(draw(box)).getElementsByTagName("text")[0].firstChild.data.startswith("\\x00<b>")
    monkeypatch.setattr(sys, "argv", ["rdu", "run", str(tmp_path / "m.onnx")])
    with pytest.raises(SystemExit):
        cli.main()
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and shown[:-1].isprintable() and "operator Nothing" in shown and "of node 'n\\n' is not there" in shown
    save_json(tmp_path / "a.json", {"worst": float("nan"), "each": [float("inf"), 1.5]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"worst": None, "each": [None, 1.5]}


def test_what_is_larger_than_all_memory():
    b = Builder("large")
    b.output("y", b.input("x", (1 << 16, 1 << 12)) @ b.input("w", (1 << 12, 1 << 16)))
    with pytest.raises(CompileError, match=r"need \d+ bytes \(the largest is y: fp32\[65536, 65536\]\).* use a larger preset"):
        compile_graph(b.graph(), preset("small"))


@pytest.mark.parametrize("name", ["digits_mlp_int8", pytest.param("lstm", marks=pytest.mark.long)])
def test_another_process_makes_the_same_bytes(tmp_path, name):
    """Whatever Python's hashes are."""
    text = ("import sys; from compiler.frontend.import_onnx import import_model; from compiler.image import save_compiled; "
            "from compiler.run import compile_graph; from hw.config import preset; from models import entry; "
            f"save_compiled(compile_graph(import_model(entry({name!r}).build()[0]), preset('small')), sys.argv[1])")
    for seed in ("1", "2"):
        subprocess.run([sys.executable, "-c", text, tmp_path / seed], cwd=ROOT, check=True,
                       env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_the_same_model_gives_the_same_kernels():
    model, _ = entry("digits_mlp").build()
    first, second = (compile_graph(import_model(model), preset("small")).program for _ in range(2))
    assert [record.kernel for record in first.kernels] == [record.kernel for record in second.kernels]
    assert first.launches == second.launches and first.symbols == second.symbols


def test_tensors_of_many_dimensions():
    """Loops that no engine has are walked by launches, or the operand is copied; an error names the model's node."""
    b = Builder("deep")
    b.output("y", b.input("x", (2,) * 12).op("ReduceSum", np.arange(1, 12, 2)))
    x = np.random.default_rng(5).standard_normal((2,) * 12).astype(np.float32)
    compiled = compile_graph(b.graph(), preset("tiny"))
    np.testing.assert_allclose(compiled.program.reference({"x": x})["y"], x.sum(tuple(range(1, 12, 2)), keepdims=True), rtol=1e-4,
                               atol=1e-5)
    b = Builder("scalars")
    b.output("y", b.op("Max", *(b.input(f"x{number}", ()) for number in range(6))))
    with pytest.raises(CompileError, match=r"word load engines, the device has 2; .*larger preset \(from node 'max' of the model\)"):
        compile_graph(b.graph(), preset("tiny"))
