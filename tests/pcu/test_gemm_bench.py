"""``rdu bench gemm``: any shape has sane metrics, bit-exact against the model, or one clear error."""

import itertools
import math

import pytest
from rich.console import Console

import bench
from bench.gemm_product import Gemm
from hw.config import preset

SMALL = preset("small")
SHAPES = [(1, 1, 1), (7, 33, 65), (1, 512, 96), (5, 4096, 64), (192, 256, 256), (1, 2048, 256)]


@pytest.mark.parametrize("weights", ["bf16", "fp32", "int8"])
def test_every_shape_has_a_program(weights):
    """Its tiles hold the product, and its peak is at most what the unit can do."""
    for size, shape in itertools.product((SMALL, preset("paper_unit")), SHAPES):
        gemm = Gemm(size, *shape, weights)
        assert all(padded >= wanted for padded, wanted in zip(gemm.padded, shape, strict=True)) and 0 < gemm.useful <= 1
        assert gemm.steps == math.prod(gemm.program.loops()) and gemm.steps * size.pcu.macs_per_cycle >= math.prod(shape)
        assert [kernel.name for kernel in gemm.kernels()] == ["weights", "gemm"]


def test_odd_shapes_on_the_device():
    """The bench itself compares every result; the smallest is too short for a steady state."""
    rows = bench.run("gemm", SMALL, console=Console(quiet=True), shape="7x33x65,1x1x1")["metrics"]
    found = {(row["case"], row["metric"].removeprefix("mac_utilization_")): row["value"] for row in rows}
    assert set(found) == set(itertools.product(("7x33x65 small", "1x1x1 small"), ("steady", "total")))
    assert 0.5 < found["7x33x65 small", "total"] <= found["7x33x65 small", "steady"] < 1
    assert 0 < found["1x1x1 small", "total"] == found["1x1x1 small", "steady"]


@pytest.mark.parametrize(("options", "message"), [
    ({"shape": "7x33"}, "shape=7x33 must be ROWSxKxFEATURES"), ({"shape": "0x1x1"}, "shape=0x1x1"),
    ({"weights": "fp8"}, "weights=fp8 must be one of fp32, bf16, int8"), ({"start": "warm"}, "start=warm"), ({"from": "ddr"}, "from=ddr"),
])
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        bench.run("gemm", SMALL, console=Console(quiet=True), **options)
