"""The build cache: same inputs same path, complete or absent, one builder at a time, clear errors."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sim import toolchain
from sim.build import build
from sim.cache import cached
from sim.toolchain import PROJECT, ToolchainError

VERILOG = "module inverter(input a, output b); assign b = ~a; endmodule\n"
GLUE = {"glue.cpp": '#include "Vtop.h"\nextern "C" int invert(int a) '
                    '{ Vtop top; top.a = a; top.eval(); return top.b; }\n'
                    "void vl_fatal(const char*, int, const char*, const char*) {}\n"}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache that shares the compiled runtime with the real one."""
    (tmp_path / "sim").mkdir()
    for shared in (toolchain.build_root() / "sim").glob("runtime-*"):
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


def wait_for_ever() -> None:
    """A build with a tool that does not end: says so when it is under way."""
    def tool(scratch: Path) -> None:
        (scratch / "half").write_text("written")
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd=scratch) as child:
            print("under way", flush=True)
            child.wait()
    cached("inverter", {}, tool)


def test_interrupt_leaves_nothing_half_written(cache):
    """As Ctrl-C in a terminal: the process and its tool get the signal."""
    with subprocess.Popen([sys.executable, "-c", "from tests.sim.test_build import wait_for_ever; wait_for_ever()"], cwd=PROJECT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as child:
        assert child.stdout.readline() == "under way\n" and len(leftovers(cache)) == 1
        os.killpg(child.pid, signal.SIGINT)
        _, errors = child.communicate(timeout=300)
    assert child.returncode != 0 and "KeyboardInterrupt" in errors
    assert leftovers(cache) == [] and not list(cache.glob("inverter-*"))
    make()
    assert len(list(cache.glob("inverter-*"))) == 1


def test_a_tool_that_still_writes_while_it_ends_leaves_nothing(cache, monkeypatch):
    """Its scratch is cleared until it stays away."""
    rmtree, late = shutil.rmtree, [1, 2, 3]

    def slow(path, **options):
        rmtree(path, **options)
        if late:
            Path(path).mkdir()
            (Path(path) / f"{late.pop()}.o").touch()
    monkeypatch.setattr(shutil, "rmtree", slow)
    with pytest.raises(ToolchainError):
        build("module inverter(input a, output b); assign b = ; endmodule", "inverter", generated=GLUE)
    assert not late and leftovers(cache) == []


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
