"""The integer, compare and convert half of a lane's ALU."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.fp.format import CANONICAL_NAN, INFINITY, leading_zeros

from .layout import Op

__all__ = ["IntegerALU"]


class IntegerALU(wiring.Component):
    """Every one-cycle operation of a lane: INT32 arithmetic, logic, shifts, comparisons, select, conversions.

    Members: ``op`` In, an :class:`~hw.pcu.layout.Op` (NOP and MAC give no meaningful result); ``a``, ``b``, ``c`` In(32);
    ``o`` Out(32).
    Contract: combinational. Integers wrap. FP32 operands may be any bit pattern; NaN results are 0x7FC00000. Floating
    comparisons are false when an operand is NaN and take -0 for equal to +0; FMIN and FMAX order -0 below +0 and give NaN
    when an operand is NaN.
    """

    op: In(Op)
    a: In(32)
    b: In(32)
    c: In(32)
    o: Out(32)

    def elaborate(self, platform):
        m = Module()
        less, equal, nan = self._compare(m)
        a, b = self.a, self.b
        results = {
            Op.ADD: a + b, Op.SUB: a - b, Op.MUL: a * b, Op.AND: a & b, Op.OR: a | b, Op.XOR: a ^ b,
            Op.SHL: a << b[:5], Op.SHR: a >> b[:5], Op.SAR: a.as_signed() >> b[:5],
            Op.MIN: Mux(less, a, b), Op.MAX: Mux(less, b, a),
            Op.FMIN: Mux(nan, CANONICAL_NAN, Mux(less, a, b)), Op.FMAX: Mux(nan, CANONICAL_NAN, Mux(less, b, a)),
            Op.EQ: a == b, Op.LT: less, Op.LE: less | (a == b),
            Op.FEQ: equal & ~nan, Op.FLT: less & ~equal & ~nan, Op.FLE: (less | equal) & ~nan,
            Op.SELECT: Mux(self.c != 0, a, b),
            Op.TO_INT: self._to_int(a), Op.TO_FP: self._to_fp(m, a), Op.TO_BF16: self._to_bf16(a),
        }
        with m.Switch(self.op):
            for op, result in results.items():
                with m.Case(op):
                    m.d.comb += self.o.eq(result)
        return m

    def _compare(self, m):
        """(a < b as integers or in the total order of FP32, equal as FP32 numbers, either is NaN)."""
        floating = (self.op == Op.FMIN) | (self.op == Op.FMAX) | (self.op == Op.FLT) | (self.op == Op.FLE)
        a, b = Signal(signed(32)), Signal(signed(32))
        less, equal, nan = Signal(), Signal(), Signal()
        # Sign and magnitude become two's complement order by inverting the magnitude of negative numbers.
        # Only while a comparison is programmed: idle logic costs a simulator as much as busy logic.
        op = Value.cast(self.op)
        with m.If((op >= Op.MIN.value) & (op <= Op.FLE.value)):
            m.d.comb += [
                a.eq(self.a ^ Cat((floating & self.a[31]).replicate(31), Const(0, 1))),
                b.eq(self.b ^ Cat((floating & self.b[31]).replicate(31), Const(0, 1))),
                less.eq(a < b),
                equal.eq((self.a == self.b) | ((self.a[:31] | self.b[:31]) == 0)),
                nan.eq((self.a[:31] > INFINITY) | (self.b[:31] > INFINITY)),
            ]
        return less, equal, nan

    def _to_int(self, a):
        exponent, negative = a[23:31], a[31]
        # 1.fraction as a number below 2**32, shifted right to its place.
        magnitude = (Cat(Const(0, 8), a[:23], Const(1, 1)) >> (158 - exponent)[:5])[:32]
        small, large = exponent < 127, exponent >= 158
        saturated = Mux(negative, 0x80000000, 0x7FFFFFFF)
        value = Mux(negative, -magnitude, magnitude)[:32]
        return Mux(small | (a[:31] > INFINITY), 0, Mux(large, saturated, value))

    def _to_fp(self, m, a):
        magnitude, zeros, normal, up = Signal(32), Signal(5), Signal(32), Signal()
        with m.If(self.op == Op.TO_FP):
            m.d.comb += [
                magnitude.eq(Mux(a[31], -a, a)),
                zeros.eq(leading_zeros(m, magnitude, "magnitude")),
                normal.eq((magnitude << zeros)[:32]),
                up.eq(normal[7] & ((normal[:7] != 0) | normal[8])),
            ]
        # The leading one adds one to the exponent, and so does a carry out of the fraction.
        rounded = Cat(normal[8:], Const(0, 7)) + Cat(Const(0, 23), (157 - zeros)[:8]) + up
        return Mux(a == 0, 0, Cat(rounded[:31], a[31]))

    def _to_bf16(self, a):
        rounded = a + 0x7FFF + a[16]
        return Mux(a[:31] > INFINITY, CANONICAL_NAN, Cat(Const(0, 16), rounded[16:32]))


