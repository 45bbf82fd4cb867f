"""Runs the cocotb tests of the host port under Verilator."""

import pytest

from hw.config import preset
from sim.cocotb_runner import build_testbench, run_testbench

from .top import HostTop


@pytest.mark.parametrize("name", ["small", pytest.param("paper_unit", marks=pytest.mark.long)])
def test_host_port(name, tmp_path):
    build = build_testbench(HostTop(preset(name)), "host_top")
    assert run_testbench(build, "host_top", "tests.host.cocotb_host_port", tmp_path, environment={"PRESET": name}) == 7
