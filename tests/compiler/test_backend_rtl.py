"""Compiled graphs on the simulated `small` socket, bit for bit against the mapped graph's numpy reference."""

import numpy as np
import pytest

from compiler.compile import compile, single
from compiler.graph.ir import Core, DType, Place, row_major
from compiler.mapping.homes import layout
from compiler.mapping.sections import _Cutter as Cutter
from hw.config import preset
from sim.device import VerilatedBackend
from sw_driver.device import Device

from .graphs import Builder, S, X, check_run, inputs_of, perceptron, random_graph, same_bits

CONFIG = preset("small")


@pytest.fixture(scope="module")
def device():
    with Device(VerilatedBackend(CONFIG)) as device:
        yield device


def check(device, graph, fuse, seed=0):
    return check_run(device, graph, compile(graph, CONFIG, fuse=fuse), seed)


@pytest.mark.parametrize("fuse", ["none", "op", "full"])
def test_perceptron(device, fuse):
    check(device, perceptron(5, (20, 33, 10)), fuse)
    check(device, perceptron(17, (64, 70, 10), DType.BF16), fuse)


@pytest.mark.parametrize("seeds", [range(0, 12), range(20, 28), [539]])      # 539: an index where each row is one word
def test_random_graphs(device, seeds):
    for seed in seeds:
        graph = random_graph(seed)
        for fuse in ("none", "full"):
            check(device, graph, fuse, seed)


@pytest.mark.parametrize(("shape", "dtype"), [((3, 13, 9), DType.FP32), ((2, 22, 18), DType.BF16), ((200, 88), DType.FP32),
                                              ((2, 20, 12), DType.BF16)])
def test_transposes_are_turned_in_a_pmu(device, shape, dtype):
    """Operands and results whose rows are columns in memory: not a word moves by itself, ragged and in several blocks."""
    b = Builder("turned")
    x, w = b.input("x", shape, dtype), b.input("w", (*shape[:-2], 10, shape[-1]), dtype)
    turn = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    moved = list(row_major((*shape[:-2], shape[-1], shape[-2])))
    moved[-2:] = moved[:-3:-1]
    graph = b.graph(b.matmul(x, b.transpose(w, turn)), b.map([b.transpose(x, turn)], [("FMUL", X(0), 0.5)]),
                    b.copy([b.map([x], [("FADD", X(0), 1.0)])], (*shape[:-2], shape[-1], shape[-2]), [Place(tuple(moved), 0)]))
    for fuse in ("none", "full"):
        check(device, graph, fuse)
    where = layout(graph, ())
    units = [unit for node in graph.nodes if node.op is not Core.VIEW for piece in single(where, CONFIG, node) for unit in piece.net.units]
    assert not any(unit.is_word for unit in units)


def test_no_unit_has_a_path_through_it_while_stores_are_unaligned(device):
    """A store engine that waits for memory must not pass that on within a cycle: credits of the network were lost."""
    b = Builder("padded rows")
    x = b.input("x", (7, 16, 16, 8), DType.BF16)
    y = b.copy([x], (7, 16, 16, 12), [Place(row_major((7, 16, 16, 12)), 2)])
    device.backend.check_units(True)
    check(device, b.graph(y), "none")
    device.backend.check_units(False)


def test_sums_take_their_products_in_order(device):
    """A reference that sums in another order must differ: the comparison bites."""
    b = Builder("order")
    x = b.input("x", (4, 200))
    w = b.constant(np.random.default_rng(1).normal(size=(200, 24)).astype(np.float32))
    graph = b.graph(b.matmul(x, w), b.map([x], [("FMUL", X(0), X(0)), ("FADD", S(0), 0.1)]))
    program = compile(graph, CONFIG, fuse="none")
    inputs = inputs_of(graph)
    outputs, _ = program.run(device, inputs)
    other = inputs["x"][:, ::-1].copy() @ program.constants[w].value[::-1].copy()
    assert not same_bits(outputs["t0"], other)
    assert same_bits(outputs["t0"], program.reference(inputs)["t0"])
    program.release(device)


def test_sections_run_side_by_side(device):
    """Rows, and batches, on several PCUs at once; operands that all need come once."""
    b = Builder("copies")
    x, y = b.input("x", (24, 40)), b.input("y", (4, 24, 16))
    w = b.constant(np.random.default_rng(1).normal(size=(40, 16)).astype(np.float32))
    hidden = b.map([b.matmul(x, w)], [("TANH", X(0))])
    z = b.matmul(y, b.transpose(y, [0, 2, 1]))
    graph = b.graph(b.map([hidden, b.reduce(hidden, "MAX")], [("FSUB", X(0), X(1))]),
                    b.map([z, b.reduce(z, "SUM")], [("FMUL", X(0), X(1))]))
    apart = check(device, graph, "none")
    together = check(device, graph, "full")
    assert together.cycles < apart.cycles
    where = layout(graph, ())
    cutter = Cutter(where, CONFIG, 0, lambda node: [(piece.net, 1) for piece in single(where, CONFIG, node)])
    nodes = [node for node in graph.nodes if node.op is not Core.VIEW]
    one, four = (cutter._section(nodes[:2], {}, count) for count in (1, 4))
    assert four.used().pcu == 4 * one.used().pcu
    assert four.used().load == one.used().load + 3                  # rows of each copy, the weights once
    assert "is not cut into" in cutter._tried(nodes[:2], count=5)


