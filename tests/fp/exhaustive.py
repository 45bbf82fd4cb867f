"""Every operand of a unary function of the tail, every one of a conversion, every product of two BF16 numbers:
``nice -n 19 python -m tests.fp.exhaustive [NAME ...]``.

The unit's netlist with its function as a constant, the loop and the reference (in double; C's own arithmetic where the result is
exact) are C++: one to two minutes of CPU time a function with AVX-512. A run can be stopped and goes on where it was; the record
in docs/records/ names the state of the unit.
"""

import ctypes
import sys
import time
from typing import NamedTuple

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.fp.function import TailFunction
from hw.fp.tail import TailUnit
from hw.hierarchy import instantiate, to_verilog
from tests.fp.exact import EXACT, Exact
from tests.fp.records import Record, fingerprint
from tests.fp.reference import FUNCTIONS, MONOTONIC
from tests.fp.vectorised import build

__all__ = ["BOUND", "NAMES", "Exhaustive", "Part", "run", "unit_of"]

PART = 1 << 25
NAMES = [*EXACT, *FUNCTIONS]
BOUND = 2.0 ** -22

REFERENCE = {
    "EXP": "exp(x)", "LOG": "log(x)", "RECIPROCAL": "1 / x", "RSQRT": "1 / sqrt(x)", "SQRT": "sqrt(x)", "TANH": "tanh(x)",
    "SIGMOID": "1 / (1 + exp(-x))", "GELU": "x * 0.5 * erfc(-x * M_SQRT1_2)",
    "SILU": "x / (1 + exp(-x))", "SIN": "sin(x)", "COS": "cos(x)",
}

LOOP = r"""
#include <cmath>
#include <limits>
using namespace std;
typedef double d __attribute__((vector_size(64)));
typedef float f __attribute__((vector_size(32)));
typedef uint32_t u __attribute__((vector_size(32)));
static float number(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
static d numbers(v bits) {
    u narrow = __builtin_convertvector(bits, u);
    f x;
    memcpy(&x, &narrow, 32);
    return __builtin_convertvector(x, d);
}
static bool all(s mask) {
#ifdef __AVX512F__
    return _mm512_movepi64_mask((__m512i)mask) == 0xFF;
#else
    for (int i = 0; i < 8; i++) if (!mask[i]) return false;
    return true;
#endif
}
static d magnitude(d x) { return (d)((v)x & 0x7FFFFFFFFFFFFFFFull); }
// Eight at a time from the C library where it has them; 0 for functions that it does not have.
#if defined(__AVX512F__) && __GLIBC_PREREQ(2, 35)
#define EIGHT(name) extern "C" d _ZGVeN8v_##name(d); static d name(d x) { return _ZGVeN8v_##name(x); }
#else
#define EIGHT(name) static d name(d x) { for (int i = 0; i < 8; i++) x[i] = ::name(x[i]); return x; }
#endif
EIGHT(exp) EIGHT(log) EIGHT(tanh) EIGHT(erfc) EIGHT(sin) EIGHT(cos)
static d sqrt(d x) { for (int i = 0; i < 8; i++) x[i] = ::sqrt(x[i]); return x; }
template <class T> static T reference(T x) { return REFERENCE; }
// As tests/fp/reference.py: relative where operand and true value are finite, infinite where a special result is wrong.
static double error(uint32_t operand, uint32_t result) {
    double x = number(operand), truth = isinf(x) && x < 0 && GATE ? -0.0 : reference(x), value = number(result);
    float rounded = (float)truth;
    if (isfinite(rounded) && isfinite(x)) return fabs(value - truth) / fmax(fabs(truth), 0x1p-126);
    bool same = value == rounded || (isnan(value) && isnan(rounded)) || (isfinite(x) && fabs(value - truth) <= fabs(truth) * 0x1p-22);
    return same ? 0.0 : numeric_limits<double>::infinity();
}
struct Part { double largest; uint32_t operand; uint32_t turns; uint32_t turn; };
// Operands first to last, in order; turning: 0 not checked, 1 results must not fall, 2 they must not rise.
extern "C" void run(uint64_t first, uint64_t last, int turning, Part* part) {
    const v lanes = {0, 1, 2, 3, 4, 5, 6, 7};
    *part = Part{};
    double before = numeric_limits<double>::quiet_NaN();
    for (uint64_t i = first; i <= last; i += 8) {
        v operands = lanes + i, results = evaluate(operands);
        d x = numbers(operands), value = numbers(results), truth = reference(x), size = magnitude(truth);
        d scale = size > 0x1p-126 ? size : d{} + 0x1p-126;
        s finite = size < 0x1.ffffffp127;
        // No error above the largest so far; NaN where there is none; everything else is looked at one by one.
        s good = finite & (magnitude(x) < numeric_limits<double>::infinity()) & (magnitude(value - truth) <= part->largest * scale);
        s none = (truth != truth) & (s)(results == 0x7FC00000);
        if (i + 7 > last || !all(good | none)) {
            for (int j = 0; j < 8 && i + j <= last; j++) {
                double e = error(operands[j], results[j]);
                if (!(e <= part->largest)) part->largest = e, part->operand = operands[j];
            }
        }
        if (!turning) continue;
        v shifted = {7, 0, 1, 2, 3, 4, 5, 6};
        d previous = (d)__builtin_shuffle((v)value, shifted);
        previous[0] = before;
        s numeric = magnitude(value) < numeric_limits<double>::infinity();
        if (i + 7 <= last && all(numeric & ((s)(turning == 1 ? value >= previous : value <= previous) | (previous != previous)))) {
            before = value[7];
            continue;
        }
        for (int j = 0; j < 8 && i + j <= last; j++) {
            if (!isfinite(value[j])) continue;
            if (turning == 1 ? value[j] < before : value[j] > before) {
                if (!part->turns++) part->turn = operands[j];
            }
            before = value[j];
        }
    }
}
extern "C" void results(uint64_t first, uint64_t size, uint32_t* o) {
    for (uint64_t i = 0; i < size; i += 8) {
        v eight = evaluate(v{0, 1, 2, 3, 4, 5, 6, 7} + (first + i));
        for (uint64_t j = 0; j < 8 && i + j < size; j++) o[i + j] = eight[j];
    }
}
"""


