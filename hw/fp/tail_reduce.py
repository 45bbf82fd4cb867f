"""The first half of the tail: from an operand to what the interpolators and the final product need."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from .format import leading_zeros
from .function import TailFunction
from .tables import BASES
from .tail_special import special_result

__all__ = ["Addend", "Plan", "TailReduction"]

LOG2_E = 0x5C551D95          # log2(e) in units of 2**-30
SEGMENTS = 144               # of the functions of |x| up to 16


class Addend(enum.Enum, shape=2):
    """What the product is added to or subtracted from."""

    NONE = 0          # the product is the result, scaled by a power of two
    ONE = 1
    LOGARITHM = 2     # a multiple of ln(2)


Plan = data.StructLayout({
    "special": 1,
    "pack": data.UnionLayout({
        "value": 32,                      # the result, if special
        "steps": data.StructLayout({
            "factor": 24,                 # significand that multiplies both interpolated values, 23 fraction bits
            "power": signed(10),          # of two, of the product; the multiple of ln(2) for LOGARITHM
            "addend": Addend,
            "subtract": 1,
            "sign": 1,
        }),
    }),
})


class TailReduction(wiring.Component):
    """Splits the operand of each function into a plan, a table segment and the argument of the exponential.

    Members: ``function`` In, ``a`` In(32); ``plan`` Out, ``address`` and ``t`` Out (segment of the
    function table, place in it), all ``latency`` cycles later; ``y`` Out(signed 36), the exponent of the power of two in units of
    2**-27, at the same time.

    Contract: the result is ``addend -+ 2**y * table(address, t) * factor * 2**power``, or ``plan.pack.value`` if special.
    """

    latency = 4

    function: In(TailFunction)
    a: In(32)
    plan: Out(Plan)
    address: Out(10)
    t: Out(23)
    y: Out(signed(36))

    def elaborate(self, platform):
        m = Module()
        operand = self._normalise(m)
        argument = self._fixed_point(m, operand)
        planned = self._plan(m, argument)
        self._exponent(m, planned)
        return m

    def _normalise(self, m):
        """Significand with its leading one in bit 23, unbiased exponent; special operands."""
        special, value = special_result(m, self.function, self.a)
        normal = self.a[23:31] != 0
        zeros = Signal(5)
        m.d.comb += zeros.eq(Mux(normal, 0, leading_zeros(m, Cat(self.a[:23], Const(0, 1)), "operand")))
        out = Signal(data.StructLayout({
            "function": TailFunction, "special": 1, "value": 32, "sign": 1, "significand": 24, "exponent": signed(9),
        }), reset_less=True)
        m.d.sync += [
            out.function.eq(self.function),
            out.special.eq(special),
            out.value.eq(value),
            out.sign.eq(self.a[31]),
            out.significand.eq((Cat(self.a[:23], normal) << zeros)[:24]),
            out.exponent.eq((self.a[23:31] | ~normal) - 127 - zeros),
        ]
        return out

    def _fixed_point(self, m, operand):
        """|x| with 26 fraction bits (twice that where tanh is made from a sigmoid), saturating nowhere: |x| < 128."""
        far, shift = Signal(signed(11)), Signal(6)
        wide = Cat(Const(0, 9), operand.significand)
        doubled = (operand.function == TailFunction.TANH) & (operand.exponent >= 0)
        out = Signal(data.StructLayout({"operand": operand.shape(), "magnitude": 33, "doubled": 1}), reset_less=True)
        m.d.comb += [
            far.eq(6 - operand.exponent - doubled),
            shift.eq(Mux(far < 0, 0, Mux(far > 63, 63, far))),
        ]
        m.d.sync += [out.operand.eq(operand), out.magnitude.eq(wide >> shift), out.doubled.eq(doubled)]
        return out

    def _plan(self, m, argument):
        operand = argument.operand
        magnitude, significand, exponent, sign = argument.magnitude, operand.significand, operand.exponent, operand.sign
        function = operand.function

        # Segment of a function of |x|: 32 of width 1/16 up to 2, then of width 1/8 up to 16; beyond it the last point.
        index, t = Signal(8), Signal(23)
        near, beyond = magnitude < 2 << 26, magnitude >= 16 << 26
        m.d.comb += [
            index.eq(Mux(beyond, SEGMENTS - 1, Mux(near, magnitude[22:27], magnitude[23:30] + 16))),
            t.eq(Mux(beyond, (1 << 23) - 1, Mux(near, magnitude[:22] << 1, magnitude[:23]))),
        ]
        half_square = Signal(33)
        m.d.comb += half_square.eq((magnitude[:30] * magnitude[:30])[27:])

        out = Signal(data.StructLayout({
            "plan": Plan, "address": 10, "t": 23, "exponent": 33, "growing": 1}), reset_less=True)
        steps = out.plan.pack.steps
        m.d.sync += out.plan.special.eq(operand.special)
        with m.If(operand.special):
            m.d.sync += out.plan.pack.value.eq(operand.value)
        with m.Else():
            address, place, factor = Signal(10), Signal(23), Signal(24)
            power, addend, subtract, negative = Signal(signed(10)), Signal(Addend), Signal(), Signal()
            m.d.sync += [
                steps.factor.eq(factor), steps.power.eq(power), steps.addend.eq(addend), steps.subtract.eq(subtract),
                steps.sign.eq(negative),
            ]
            exponential = Signal(33)
            m.d.sync += [
                out.address.eq(address), out.t.eq(place), out.exponent.eq(exponential),
                out.growing.eq((function == TailFunction.EXP) & ~sign),
            ]
        one = Const(1 << 23, 24)
        half, odd = exponent >> 1, exponent[0]
        top, rest = significand[18:23], Cat(Const(0, 5), significand[:18])
        m.d.comb += [place.eq(t), factor.eq(significand), power.eq(exponent), negative.eq(sign)]
        with m.Switch(function):
            with m.Case(TailFunction.EXP):
                m.d.comb += [address.eq(BASES["one"]), place.eq(0), factor.eq(one), power.eq(0), negative.eq(0),
                             exponential.eq(magnitude)]
            with m.Case(TailFunction.LOG):
                # ln(m 2**e) = e ln(2) + u slope(m), u = m - 1; from 1.5 on with m / 2 and e + 1, so that nothing cancels.
                high, multiple = significand[22], Signal(signed(10))
                m.d.comb += [
                    multiple.eq(exponent + high),
                    address.eq(top + BASES["logarithm"]), place.eq(rest),
                    factor.eq(Mux(high, -significand, Cat(Const(0, 1), significand[:23]))),
                    power.eq(Mux(multiple < 0, -multiple, multiple)),
                    addend.eq(Addend.LOGARITHM),
                    subtract.eq((high ^ (multiple < 0)) & (multiple != 0)),
                    negative.eq((multiple < 0) | ((multiple == 0) & high)),
                ]
            with m.Case(TailFunction.RECIPROCAL):
                m.d.comb += [address.eq(top + BASES["reciprocal"]), place.eq(rest), factor.eq(one), power.eq(-exponent)]
            with m.Case(TailFunction.RSQRT):
                m.d.comb += [address.eq(Cat(top, odd) + BASES["rsqrt"]), place.eq(rest), factor.eq(one), power.eq(-half),
                             negative.eq(0)]
            with m.Case(TailFunction.SQRT):
                m.d.comb += [address.eq(Cat(top, odd) + BASES["rsqrt"]), place.eq(rest), power.eq(half + odd), negative.eq(0)]
            with m.Case(TailFunction.TANH):
                # 1 - 2 exp(-2 |x|) sigmoid(2 |x|) from 1 on, x (tanh(x) / x) below.
                m.d.comb += address.eq(index + BASES["tanh_slope"])
                with m.If(argument.doubled):
                    m.d.comb += [address.eq(index + BASES["sigmoid"]), factor.eq(one), power.eq(1), addend.eq(Addend.ONE),
                                 subtract.eq(1), exponential.eq(magnitude)]
            with m.Case(TailFunction.SIGMOID):
                # exp(-|x|) sigmoid(|x|), for positive x subtracted from 1.
                m.d.comb += [address.eq(index + BASES["sigmoid"]), factor.eq(one), power.eq(0), negative.eq(0),
                             addend.eq(Mux(sign, Addend.NONE, Addend.ONE)), subtract.eq(~sign), exponential.eq(magnitude)]
            with m.Case(TailFunction.SILU):
                m.d.comb += [address.eq(index + BASES["sigmoid"]), exponential.eq(Mux(sign, magnitude, 0))]
            with m.Case(TailFunction.GELU):
                # exp(-x**2 / 2) times a table for negative x.
                m.d.comb += [address.eq(index + Mux(sign, BASES["normal_tail"], BASES["normal_cdf"])),
                             exponential.eq(Mux(sign, half_square, 0))]
        return out

    def _exponent(self, m, planned):
        y = Signal(36)
        m.d.comb += y.eq((planned.exponent * Const(LOG2_E, 31))[29:])
        outputs = [Signal.like(port, name=f"{name}_out", reset_less=True)
                   for name, port in (("plan", self.plan), ("address", self.address), ("t", self.t), ("y", self.y))]
        m.d.sync += outputs[0].eq(planned.plan)
        with m.If(~planned.plan.special):
            m.d.sync += [outputs[1].eq(planned.address), outputs[2].eq(planned.t), outputs[3].eq(Mux(planned.growing, y, -y))]
        m.d.comb += [self.plan.eq(outputs[0]), self.address.eq(outputs[1]), self.t.eq(outputs[2]), self.y.eq(outputs[3])]
