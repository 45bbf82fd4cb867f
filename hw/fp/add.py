"""FP32 adder."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .format import CANONICAL_NAN, INFINITY, leading_zeros

__all__ = ["FpAdd"]


class FpAdd(wiring.Component):
    """``o = a + b``, IEEE-754 binary32, round to nearest even.

    Members
    -------
    ``a``, ``b`` In(32), ``o`` Out(32): bit patterns of binary32. To subtract, flip bit 31 of ``b``.

    Contract
    --------
    A pure pipeline: ``o`` is the sum of the operands that were on ``a`` and ``b`` ``latency`` cycles ago, one sum every
    cycle; no valid, no stall. No combinational path from input to output. Subnormals and
    infinities are kept; every NaN result is 0x7FC00000; an exact zero is +0 unless both operands are -0. Pipeline registers
    are not reset: the first ``latency`` results after reset mean nothing.

    Source: IEEE 754-2019, 5.4.1 and 6.3.
    """

    latency = 2
    identity = ()

    a: In(32)
    b: In(32)
    o: Out(32)

    def elaborate(self, platform):
        m = Module()
        total = Signal(28, reset_less=True)         # carry, 24-bit significand, guard, round, sticky
        exponent = Signal(8, reset_less=True)    # of the larger operand; 0 when the result is exactly zero
        sign = Signal(reset_less=True)
        infinite = Signal(reset_less=True)
        invalid = Signal(reset_less=True)
        result = Signal(32, reset_less=True)
        self._align_and_add(m, total, exponent, sign, infinite, invalid)
        self._normalise_and_round(m, result, total, exponent, sign, infinite, invalid)
        m.d.comb += self.o.eq(result)
        return m

    def _align_and_add(self, m, total, exponent, sign, infinite, invalid):
        big, small = Signal(32), Signal(32)
        swap, opposite = Signal(), Signal()
        m.d.comb += [
            swap.eq(self.b[:31] > self.a[:31]),
            big.eq(Mux(swap, self.b, self.a)),
            small.eq(Mux(swap, self.a, self.b)),
            opposite.eq(big[31] ^ small[31]),
        ]
        big_normal, small_normal = Signal(), Signal()
        m.d.comb += [big_normal.eq(big[23:31] != 0), small_normal.eq(small[23:31] != 0)]
        # Subnormals have the exponent of the smallest normal numbers.
        distance = Signal(8)
        m.d.comb += distance.eq(big[23:31] - small[23:31] - (big_normal & ~small_normal))
        # 31 places keep every bit of a shift by up to 31; anything further away is only sticky, wherever it lands.
        shifted = Signal(55)
        amount = Signal(5)
        m.d.comb += [
            amount.eq(distance[:5] | (distance[5:] != 0).replicate(5)),
            shifted.eq(Cat(Const(0, 31), small[:23], small_normal) >> amount),
        ]
        addend = Signal(27)
        m.d.comb += addend.eq(Cat(shifted[:29] != 0, shifted[29:]))
        significand = Cat(Const(0, 3), big[:23], big_normal)
        m.d.sync += [
            total.eq(significand + (addend ^ opposite.replicate(28)) + opposite),
            exponent.eq((big[23:31] | ~big_normal) & ~(opposite & (self.a[:31] == self.b[:31])).replicate(8)),
            sign.eq(big[31] & ~(opposite & (self.a[:31] == self.b[:31]))),
            infinite.eq(big[23:31] == 0xFF),
            invalid.eq((big[23:31] == 0xFF) & ((big[:23] != 0) | (opposite & (small[23:31] == 0xFF)))),
        ]

    def _normalise_and_round(self, m, result, total, exponent, sign, infinite, invalid):
        zeros, amount = Signal(5), Signal(5)
        normal = Signal(28)
        m.d.comb += [
            zeros.eq(leading_zeros(m, total, "rest")),
            # The shift stops where the result becomes subnormal.
            amount.eq(Mux(zeros > exponent, exponent, zeros)),
            normal.eq((total << amount)[:28]),
        ]
        up = Signal()
        magnitude = Signal(32)
        m.d.comb += [
            up.eq(normal[3] & (normal[:5] != 0b01000)),
            # The leading one of a normal result adds one to the exponent, and so does a carry out of the fraction.
            magnitude.eq(Cat(normal[4:], Const(0, 8)) + Cat(Const(0, 23), (exponent - amount)[:8], Const(0, 1)) + up),
        ]
        overflow = infinite | (magnitude >= INFINITY)
        m.d.sync += result.eq(
            Mux(invalid, CANONICAL_NAN, Cat(Mux(overflow, Const(INFINITY, 31), magnitude[:31]), sign)))
