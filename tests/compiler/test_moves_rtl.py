"""GATHER and UPDATE as part of longer kernels, on the smallest device, bit for bit."""

import numpy as np
import pytest

from compiler.compile import compile
from compiler.graph.ir import Core, DType
from hw.config import preset
from sim.device import VerilatedBackend
from sw_driver.device import Device

from .graphs import Builder, X, check_run

TINY = preset("tiny")


@pytest.fixture(scope="module")
def device():
    with Device(VerilatedBackend(TINY)) as device:
        yield device


def kernels(device, graph) -> list[tuple[str, ...]]:
    """Runs the graph; the nodes of each kernel."""
    program = compile(graph, TINY)
    check_run(device, graph, program)
    ops = {node.name: node.op for node in program.graph.nodes}
    return [tuple(ops[name] for name in launch.nodes) for launch in program.launches]


@pytest.mark.parametrize("dtype", [DType.FP32, DType.BF16])
@pytest.mark.parametrize(("rows", "count", "width"), [(20, 7, 12), (9, 5, 6)])
def test_rows_of_a_table_go_on_as_a_stream(device, dtype, rows, count, width):
    b = Builder("gathered")
    table = b.input("t", (rows, width), dtype)
    first, second = (b.constant(np.random.default_rng(seed).integers(0, rows, count).astype(np.int32)) for seed in (1, 2))
    graph = b.graph(b.map([b.gather(table, first), b.gather(table, second)], [("FADD", X(0), X(1))], dtype))
    assert kernels(device, graph)[0][:2] == (Core.GATHER, Core.GATHER)


@pytest.mark.parametrize("dtype", [DType.FP32, DType.BF16])
def test_an_update_takes_a_stream_but_not_a_target_of_its_own_kernel(device, dtype):
    b = Builder("updated")
    table, values = b.input("t", (20, 12), dtype), b.input("v", (7, 12), dtype)
    rows = b.constant(np.random.default_rng(3).permutation(20)[:7].astype(np.int32))
    target = b.map([table], [("FMUL", X(0), 2.0)], dtype)
    updated = b.update(target, b.map([values], [("TANH", X(0))], dtype), rows)
    graph = b.graph(b.map([updated], [("FADD", X(0), 1.0)], dtype), b.update(table, values, rows))
    found = kernels(device, graph)
    assert (Core.MAP, Core.UPDATE) in found                     # the values are a stream
    assert not any(Core.UPDATE in nodes[:-1] for nodes in found if nodes.count(Core.MAP) > 1)
