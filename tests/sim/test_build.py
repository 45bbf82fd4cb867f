"""The build cache: same inputs same path, complete or absent, one builder at a time, clear errors."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sim import toolchain
from sim.build import build
from sim.toolchain import PROJECT, ToolchainError

VERILOG = "module inverter(input a, output b); assign b = ~a; endmodule\n"
GLUE = {"glue.cpp": '#include "Vtop.h"\nextern "C" int invert(int a) '
                    '{ Vtop top; top.a = a; top.eval(); return top.b; }\n'
                    "void vl_fatal(const char*, int, const char*, const char*) {}\n"}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache that shares the compiled runtime with the real one."""
    (tmp_path / "sim").mkdir()
    for shared in (PROJECT / "build" / "sim").glob("runtime-*"):
        if "." not in shared.name:
            (tmp_path / "sim" / shared.name).symlink_to(shared)
    monkeypatch.setenv("OPENRDU_BUILD", str(tmp_path))
    return tmp_path / "sim"


def leftovers(cache):
    return [path.name for path in cache.iterdir() if "." in path.name]


def make(_=None):
    return str(build(VERILOG, "inverter", generated=GLUE, optimize="-O0"))


def test_same_inputs_build_once_and_any_change_builds_again(cache):
    first = build(VERILOG, "inverter", generated=GLUE, optimize="-O0")
    stamp = first.stat().st_mtime_ns
    assert build(VERILOG, "inverter", generated=GLUE, optimize="-O0") == first and first.stat().st_mtime_ns == stamp
    assert build(VERILOG + "\n", "inverter", generated=GLUE, optimize="-O0") != first
    assert build(VERILOG, "inverter", generated=GLUE, optimize="-O0", flags=["-DX"]) != first
    assert leftovers(cache) == []


def test_two_processes_share_one_build(cache):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        paths = pool.map(make, range(2), chunksize=1)
    assert paths[0] == paths[1] and len(list(cache.glob("inverter-*"))) == 1


def test_interrupt_leaves_nothing_half_written(cache):
    child = subprocess.Popen([sys.executable, "-c", "from tests.sim.test_build import make; make()"], cwd=PROJECT,
                             stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.time() + 60
    while not leftovers(cache) and time.time() < deadline:
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGINT)
    child.communicate(timeout=60)
    assert child.returncode != 0
    assert leftovers(cache) == [] and not list(cache.glob("inverter-*"))
    make()
    assert len(list(cache.glob("inverter-*"))) == 1


def test_interrupt_the_moment_the_directory_exists_leaves_nothing(cache, monkeypatch):
    mkdir = Path.mkdir

    def interrupted(path, *args, **kwargs):
        mkdir(path, *args, **kwargs)
        if "." in path.name:
            raise KeyboardInterrupt
    monkeypatch.setattr(Path, "mkdir", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make()
    assert leftovers(cache) == [] and not list(cache.glob("inverter-*"))


def test_what_a_killed_build_left_is_cleared_away(cache):
    path = make()
    name = path.split("inverter-")[1].split("/")[0]
    subprocess.run(["rm", "-r", os.path.dirname(path)], check=True)
    (cache / f"{name}.dead").mkdir()
    assert make() == path and leftovers(cache) == []


def test_verilog_error_names_the_line(cache):
    with pytest.raises(ToolchainError, match=r"verilator_bin failed: .*design.v:1"):
        build("module inverter(input a, output b); assign b = ; endmodule", "inverter", generated=GLUE)
    assert not list(cache.glob("inverter-*"))


def test_missing_compiler_is_one_line(cache, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    toolchain.compiler.cache_clear()
    with pytest.raises(ToolchainError, match=r"^g\+\+ not found, needed: .*apt-get install g\+\+"):
        toolchain.compiler()
    with pytest.raises(ToolchainError, match=r"make not found.*; perl not found"):
        toolchain.require("make", "perl")
