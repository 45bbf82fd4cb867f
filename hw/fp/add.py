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
        exponent = Signal(8, reset_less=True)    # of the larger operand; 0 when they cancel, 255 for infinity
        sign = Signal(reset_less=True)
        invalid = Signal(reset_less=True)
        result = Signal(32, reset_less=True)
        self._align_and_add(m, total, exponent, sign, invalid)
        self._normalise_and_round(m, result, total, exponent, sign, invalid)
        m.d.comb += self.o.eq(result)
        return m

    def _align_and_add(self, m, total, exponent, sign, invalid):
        big, small = Signal(32), Signal(32)
        swap, opposite = Signal(), Signal()
        m.d.comb += [
            swap.eq(self.b[:31] > self.a[:31]),
            big.eq(Mux(swap, self.b, self.a)),
            # The other one: not a second multiplexer, which simulators merge with the first into a branch, taken at random.
            small.eq(self.a ^ self.b ^ big),
            opposite.eq(self.a[31] ^ self.b[31]),
        ]
        big_normal, small_normal = Signal(), Signal()
        big_exponent, small_exponent = Signal(8), Signal(8)
        m.d.comb += [
            big_normal.eq(big[23:31] != 0),
            small_normal.eq(small[23:31] != 0),
            # Subnormals have the exponent of the smallest normal numbers.
            big_exponent.eq(big[23:31] | ~big_normal),
            small_exponent.eq(small[23:31] | ~small_normal),
        ]
        # 31 places keep every bit of a shift by up to 31; anything further away is only sticky, wherever it lands.
        distance, amount = Signal(8), Signal(5)
        shifted = Signal(55)
        m.d.comb += [
            distance.eq(big_exponent - small_exponent),
            amount.eq(Mux(distance > 31, 31, distance)),
            shifted.eq(Cat(Const(0, 31), small[:23], small_normal) >> amount),
        ]
        addend = Signal(28)
        cancel = Signal()
        m.d.comb += [
            addend.eq(Cat(shifted[:29] != 0, shifted[29:]) ^ opposite.replicate(28)),
            cancel.eq((self.a ^ self.b) == 0x80000000),
        ]
        m.d.sync += [
            total.eq(Cat(Const(0, 3), big[:23], big_normal) + addend + opposite),
            exponent.eq(Mux(cancel, 0, big_exponent)),
            sign.eq(big[31] & ~cancel),
            invalid.eq((big[:31] > INFINITY) | (cancel & (big_exponent == 0xFF))),
        ]

    def _normalise_and_round(self, m, result, total, exponent, sign, invalid):
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
            magnitude.eq(Cat(Const(0, 23), (exponent - amount)[:8]) + (normal[4:] + up)),
        ]
        overflow = (exponent == 0xFF) | (magnitude >= INFINITY)
        m.d.sync += result.eq(
            Mux(invalid, CANONICAL_NAN, Cat(Mux(overflow, Const(INFINITY, 31), magnitude[:31]), sign)))
