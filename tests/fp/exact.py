"""Operations whose result is exact or rounded once, over every operand: conversions and products of BF16 numbers, against C."""

import ctypes
from collections.abc import Callable
from typing import NamedTuple

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.fp.mul import FpMul
from hw.pcu.alu import IntegerALU
from hw.pcu.layout import Op
from tests.fp.vectorised import build

__all__ = ["EXACT", "Exact"]

LOOP = r"""
#include <cmath>
using namespace std;
static float number(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
static uint32_t bits_of(float x) { uint32_t bits; memcpy(&bits, &x, 4); return x != x ? 0x7FC00000 : bits; }
// Past the largest finite number lies 2**128.
static double towards(uint32_t bits) { return (bits & 0x7FFFFFFF) == 0x7F800000 ? copysign(0x1p128, number(bits)) : number(bits); }
static uint32_t to_bf16(uint32_t a) {
    if (isnan(number(a))) return 0x7FC00000;
    uint32_t low = a & 0xFFFF0000, high = low + 0x10000;
    if (a == low) return a;
    double below = fabs(number(a) - towards(low)), above = fabs(towards(high) - number(a));
    return below != above ? (below < above ? low : high) : low >> 16 & 1 ? high : low;
}
static uint32_t to_int(uint32_t a) {
    float x = number(a);
    return isnan(x) ? 0 : x >= 0x1p31f ? 0x7FFFFFFF : x < -0x1p31f ? 0x80000000 : (uint32_t)(int32_t)x;
}
static uint32_t to_fp(uint32_t a) { return bits_of((float)(int32_t)a); }
static uint32_t product(uint32_t i) { return bits_of(number(i & 0xFFFF0000) * number(i << 16)); }
// Cases first to last; returns how many are wrong and the first of them.
extern "C" uint64_t run(uint64_t first, uint64_t last, uint64_t* at) {
    uint64_t wrong = 0;
    for (uint64_t i = first; i <= last; i += 8) {
        v cases = v{0, 1, 2, 3, 4, 5, 6, 7} + i, results = EVALUATE;
        uint32_t expected[8];
        for (int j = 0; j < 8; j++) expected[j] = EXPECTED((uint32_t)(i + j));
        for (int j = 0; j < 8 && i + j <= last; j++)
            if (results[j] != expected[j] && !wrong++) *at = i + j;
    }
    return wrong;
}
"""


class Conversion(wiring.Component):
    """A lane's integer ALU with its operation a constant."""

    a: In(32)
    o: Out(32)

    def __init__(self, op: Op):
        self.op = op
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.alu = alu = IntegerALU()
        m.d.comb += [alu.op.eq(self.op), alu.a.eq(self.a), self.o.eq(alu.o)]
        return m


class Operation(NamedTuple):
    """``unit``: what a record belongs to; ``make``: the component that runs; what the loop does with the number of a case."""

    unit: Callable[[], wiring.Component]
    make: Callable[[], wiring.Component]
    evaluate: str
    expected: str


EXACT = {
    "BF16_PRODUCTS": Operation(FpMul, FpMul, "evaluate(cases & 0xFFFF0000, (cases & 0xFFFF) << 16)", "product"),
    "TO_BF16": Operation(IntegerALU, lambda: Conversion(Op.TO_BF16), "evaluate(cases)", "to_bf16"),
    "TO_INT": Operation(IntegerALU, lambda: Conversion(Op.TO_INT), "evaluate(cases)", "to_int"),
    "TO_FP": Operation(IntegerALU, lambda: Conversion(Op.TO_FP), "evaluate(cases)", "to_fp"),
}


class Found(NamedTuple):
    """Of a range of cases: 0 or, if any is wrong, infinity, and the first wrong one; there are no turns."""

    largest: float
    operand: int
    turns: int = 0
    turn: int = 0


class Exact:
    """One of ``EXACT``. ``edit`` changes the Verilog."""

    def __init__(self, name: str, edit=lambda text: text):
        operation = EXACT[name]
        loop = LOOP.replace("EVALUATE", operation.evaluate).replace("EXPECTED", operation.expected)
        self._run = build(operation.make(), name.lower(), loop, edit).run
        self._run.restype = ctypes.c_uint64

    def __call__(self, first: int, last: int) -> Found:
        at = ctypes.c_uint64()
        wrong = self._run(ctypes.c_uint64(first), ctypes.c_uint64(last), ctypes.byref(at))
        return Found(float("inf") if wrong else 0.0, at.value)
