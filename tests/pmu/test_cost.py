"""What a PMU costs is as recorded, and an option that is off costs nothing. After a change that is meant: ``rdu bench cost --full``."""

import dataclasses

import pytest

from bench.cost import CASES, cost, recorded
from hw.config import preset

TINY = preset("tiny")
DEFAULT = ("as it is", "ecc on")


@pytest.mark.parametrize("case", [case if case in DEFAULT else pytest.param(case, marks=pytest.mark.long)
                                  for case in CASES["pmu"](TINY)])
def test_cost_is_as_recorded(case):
    """To the flip-flop and the memory bit; the number of cells within 1 %, for other versions of Yosys."""
    found, expected = cost(CASES["pmu"](TINY)[case](), "pmu"), recorded("pmu")[case]
    assert dataclasses.replace(found, cells=0) == dataclasses.replace(expected, cells=0)
    assert found.cells == pytest.approx(expected.cells, rel=0.01)


def test_options_cost_what_they_add_and_nothing_when_off():
    costs = recorded("pmu")
    plain, ecc = costs["as it is"], costs["ecc on"]
    assert ecc.sram_bits == plain.sram_bits * 22 // 16
    assert ecc.cells > plain.cells and ecc.flip_flops > plain.flip_flops
    for case in ("no address stages", "one read engine", "three loops"):
        assert costs[case].cells < plain.cells and costs[case].flip_flops < plain.flip_flops, case
