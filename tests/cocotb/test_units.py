"""Builds and runs the cocotb testbenches of single units, in preset tiny."""

from hw.common.packet import scalar_packet
from hw.config import preset
from hw.pcu.pcu import PCU
from hw.pmu.pmu import PMU
from hw.rdn.switch import Switch
from sim.cocotb_runner import build_testbench, run_testbench
from sim.dram import SOURCES

from . import cocotb_switch
from .memory_top import AGCUWithDRAM

CONFIG = preset("tiny")


def run(component, name: str, directory, sources=()) -> int:
    """Builds ``component``, runs tests/cocotb/cocotb_``name``.py on it; returns how many tests passed (any failure raises)."""
    build = build_testbench(component, name, sources=sources)
    return run_testbench(build, name, f"tests.cocotb.cocotb_{name}", directory)


def test_pcu(tmp_path):
    assert run(PCU(CONFIG.pcu), "pcu", tmp_path) == 2


def test_pmu(tmp_path):
    assert run(PMU(CONFIG.pmu), "pmu", tmp_path) == 4


def test_switch(tmp_path):
    switch = Switch(scalar_packet(8), cocotb_switch.PORTS, cocotb_switch.LABELS, cocotb_switch.DEPTH)
    assert run(switch, "switch", tmp_path) == 3


def test_memory(tmp_path):
    assert run(AGCUWithDRAM(CONFIG), "memory", tmp_path, SOURCES) == 2
