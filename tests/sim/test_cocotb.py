"""cocotb beside the C++ host loop: the same scenario gives the same bytes; a failure in the simulator is a failure here."""

import json
import os
from pathlib import Path

import pytest

from sim.cocotb_runner import CocotbFailure, build_testbench, run_testbench
from sim.verilated import VerilatedHost

from .host_example import HostExample
from .host_scenario import scenario


@pytest.fixture(scope="module")
def testbench():
    return build_testbench(HostExample(), "host_example")


def run(testbench, directory: Path, *, tests=(), **environment):
    settings = {"RESULT": str(directory / "result.json"), "SPEED": str(directory / "speed"), **environment}
    return run_testbench(testbench, "host_example", "tests.sim.cocotb_host", directory, tests=tests, environment=settings)


def test_same_bytes_on_both_simulations(testbench, tmp_path):
    assert run(testbench, tmp_path) == 4
    with VerilatedHost(HostExample(), "host_example", optimize="-O1", timeout=1_000) as host:
        expected = scenario(host)
    assert expected["late"] and expected["waited"] and not expected["early"]
    assert json.loads((tmp_path / "result.json").read_text()) == expected
    assert float((tmp_path / "speed").read_text()) > 10_000


def test_failed_test_in_the_simulator_fails_here(testbench, tmp_path):
    with pytest.raises(CocotbFailure, match=r"1 of 1 cocotb tests failed in tests\.sim\.cocotb_host"):
        run(testbench, tmp_path, tests=["known_bad"], KNOWN_BAD="1")


def test_no_test_or_no_module_fails_here(testbench, tmp_path):
    with pytest.raises(CocotbFailure):
        run(testbench, tmp_path / "a", tests=["no_such_test"])
    with pytest.raises(CocotbFailure):
        run_testbench(testbench, "host_example", "tests.sim.no_such_module", tmp_path / "b")
    assert "MAKEFLAGS" not in os.environ or "CFG_" not in os.environ["MAKEFLAGS"]
