"""Runs the cocotb tests of the host port under Verilator."""

import os

import pytest

from hw.config import preset
from sim.cocotb_runner import CocotbFailure, build_testbench, run_testbench

from .top import HostTop, Sabotage

# What the protocol checker sees by itself, and what only the comparison with the standard's arithmetic does.
BY_CHECKER = {Sabotage.RVALID_FALLS: "RVALID fell", Sabotage.RDATA_CHANGES: "payload of channel R changed",
              Sabotage.RLAST_EARLY: "RLAST is not exactly", Sabotage.RID_WRONG: "without a read address of this id",
              Sabotage.BVALID_FALLS: "BVALID fell", Sabotage.BID_WRONG: "without a complete burst of this id",
              Sabotage.BVALID_TWICE: "without a complete burst of this id"}


def build(name: str):
    return build_testbench(HostTop(preset(name)), "host_top")


@pytest.mark.parametrize("name", ["small", pytest.param("paper_unit", marks=pytest.mark.long)])
def test_host_port(name, tmp_path):
    assert run_testbench(build(name), "host_top", "tests.host.cocotb_host_port", tmp_path, environment={"PRESET": name}) == 7


@pytest.mark.parametrize("name, rounds, seed", [
    ("small", 8, 1), *(pytest.param(name, 400, seed, marks=pytest.mark.long) for name in ("small", "paper_unit") for seed in (2, 3))])
def test_random_axi_traffic(name, rounds, seed, tmp_path):
    environment = {"PRESET": name, "ROUNDS": str(rounds), "SEED": str(seed)}
    assert run_testbench(build(name), "host_top", "tests.host.cocotb_axi", tmp_path, environment=environment) == 2


@pytest.mark.parametrize("defect", [defect for defect in Sabotage if defect], ids=lambda defect: defect.name)
def test_a_defective_window_is_found(defect, tmp_path):
    environment = {"PRESET": "small", "SABOTAGE": str(int(defect))}
    with pytest.raises(CocotbFailure):
        run_testbench(build("small"), "host_top", "tests.host.cocotb_axi", tmp_path, tests=["random_bursts"], environment=environment)
    log = (tmp_path / "simulation.log").read_text()
    assert BY_CHECKER.get(defect, "AssertionError") in log, os.linesep.join(log.splitlines()[-20:])
