"""Products of few rows with packed weights: two stages share a row, bit for bit as one stage by itself, on the smallest device."""

import numpy as np
import pytest

from compiler.compile import compile, single
from compiler.graph.ir import DType
from compiler.mapping.homes import layout
from compiler.mapping.tiling import tilings
from hw.config import preset
from hw.pcu.program import SystolicProgram
from sim.device import VerilatedBackend
from sw_driver.device import Device

from .graphs import Builder, X, check_run

TINY, BF16 = preset("tiny"), DType.BF16


@pytest.fixture(scope="module")
def device():
    with Device(VerilatedBackend(TINY)) as device:
        yield device


@pytest.mark.parametrize(("k", "columns"), [(9, 32), (12, 52), (6, 8)])
@pytest.mark.parametrize("fuse", ["none", "full"])
def test_one_row(device, k, columns, fuse):
    b = Builder("row")
    x = b.input("x", (1, k), BF16)
    w, v = (b.constant(np.random.default_rng(k).normal(size=shape).astype(BF16.numpy)) for shape in ((k, columns), (columns, k + 1)))
    graph = b.graph(b.matmul(b.map([b.matmul(x, w)], [("TANH", X(0))], BF16), v))
    where = layout(graph, ())
    programs = [unit.program for piece in single(where, TINY, graph.nodes[0]) for unit in piece.net.of_kind("pcu")]
    assert any(isinstance(program, SystolicProgram) and program.stages_per_row == 2 for program in programs)
    check_run(device, graph, compile(graph, TINY, fuse=fuse))


def test_where_it_does_not_pay():
    small = preset("small").pcu
    assert tilings(small, 1, 64, 64, True).stages_per_row == 2
    assert tilings(small, 2, 64, 64, True).steps(2, 64, 8) == 64 * 4
    assert tilings(small, 64, 64, 64, True).stages_per_row == 1                              # enough rows for all stages
    assert tilings(small, 1, 64, 64, False, weight_size=4).stages_per_row == 1
    assert tilings(small, 1, 8, 64, True).stages_per_row == 1                                # half a vector of columns
