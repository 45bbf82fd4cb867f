"""MAPs of more steps than a device has PCUs, and operands that need more PMUs than it has, on the smallest device."""

import pytest

from compiler.compile import compile
from compiler.fabric.netlist import Capacity
from compiler.frontend.split import split_maps
from compiler.graph import exact
from compiler.graph.ir import Core, DType
from hw.config import preset
from sim.device import VerilatedBackend
from sw_driver.device import Device

from .graphs import INDEX, Builder, S, X, check_run, inputs_of, same_bits

TINY = preset("tiny")
# Quotient and remainder, tails between arithmetic, three operands, a position, values that several parts use.
STEPS = [("FMUL", X(0), 1.5), ("EXP", S(0)), ("FADD", S(1), X(1)), ("TANH", S(2)), ("FMAC", S(3), S(0), X(1)), ("TO_INT", S(4)),
         ("ADD", S(5), INDEX(1)), ("TO_FP", S(6)), ("FLT", S(7), S(3)), ("SELECT", S(2), S(7), S(8)), ("SIGMOID", S(9)),
         ("FSUB", S(10), S(1))]


@pytest.mark.parametrize("dtype", [DType.FP32, DType.BF16])
def test_parts_compute_the_same(dtype):
    b = Builder("long")
    graph = b.graph(b.map([b.input("x", (3, 10), dtype), b.input("y", (10,), dtype)], STEPS, dtype))
    parts = split_maps(graph, TINY).check()
    assert len(parts.nodes) > Capacity.of(TINY).pcu and parts.outputs == graph.outputs
    inputs = inputs_of(graph)
    whole, split = (exact.run(each, inputs, TINY.lanes) for each in (graph, parts))
    assert all(same_bits(whole[name], split[name]) for name in graph.outputs)
    assert split_maps(graph, preset("medium")) is graph


def test_on_the_device():
    b = Builder("tight")
    x, y = b.input("x", (5, 6)), b.input("y", (6,))
    turned = [b.transpose(b.input(f"z{number}", (6, 5)), [1, 0]) for number in range(3)]
    graph = b.graph(b.map([x, y], STEPS), b.map(turned, [("FMAC", X(0), X(1), X(2))]))
    with Device(VerilatedBackend(TINY)) as device:
        for fuse in ("none", "full"):
            program = compile(graph, TINY, fuse=fuse)
            check_run(device, graph, program)
    assert any(node.op is Core.COPY for node in program.graph.nodes)
