"""What a PCU and its parts cost is as recorded. After a change that is meant: ``rdu bench cost --unit pcu --preset tiny --full``,
``--unit pcu_gates`` too."""

import dataclasses

import pytest

from bench.cost import CASES, cost, measure, recorded
from hw.config import preset

TINY = preset("tiny")
DEFAULT = "one stage"


@pytest.mark.parametrize("case", [case if case == DEFAULT else pytest.param(case, marks=pytest.mark.long)
                                  for case in CASES["pcu"](TINY)])
def test_cost_is_as_recorded(case):
    """To the flip-flop and the memory bit; the number of cells within 1 %, for other versions of Yosys."""
    found, expected = cost(CASES["pcu"](TINY)[case](), "pcu"), recorded("pcu")[case]
    assert dataclasses.replace(found, cells=0) == dataclasses.replace(expected, cells=0)
    assert found.cells == pytest.approx(expected.cells, rel=0.01)


@pytest.mark.parametrize("case", [pytest.param(case, marks=pytest.mark.long if case == "tail unit" else ())
                                  for case in CASES["pcu_gates"](TINY)])
def test_gates_and_depth_are_as_recorded(case):
    """To the flip-flop; gates within 1 % and depth within two, for other versions of Yosys."""
    found, expected = measure("pcu_gates", CASES["pcu_gates"](TINY)[case]()), recorded("pcu_gates")[case]
    assert found.flip_flops == expected.flip_flops
    assert found.cells == pytest.approx(expected.cells, rel=0.01) and found.depth == pytest.approx(expected.depth, abs=2)
