"""Operands whose result the tail's pipeline does not compute: NaN, infinities, zeros, out of range; and BYPASS and RELU."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from .format import CANONICAL_NAN, INFINITY
from .function import TailFunction

__all__ = ["special_result"]

ONE = 0x3F800000


def special_result(m: Module, function: Value, a: Value) -> tuple[Signal, Signal]:
    """(``a`` is a special operand of ``function``, the bit pattern of its result then)."""
    special, value = Signal(), Signal(32)
    sign, exponent = a[31], a[23:31]
    zero, nan, infinite = Signal(), Signal(), Signal()
    negative, exceeds = Signal(), {}
    m.d.comb += [
        zero.eq(a[:31] == 0),
        nan.eq(a[:31] > INFINITY),
        infinite.eq(a[:31] == INFINITY),
        negative.eq(sign & ~zero),
    ]
    for limit in (115, 131, 132, 134):
        exceeds[limit] = Signal(name=f"exceeds_{limit}")
        m.d.comb += exceeds[limit].eq(exponent >= limit)
    signed_zero = Cat(Const(0, 31), sign)
    signed_infinity = Cat(Const(INFINITY, 31), sign)
    signed_one = Cat(Const(ONE, 31), sign)
    minus_zero = Const(1 << 31, 32)
    # (condition, value when NaN is out of the question)
    gate = lambda limit: (exceeds[limit] | zero, Mux(zero, signed_zero, Mux(sign, minus_zero, a)))  # noqa: E731
    cases = {
        TailFunction.RELU: (1, Mux(sign, 0, a)),
        TailFunction.EXP: (exceeds[134], Mux(sign, 0, INFINITY)),
        TailFunction.LOG: (zero | negative | infinite,
                           Mux(zero, 0xFF800000, Mux(negative, CANONICAL_NAN, INFINITY))),
        TailFunction.RECIPROCAL: (zero | infinite, Mux(zero, signed_infinity, signed_zero)),
        TailFunction.RSQRT: (zero | negative | infinite,
                             Mux(zero, signed_infinity, Mux(negative, CANONICAL_NAN, 0))),
        TailFunction.SQRT: (zero | negative | infinite,
                            Mux(zero, signed_zero, Mux(negative, CANONICAL_NAN, INFINITY))),
        TailFunction.TANH: (zero | exceeds[132], Mux(zero, signed_zero, signed_one)),
        TailFunction.SIGMOID: (exceeds[134], Mux(sign, 0, ONE)),
        TailFunction.GELU: gate(131),
        TailFunction.SILU: gate(134),
        # Below 2**-12 the next term of the series is less than 2**-24 of the result.
        TailFunction.SIN: (infinite | ~exceeds[115], Mux(infinite, CANONICAL_NAN, a)),
        TailFunction.COS: (infinite | ~exceeds[115], Mux(infinite, CANONICAL_NAN, ONE)),
    }
    m.d.comb += [special.eq(1), value.eq(a)]
    with m.Switch(function):
        for case, (condition, result) in cases.items():
            with m.Case(case):
                m.d.comb += [special.eq(condition | nan), value.eq(Mux(nan, CANONICAL_NAN, result))]
    return special, value
