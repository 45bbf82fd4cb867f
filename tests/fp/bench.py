"""Simulation cost of the units of hw/fp: ns per evaluation, from many instances in one Verilated module.

Run ``python -m tests.fp.bench [name ...]``; the figures in docs/fp.md come from here.
"""

import ctypes
import sys

import numpy as np
from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.fp.add import FpAdd
from hw.fp.function import TailFunction
from hw.fp.mul import FpMul
from hw.fp.tail import TailUnit
from hw.hierarchy import instantiate
from tests.fp.harness import build

LOOP = r"""
#include "Vtop.h"
#include "verilated.h"
#include <cstdint>
#include <cstring>
#include <ctime>
// The thread's own time: other load on the machine does not count.
static double seconds() {{
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}}
extern "C" double run(uint64_t cycles, const uint32_t* operands, uint64_t vectors) {{
    Vtop* top = new Vtop;
    double start = seconds();
    for (uint64_t i = 0; i < cycles; i++) {{
        const uint32_t* v = operands + (i % vectors) * {words};
        {drive}
        top->clk = 0; top->eval(); top->clk = 1; top->eval();
    }}
    return seconds() - start;
}}
"""


class Bank(wiring.Component):
    """``count`` copies of a pipeline side by side; ``make()`` builds one; the ports of each are slices of wide ones."""

    def __init__(self, make, count: int, inputs):
        self.make, self.count, self.inputs = make, count, inputs
        super().__init__({port: In(data.ArrayLayout(unsigned(32), count)) for port in inputs}
                         | {"o": Out(data.ArrayLayout(unsigned(32), count))})

    def elaborate(self, platform):
        m = Module()
        for index in range(self.count):
            unit = self.make()
            m.submodules[f"unit_{index}"] = instantiate(platform, unit)
            # Registers, as in a pipeline: Verilator evaluates what hangs on top-level inputs at both clock edges.
            for port in self.inputs:
                operand = Signal(32, name=f"{port}_{index}", reset_less=True)
                m.d.sync += operand.eq(getattr(self, port)[index])
                m.d.comb += getattr(unit, port).eq(operand)
            m.d.comb += self.o[index].eq(unit.o)
        return m


def nanoseconds(make, inputs=("a", "b"), count=64, cycles=100_000, fixed=None, seed=1) -> float:
    """ns per evaluation of one unit; operands are random normal numbers around 1, new ones every cycle."""
    name = "bank"
    drive = " ".join(f"memcpy(&top->{port}, v + {index * count}, {4 * count});" for index, port in enumerate(inputs))
    loop = LOOP.format(top=name, words=count * len(inputs), drive=drive)
    library = build(Bank(make, count, inputs), name, loop, optimize="-O3")
    library.run.restype = ctypes.c_double
    rng = np.random.default_rng(seed)
    operands = rng.normal(0, 2, (1024, len(inputs), count)).astype(np.float32).view(np.uint32)
    for port, value in (fixed or {}).items():
        operands[:, inputs.index(port)] = value
    times = [library.run(ctypes.c_uint64(cycles), operands.ctypes.data_as(ctypes.c_void_p), ctypes.c_uint64(1024))
             for _ in range(3)]
    return min(times) * 1e9 / cycles / count


class Baseline(wiring.Component):
    """The cost of the harness itself: one register and an exclusive-or."""

    identity = ()
    a: In(32)
    b: In(32)
    o: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.a ^ self.b)
        return m


def main(names):
    units = {"harness": (Baseline,), "FpAdd": (FpAdd,), "FpMul": (FpMul,)}
    for function in (TailFunction.BYPASS, TailFunction.EXP, TailFunction.SILU):
        units[f"TailUnit-{function.name}"] = (TailUnit, ("function", "a"), 16, 50_000, {"function": function.value})
    for name, arguments in units.items():
        if not names or name in names:
            print(f"{name:18s} {nanoseconds(*arguments):6.1f} ns per evaluation")


if __name__ == "__main__":
    main(sys.argv[1:])