def test_copies_are_cut_along_several_axes(device):
    """A batch of 2 in four copies, the rows of each batch in two; a product at the end on two PCUs a copy; k in chunks before a map."""
    b = Builder("axes")
    x, z, w = (b.input(*each) for each in (("x", (2, 12, 24)), ("z", (12, 24)), ("w", (24, 16))))
    hidden = b.map([x, z], [("FADD", X(0), X(1)), ("TANH", S(0))])
    graph = b.graph(b.matmul(hidden, w), b.map([b.matmul(b.input("a", (2, 12, 160)), b.input("c", (160, 8)))], [("TANH", X(0))]))
    cutter = Cutter(layout(graph, ()), CONFIG, 0, lambda node: [])
    nodes = graph.nodes[:2]
    assert [cutter._section(nodes, {nodes[1].name: (1, width)}, count).used().pcu for count, width in ((1, 1), (4, 1), (2, 2))] == [2, 8, 6]
    check(device, graph, "full")


@pytest.mark.parametrize(("rows", "copies", "buffers"), [(256, 2, 1), (136, 1, 2)])
def test_rows_come_once_and_leave_in_blocks(device, rows, copies, buffers):
    """A long softmax reads its rows once, for the maximum and what follows; stores take turns with loads, or follow a block behind."""
    b = Builder("softmax")
    x = b.input("x", (rows, 64))
    power = b.map([x, b.reduce(x, "MAX")], [("FSUB", X(0), X(1)), ("EXP", S(0))])
    if copies == 1:
        power = b.map([power, b.reduce(power, "MAX")], [("FSUB", X(0), X(1)), ("EXP", S(0))])
    graph = b.graph(b.map([power, b.map([b.reduce(power, "SUM")], [("RECIPROCAL", X(0))])], [("FMUL", X(0), X(1))]))
    net = Cutter(layout(graph, ()), CONFIG, 0, lambda node: []).section(graph.nodes)
    blocks = [unit.program.buffers for unit in net.of_kind("pmu") if unit.name.startswith("block")]
    assert (net.used().load, net.used().store, blocks) == (copies, copies, [buffers] * copies)
    check(device, graph, "full")


@pytest.mark.parametrize("dtype", [DType.FP32, DType.BF16])
def test_gemm_mul_transpose_gemm_is_one_kernel(device, dtype):
    """The Monarch step: what one product makes goes to the next through a striped PMU, turned."""
    b = Builder("monarch")
    x, twiddle = b.input("x", (4, 24, 40), dtype), b.input("twiddle", (24, 32), dtype)
    f, g = (b.constant(np.random.default_rng(1).normal(size=shape).astype(dtype.numpy)) for shape in ((40, 32), (24, 16)))
    y = b.map([b.matmul(x, f), twiddle], [("FMUL", X(0), X(1))], dtype)
    z = b.matmul(b.transpose(y, [0, 2, 1]), g)
    graph = b.graph(b.copy([b.transpose(z, [0, 2, 1])], (4, 16, 32), [Place(row_major((4, 16, 32)))]))
    check(device, graph, "full")
    where = layout(graph, ())
    cutter = Cutter(where, CONFIG, 0, lambda node: [(piece.net, 1) for piece in single(where, CONFIG, node)])
    nodes = [node for node in graph.nodes if node.op is not Core.VIEW]
    nets = [cutter._section(nodes, {}, count) for count in (1, 2)]
    for net in nets:
        assert [unit.symbol for unit in net.of_kind("store")] == [graph.outputs[0]] * (1 if net is nets[0] else 2)
        assert any(unit.kind == "pmu" and unit.program.pitch for unit in net.units)


@pytest.mark.parametrize(("shape", "dtype"), [((37, 240), DType.FP32), ((64, 256), DType.BF16)])
def test_long_element_wise_kernels(device, shape, dtype):
    """Dealt to a pipeline for each channel; the first has a remainder of its own."""
    b = Builder("long")
    x, z = b.input("x", shape, dtype), b.input("z", shape, dtype)
    graph = b.graph(b.map([b.map([x], [("FMUL", X(0), 3.0)]), z], [("FADD", X(0), X(1)), ("FMUL", S(0), X(1))]))
    assert check(device, graph, "full").kernels == 1
