"""Convolutions on the simulated `small` socket: windows read in place, padding beside what it surrounds, columns on several PCUs."""

import numpy as np
import pytest

from compiler.frontend.front import front
from compiler.frontend.infer import infer
from compiler.graph.builder import Builder
from compiler.graph.ir import Core, DType
from compiler.mapping.homes import layout
from compiler.mapping.sections import _Cutter as Cutter
from compiler.mapping.tiling import chunked
from compiler.run import compile_graph, run_model
from hw.config import preset
from sim.device import VerilatedBackend
from sw_driver.device import Device

CONFIG = preset("small")


@pytest.fixture(scope="module")
def device():
    with Device(VerilatedBackend(CONFIG)) as device:
        yield device


def convolution(dtype, shape=(2, 8, 4, 4), pads=(1, 2, 1, 0)):
    b, random = Builder("windows", dtype=dtype), np.random.default_rng(3)
    x, w = b.input("x", shape), b.constant(random.normal(0, 0.2, (16, shape[1], 3, 3)), "w")
    b.output("y", x.op("Conv", w, b.constant(random.normal(size=16), "bias"), pads=list(pads)).op("Relu"))
    return b.graph()


@pytest.mark.parametrize("dtype", [DType.FP32, DType.BF16])
def test_windows_are_read_in_place(device, dtype):
    """k = 72 in chunks of a row of the window (FP32: longer than the broadcast buffer; BF16: no whole vectors): nothing is copied."""
    for fuse in ("none", "full"):
        compiled = compile_graph(convolution(dtype), CONFIG, fuse=fuse)
        _, report = run_model(compiled, device)
        compiled.program.release(device)
        assert report["bit_exact"]
        assert not any(name.startswith("copy conv") for record in compiled.program.kernels for name in record.nodes)
    assert len(compiled.program.launches) == 3                        # padding; product, bias and Relu; channels first again


def test_a_copy_is_made_where_it_is_expected_to_be_faster():
    """Unfused, a product of windows has but few PCUs: with many columns, copied windows on all of them are faster."""
    b = Builder("deep")
    x, w = b.input("x", (4, 32, 8, 8)), b.constant(np.random.default_rng(0).normal(size=(64, 32, 3, 3)), "w")
    b.output("y", x.op("Conv", w, pads=[1, 1, 1, 1]))
    program = compile_graph(b.graph(), CONFIG, fuse="none").program
    in_place = compile_graph(b.graph(), CONFIG, fuse="none", runs=False).program
    assert program.predicted_cycles < in_place.predicted_cycles
    assert any(name.startswith("copy conv") for record in program.kernels for name in record.nodes)


def test_columns_of_a_product_and_its_map_on_several_pcus():
    graph = front(infer(convolution(DType.FP32)))
    cutter = Cutter(layout(graph, ()), CONFIG, 0, lambda node: [])
    nodes = [node for node in graph.nodes if node.op in (Core.MATMUL, Core.MAP)][:2]
    assert [cutter._section(nodes, {}, rows, columns=columns).used().pcu for rows, columns in ((1, 1), (1, 2), (2, 2))] == [1, 2, 4]
    assert "columns of" in cutter._tried(nodes, columns=3)


def test_chunks_end_with_a_loop_or_within_one():
    assert [chunked((3, 24), chunk) for chunk in (72, 24, 48, 12, 36, 5)] == [(0, 3), (1, 24), None, (1, 12), None, None]
    assert chunked((2, 3, 4), 12) == (1, 3)
