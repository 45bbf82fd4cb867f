"""FP32 multiplier."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .format import CANONICAL_NAN, INFINITY, leading_zeros

__all__ = ["FpMul"]


class FpMul(wiring.Component):
    """``o = a * b``, IEEE-754 binary32, round to nearest even.

    Members
    -------
    ``a``, ``b`` In(32), ``o`` Out(32): bit patterns of binary32.

    Contract
    --------
    A pure pipeline: ``o`` is the product of the operands that were on ``a`` and ``b`` ``latency`` cycles ago, one product
    every cycle; no valid, no stall. No combinational path from input to output. Subnormals and infinities are kept; every
    NaN result is 0x7FC00000. Pipeline registers are not reset: the first ``latency`` results after reset mean nothing.

    Source: IEEE 754-2019, 5.4.1.
    """

    latency = 2
    identity = ()

    a: In(32)
    b: In(32)
    o: Out(32)

    def elaborate(self, platform):
        m = Module()
        product = Signal(48, reset_less=True)
        exponent = Signal(9, reset_less=True)    # biased exponent of the result, less its leading one
        drop = Signal(6, reset_less=True)        # how many bits of the product go below guard and round bit
        sign = Signal(reset_less=True)
        invalid = Signal(reset_less=True)
        result = Signal(32, reset_less=True)
        self._multiply(m, product, exponent, drop, sign, invalid)
        self._normalise_and_round(m, result, product, exponent, drop, sign, invalid)
        m.d.comb += self.o.eq(result)
        return m

    def _multiply(self, m, product, exponent, drop, sign, invalid):
        a_exponent, b_exponent = self.a[23:31], self.b[23:31]
        a_normal, b_normal = Signal(), Signal()
        m.d.comb += [a_normal.eq(a_exponent != 0), b_normal.eq(b_exponent != 0)]
        # Two subnormals make less than half of the smallest result, so the zeros of one operand are enough.
        zeros = Signal(5)
        fraction = Mux(a_normal, self.b[:23], self.a[:23])
        m.d.comb += zeros.eq(Mux(a_normal & b_normal, 0, leading_zeros(m, Cat(fraction, Const(0, 1)), "rest")))
        # The biased exponent less the leading one, before and after the zeros are shifted out.
        before, after = Signal(signed(10)), Signal(signed(10))
        m.d.comb += [
            before.eq((a_exponent | ~a_normal) + (b_exponent | ~b_normal) - 128),
            after.eq(before - zeros),
        ]
        # A product with the weight of a normal one loses 23 bits. A subnormal result is shifted less far to the left, or right.
        right = Signal(9)
        m.d.comb += right.eq(23 - Mux(after < 0, before, zeros))
        special, zero = Signal(), Signal()
        m.d.comb += [
            special.eq((a_exponent == 0xFF) | (b_exponent == 0xFF)),
            zero.eq((self.a[:31] == 0) | (self.b[:31] == 0)),
        ]
        m.d.sync += [
            product.eq(Cat(self.a[:23], a_normal) * Cat(self.b[:23], b_normal)),
            exponent.eq(Mux(special, 0x100, Mux((after < 0) | zero, 0, after))),
            drop.eq(Mux(right > 63, 63, right)),
            sign.eq(self.a[31] ^ self.b[31]),
            invalid.eq((self.a[:31] > INFINITY) | (self.b[:31] > INFINITY) | (special & zero)),
        ]

    def _normalise_and_round(self, m, result, product, exponent, drop, sign, invalid):
        wide = Signal(50)
        lost = Signal()
        kept, normal = Signal(27), Signal(27)
        m.d.comb += [
            wide.eq(Cat(Const(0, 2), product)),
            # Shifts to the right only: a left shift of a word would make a wider one.
            lost.eq((wide & (Const((1 << 63) - 1, 63) >> ~drop)) != 0),
            kept.eq((wide >> drop) | lost),
            normal.eq(Mux(kept[26], kept, kept << 1)),
        ]
        up = Signal()
        magnitude = Signal(32)
        m.d.comb += [
            up.eq(normal[2] & (normal[:4] != 0b0100)),
            # The leading one of a normal result adds one to the exponent, and so does a carry out of the fraction.
            magnitude.eq((Cat(Const(0, 23), (exponent + kept[26])[:9]) + (normal[3:] + up))[:32]),
        ]
        m.d.sync += result.eq(Mux(invalid, CANONICAL_NAN, Cat(
            Mux(magnitude >= INFINITY, Const(INFINITY, 31), magnitude[:31]), sign)))
