"""Checks of generated Verilog by independent tools: Verilator's lint, Icarus Verilog, Yosys; and that no module comes twice."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from . import toolchain
from .toolchain import ToolchainError

__all__ = ["check_icarus", "check_verilator", "check_yosys", "modules"]

WAIVERS = Path(__file__).parent / "lint.vlt"


def modules(verilog: str) -> list[str]:
    """The modules of a text in order; raises :class:`ToolchainError` if one is defined twice."""
    names = re.findall(r"^module\s+(\\\S+|\w+)", verilog, re.MULTILINE)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ToolchainError(f"modules defined more than once: {', '.join(twice)}")
    return names


def check_verilator(verilog: str, top: str, sources: tuple[Path, ...] = ()) -> None:
    """``verilator --lint-only -Wall`` with the waivers of sim/lint.vlt and no others."""
    _run([toolchain.verilator(), "--lint-only", "-Wall", "--top-module", top, WAIVERS, *sources], verilog, "%")


def check_icarus(verilog: str, top: str) -> None:
    """Icarus Verilog compiles it."""
    toolchain.require("iverilog")
    _run(["iverilog", "-g2012", "-Wall", "-Wno-timescale", "-o", "compiled", "-s", top], verilog, "error")


def check_yosys(verilog: str, top: str) -> int:
    """Yosys reads it and finds a complete hierarchy; returns its number of cells."""
    script = f"read_verilog -sv design.v; hierarchy -check -top {top}; proc; stat -top {top}"
    printed = _run([*toolchain.yosys(), "-Q", "-p", script], verilog, "ERROR", design=False)
    counts = re.findall(r"^\s*(\d+)\s+(?:\S+\s+)?cells$|Number of cells:\s+(\d+)", printed, re.MULTILINE)
    if not counts:
        raise ToolchainError("Yosys printed no statistics:\n" + printed[-500:])
    return int(next(filter(None, counts[-1])))


def _run(command: list, verilog: str, mark: str, design: bool = True) -> str:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "design.v").write_text(verilog)
        done = subprocess.run([*map(str, command), *(["design.v"] if design else [])], cwd=directory, env=toolchain.environment(),
                              capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if mark in line]
        raise ToolchainError(f"{Path(str(command[0])).name} refuses the Verilog: " + "\n".join(lines[:12]))
    return done.stdout
