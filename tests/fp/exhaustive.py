"""Every operand of a unary function of the tail: ``nice -n 19 python -m tests.fp.exhaustive [NAME ...]``.

The unit is Verilated with its function as a constant, the loop and the reference (in double) are C++: half an hour of CPU time a
function or less. A run can be stopped and goes on where it was; the record in docs/records/ names the state of the unit.
"""

import ctypes
import sys
from typing import NamedTuple

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.fp.function import TailFunction
from hw.fp.tail import TailUnit
from hw.hierarchy import instantiate, to_verilog
from tests.fp.harness import build
from tests.fp.records import Record, fingerprint
from tests.fp.reference import FUNCTIONS, MONOTONIC

__all__ = ["BOUND", "Exhaustive", "Part", "run"]

PART = 1 << 24
BOUND = 2.0 ** -22

REFERENCE = {
    "EXP": "exp(x)", "LOG": "log(x)", "RECIPROCAL": "1 / x", "RSQRT": "1 / sqrt(x)", "SQRT": "sqrt(x)", "TANH": "tanh(x)",
    "SIGMOID": "1 / (1 + exp(-x))", "GELU": "isinf(x) && x < 0 ? -0.0 : x * 0.5 * erfc(-x * M_SQRT1_2)",
    "SILU": "isinf(x) && x < 0 ? -0.0 : x / (1 + exp(-x))", "SIN": "sin(x)", "COS": "cos(x)",
}

LOOP = r"""
#include "Vtop.h"
#include "verilated.h"
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
using namespace std;
static float number(uint32_t bits) { float f; memcpy(&f, &bits, 4); return f; }
static double reference(double x) { return REFERENCE; }
// As tests/fp/reference.py: relative where operand and true value are finite, infinite where a special result is wrong.
static double error(uint32_t operand, uint32_t result) {
    double x = number(operand), truth = reference(x), value = number(result);
    float rounded = (float)truth;
    if (isfinite(rounded) && isfinite(x)) return fabs(value - truth) / fmax(fabs(truth), 0x1p-126);
    bool same = value == rounded || (isnan(value) && isnan(rounded)) || (isfinite(x) && fabs(value - truth) <= fabs(truth) * 0x1p-22);
    return same ? 0.0 : numeric_limits<double>::infinity();
}
struct Part { double largest; uint32_t operand; uint32_t turns; uint32_t turn; };
static Vtop* top;
// Operands first to last, in order; turning: 0 not checked, 1 results must not fall, 2 they must not rise.
extern "C" void run(uint64_t first, uint64_t last, int turning, Part* part) {
    if (!top) top = new Vtop;
    *part = Part{};
    double before = numeric_limits<double>::quiet_NaN();
    for (uint64_t i = first; i <= last + LATENCY - 1; i++) {
        top->a = (uint32_t)i;
        top->clk = 0; top->eval(); top->clk = 1; top->eval();
        if (i + 1 < first + LATENCY) continue;
        uint32_t operand = (uint32_t)(i + 1 - LATENCY), result = top->o;
        double e = error(operand, result), value = number(result);
        if (e > part->largest) part->largest = e, part->operand = operand;
        if (turning && isfinite(value)) {
            if (turning == 1 ? value < before : value > before) {
                if (!part->turns++) part->turn = operand;
            }
            before = value;
        }
    }
}
"""


class Fixed(wiring.Component):
    """A tail unit whose function is a constant: Verilator leaves out what the other functions need."""

    a: In(32)
    o: Out(32)

    def __init__(self, function: TailFunction):
        self.function = function
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = instantiate(platform, unit := TailUnit())
        m.d.comb += [unit.function.eq(self.function), unit.a.eq(self.a), self.o.eq(unit.o)]
        return m


class Part(NamedTuple):
    """Of a range of operands: the largest error and its operand, how often the results turned, and where first."""

    largest: float
    operand: int
    turns: int
    turn: int


class _Part(ctypes.Structure):
    _fields_ = [("largest", ctypes.c_double), ("operand", ctypes.c_uint32), ("turns", ctypes.c_uint32), ("turn", ctypes.c_uint32)]


class Exhaustive:
    """One function, Verilated. ``edit`` changes the Verilog."""

    def __init__(self, name: str, edit=lambda text: text):
        self.name = name
        loop = LOOP.replace("REFERENCE", REFERENCE[name]).replace("LATENCY", str(TailUnit.latency))
        self._run = build(Fixed(TailFunction[name]), "fixed", loop, edit, "-O3").run
        self._run.restype = None

    def __call__(self, first: int, last: int) -> Part:
        """Operands ``first`` to ``last``, both of one sign, in order of their bit patterns."""
        turning = 0
        if self.name in MONOTONIC:
            turning = 1 if MONOTONIC[self.name] == (first < 1 << 31) else 2
        part = _Part()
        self._run(ctypes.c_uint64(first), ctypes.c_uint64(last), turning, ctypes.byref(part))
        return Part(part.largest, part.operand, part.turns, part.turn)


def run(name: str, say=lambda text: None) -> None:
    """Goes on until all operands of ``name`` are done; raises AssertionError for an error beyond ``BOUND`` or a turn."""
    record = Record(name.lower(), fingerprint(to_verilog(TailUnit(), synthesis=True)))
    if record.done >= 1 << 32:
        return
    function = Exhaustive(name)
    for start in range(record.done, 1 << 32, PART):
        # One operand before the part too, so that a turn between two parts is seen.
        part = function(start - 1 if start % (1 << 31) else start, start + PART - 1)
        assert part.largest <= BOUND, f"{name}: error {part.largest} at {part.operand:08x}"
        assert not part.turns, f"{name} turns at {part.turn:08x}"
        record.save(start + PART, part.largest, part.operand)
        say(f"{name} {start + PART >> 24}/256")


def main(names: list[str]) -> None:
    for name in names or FUNCTIONS:
        run(name, lambda text: print(text, flush=True))


if __name__ == "__main__":
    main(sys.argv[1:])