class Fixed(wiring.Component):
    """A tail unit whose function is a constant: Yosys leaves out what the other functions need."""

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
    """One function of the tail. ``edit`` changes the Verilog."""

    def __init__(self, name: str, edit=lambda text: text):
        self.name = name
        loop = LOOP.replace("REFERENCE", REFERENCE[name]).replace("GATE", str(int(name in ("GELU", "SILU"))))
        library = build(Fixed(TailFunction[name]), "fixed", loop, edit)
        self._run, self._results = library.run, library.results
        self._run.restype = self._results.restype = None

    def __call__(self, first: int, last: int) -> Part:
        """Operands ``first`` to ``last``, both of one sign, in order of their bit patterns."""
        turning = 0
        if self.name in MONOTONIC:
            turning = 1 if MONOTONIC[self.name] == (first < 1 << 31) else 2
        part = _Part()
        self._run(ctypes.c_uint64(first), ctypes.c_uint64(last), turning, ctypes.byref(part))
        return Part(part.largest, part.operand, part.turns, part.turn)

    def results(self, first: int, size: int) -> np.ndarray:
        """The bit patterns of ``size`` results."""
        out = np.empty(size, dtype=np.uint32)
        self._results(ctypes.c_uint64(first), ctypes.c_uint64(size), out.ctypes.data_as(ctypes.c_void_p))
        return out


def unit_of(name: str) -> str:
    """The fingerprint of the unit that ``name`` is a run of."""
    return fingerprint(to_verilog(EXACT[name].unit() if name in EXACT else TailUnit(), synthesis=True))


def run(name: str, say=lambda text: None) -> None:
    """Goes on until all operands of ``name`` are done; raises AssertionError for an error beyond ``BOUND``, a turn or, where the
    result is exact, any difference."""
    record = Record(name, unit_of(name))
    if record.done >= 1 << 32:
        return
    function = Exact(name) if name in EXACT else Exhaustive(name)
    for start in range(record.done, 1 << 32, PART):
        begin = time.process_time()
        # One operand before the part too, so that a turn between two parts is seen.
        part = function(start - 1 if start % (1 << 31) else start, start + PART - 1)
        assert part.largest <= BOUND, f"{name}: error {part.largest} at {part.operand:08x}"
        assert not part.turns, f"{name} turns at {part.turn:08x}"
        record.save(start + PART, part.largest, part.operand, time.process_time() - begin)
        say(f"{name} {(start + PART) // PART}/{(1 << 32) // PART}")


def main(names: list[str]) -> None:
    for name in names or NAMES:
        run(name, lambda text: print(text, flush=True))


if __name__ == "__main__":
    main(sys.argv[1:])
