"""What a PCU and its parts cost is as recorded. After a change that is meant: ``rdu bench cost --unit pcu --preset tiny --full``."""

import dataclasses

import pytest

from bench.cost import CASES, cost, recorded
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
