"""A whole device in cocotb and in the C++ host loop: the same kernels take the same cycles and leave the same bytes."""

import json

import pytest

from hw.config import preset
from sim.cocotb_runner import build_testbench, run_testbench
from sim.device import VerilatedBackend
from sim.dram import SOURCES
from sim.top import SimulationTop

from . import kernels

CONFIG = preset("tiny")


@pytest.fixture(scope="module")
def in_cocotb(tmp_path_factory):
    """The results of both kernels in the cocotb simulation, by name."""
    directory = tmp_path_factory.mktemp("device")
    build = build_testbench(SimulationTop(CONFIG), "rdu_tiny", sources=SOURCES)
    assert run_testbench(build, "rdu_tiny", "tests.cocotb.cocotb_device", directory, environment={"RESULTS": str(directory)}) == 2
    return {name: json.loads((directory / f"{name}.json").read_text()) for name in ("copy", "gemm")}


@pytest.mark.parametrize("name", ["copy", "gemm"])
def test_same_cycles_and_bytes(in_cocotb, name):
    backend = VerilatedBackend(CONFIG)
    result = getattr(kernels, name)(backend)
    backend.close()
    assert result == in_cocotb[name]
    assert result["cycles"] > 50
