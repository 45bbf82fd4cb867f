"""What the arithmetic of a lane costs is as recorded. After a change that is meant: ``rdu bench cost --unit fp --full``."""

import pytest

from bench.cost import CASES, measure, recorded
from hw.config import preset

TINY = preset("tiny")
OPEN_FPU = {"multiply-add": 6600, "bf16 multiply-add": 2980}        # fpnew's FMA by the same recipe, docs/fp.md


@pytest.mark.parametrize("case", CASES["fp"](TINY))
def test_cost_is_as_recorded(case):
    """To the flip-flop; cells within 1 % and depth within two gates, for other versions of Yosys."""
    found, expected = measure("fp", CASES["fp"](TINY)[case]()), recorded("fp")[case]
    assert found.flip_flops == expected.flip_flops
    assert found.cells == pytest.approx(expected.cells, rel=0.01) and found.depth == pytest.approx(expected.depth, abs=2)


@pytest.mark.parametrize("case", OPEN_FPU)
def test_multiply_add_is_smaller_than_an_open_one(case):
    assert recorded("fp")[case].cells < OPEN_FPU[case]
