"""What a user may do wrong with `rdu coe`: one line, exit code 1, nothing half-written."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from coe_app.network import DATA, WeightFileError, load_held_out, load_networks
from sw_driver import cli

ROOT = Path(__file__).parents[2]
WEIGHTS = DATA / "weights.npz"


def fails(capsys, monkeypatch, tmp_path, *arguments: str) -> str:
    """The one line that the command, run with ``arguments``, leaves on standard error."""
    outputs = ["--json", str(tmp_path / "out" / "a.json"), "--picture", str(tmp_path / "out" / "a.png")]
    monkeypatch.setattr(sys, "argv", ["rdu", "coe", *outputs, *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    shown = capsys.readouterr()
    assert end.value.code == 1 and shown.out == "" and shown.err.count("\n") == 1 and shown.err.startswith("rdu: ")
    assert not (tmp_path / "out").exists()
    return shown.err


@pytest.mark.parametrize(("arguments", "text"), [
    (["--preset", "huge"], "unknown preset 'huge'; presets are: tiny, small"),
    (["--preset", "tiny"], "the network kernel needs a grid of 4x4"),
    (["--resident", "0"], "resident=0 must be from 1 to the number of experts, 8"),
    (["--resident", "9"], "resident=9"),
    (["--batch", "0"], "batch=0 must be from 1 to 4"),
    (["--batch", "5"], "batch=5"),
    (["--requests", "0"], "requests=0 must be from 1 to 360"),
    (["--requests", "361"], "requests=361"),
    (["--weights", "nowhere.npz"], "nowhere.npz does not exist"),
    (["--waves", "a.txt"], "waves='a.txt' must be FILE.vcd or FILE.fst"),
])
def test_bad_options(capsys, monkeypatch, tmp_path, arguments, text):
    assert text in fails(capsys, monkeypatch, tmp_path, *arguments)


def test_damaged_weight_files(capsys, monkeypatch, tmp_path):
    path, whole = tmp_path / "w.npz", WEIGHTS.read_bytes()
    for content in (b"", b"text", whole[:len(whole) // 2], whole[:5000] + bytes(64) + whole[5064:]):
        path.write_bytes(content)
        assert "w.npz is damaged" in fails(capsys, monkeypatch, tmp_path, "--weights", str(path))
    with np.load(WEIGHTS) as archive:
        arrays = dict(archive)
    tensors = ("w1", "b1", "w2", "b2")
    many = arrays | {f"expert{number}.{name}": arrays[f"expert0.{name}"] for number in range(17) for name in tensors}
    for content, text in ((arrays | {"router.w1": arrays["router.w1"][:63]}, r"w1 is uint16[63, 64], expected uint16[64, 64]"),
                          ({name: arrays[name] for name in arrays if name != "expert3.b2"}, "network 'expert3' lacks ['b2']"),
                          ({"x": np.zeros(1)}, "expected 'router' and 'expert0'"),
                          (many, "holds 17 experts, the router can tell 16")):
        np.savez(path, **content)
        assert text in fails(capsys, monkeypatch, tmp_path, "--weights", str(path))
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    assert "w.npz is damaged" in fails(capsys, monkeypatch, tmp_path, "--weights", str(path))


def test_flipped_bytes_raise_only_weight_file_errors(tmp_path):
    draw, path, whole = random.Random(7), tmp_path / "w.npz", WEIGHTS.read_bytes()
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[draw.choice([draw.randrange(len(whole)), draw.randrange(200), -draw.randrange(1, 400)])] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            load_networks(path)
        except WeightFileError as error:
            assert str(path) in str(error)


def test_pictures_of_another_shape(tmp_path):
    path = tmp_path / "p.npz"
    for pictures, digits, text in ((np.zeros((5, 63), np.uint16), 5, "expected uint16"), (np.zeros((5, 64)), 5, "float64"),
                                   (np.zeros((5, 64), np.uint16), 4, "digits are")):
        np.savez(path, pictures=pictures, digits=np.zeros(digits), views=np.zeros(5))
        with pytest.raises(WeightFileError, match=text):
            load_held_out(path)


def test_key_errors_and_long_errors_are_one_plain_line(capsys, monkeypatch, tmp_path):
    import coe_app.main
    for error, text in ((KeyError("no unit 'x'"), "rdu: no unit 'x'\n"),
                        (AssertionError("cycle 5: a\nb"), "rdu: cycle 5: a; b\n")):
        monkeypatch.setattr(coe_app.main, "run", lambda *_a, error=error, **_k: (_ for _ in ()).throw(error))
        assert fails(capsys, monkeypatch, tmp_path) == text


def test_interrupt_ends_with_one_line(tmp_path):
    command = [sys.executable, "-u", "-m", "sw_driver.cli", "coe", "--verbose", "--json", str(tmp_path / "a.json"),
               "--picture", str(tmp_path / "a.png")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)},
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as run:     # a background job ignores it
        try:
            assert "expert" in run.stdout.readline()         # in mid-run
            time.sleep(0.1)
            run.send_signal(signal.SIGINT)
            _, errors = run.communicate(timeout=300)
        finally:
            run.kill()
    assert (run.returncode, errors) == (130, "rdu: interrupted\n")
    assert not list(tmp_path.iterdir())
