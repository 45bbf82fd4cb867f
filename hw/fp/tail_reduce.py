"""The first half of the tail: from an operand to what the interpolators and the final product need."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from .format import leading_zeros
from .function import TailFunction
from .tables import BASES
from .tail_angle import fold_turn, quarter_turns
from .tail_special import special_result

__all__ = ["Addend", "Plan", "TailReduction"]

LOG2_E = 0x5C551D95          # log2(e) in units of 2**-30
SEGMENTS = 144               # of the functions of |x| up to 16


class Addend(enum.Enum, shape=2):
    """What the product is added to or subtracted from."""

    NONE = 0          # the product is the result, scaled by a power of two
    ONE = 1
    LOGARITHM = 2     # a multiple of ln(2)


class Plan:
    """What is to be done with the product, a register of each kind: signals of their own, as wide records cost a simulator dearly.

    ``special``: the result is :attr:`value`, kept in the place of ``factor`` and ``power``. ``factor``: significand that multiplies
    both interpolated values, 23 fraction bits; ``power`` of two, of the product (the multiple of ln(2) for LOGARITHM); ``addend``,
    ``subtract``, ``sign``.
    """

    def __init__(self, name: str, **signals):
        shapes = {"special": 1, "factor": 24, "power": signed(10), "addend": Addend, "subtract": 1, "sign": 1}
        self.signals = {field: signals.get(field, Signal(shape, name=f"{name}_{field}", reset_less=True))
                        for field, shape in shapes.items()}

    def __getattr__(self, field):
        try:
            return self.__dict__["signals"][field]
        except KeyError:
            raise AttributeError(field) from None

    @property
    def value(self):
        """The result, if special."""
        return Cat(self.factor, self.power[:8])

    def eq(self, other) -> list:
        """Assigns every field."""
        return [signal.eq(other.signals[field]) for field, signal in self.signals.items()]


class TailReduction(wiring.Component):
    """Splits the operand of each function into a plan, a table segment and the argument of the exponential.

    Members: ``function`` In, ``a`` In(32); ``special`` to ``sign`` Out, a :class:`Plan`; ``address`` and ``t`` Out (segment of the
    function table, place in it), all ``latency`` cycles later; ``y`` Out(signed 36), the exponent of the power of two in units of
    2**-27, at the same time.

    Contract: the result is ``addend -+ 2**y * table(address, t) * factor * 2**power``, or ``Plan.value`` if special.
    """

    latency = 4

    function: In(TailFunction)
    a: In(32)
    special: Out(1)
    factor: Out(24)
    power: Out(signed(10))
    addend: Out(Addend)
    subtract: Out(1)
    sign: Out(1)
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
        out = _registers("operand", function=TailFunction, special=1, value=32, sign=1, significand=24, exponent=signed(9))
        normal, zeros = Signal(), Signal(5)
        special, value = special_result(m, self.function, self.a)
        m.d.comb += [
            normal.eq(self.a[23:31] != 0),
            zeros.eq(Mux(normal, 0, leading_zeros(m, Cat(self.a[:23], Const(0, 1)), "rest"))),
        ]
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
        """|x| with 26 fraction bits (twice that where tanh is made from a sigmoid), saturating nowhere: |x| < 128; of an angle
        the quarter turns."""
        far, shift, doubled, angle = Signal(signed(11)), Signal(6), Signal(), Signal()
        wide = Cat(Const(0, 9), operand.significand)
        out = _registers("argument", function=TailFunction, special=1, value=32, sign=1, significand=24, exponent=signed(9),
                         fixed=60, doubled=1)
        m.d.comb += [
            angle.eq((operand.function == TailFunction.SIN) | (operand.function == TailFunction.COS)),
            doubled.eq((operand.function == TailFunction.TANH) & (operand.exponent >= 0)),
            far.eq(6 - operand.exponent - doubled),
            shift.eq(Mux(far < 0, 0, Mux(far > 63, 63, far))),
        ]
        turn = quarter_turns(m, operand.exponent, operand.significand)
        m.d.sync += [getattr(out, field).eq(signal) for field, signal in vars(operand).items()]
        with m.If(~operand.special):
            m.d.sync += [out.fixed.eq(wide >> shift), out.doubled.eq(doubled)]
            with m.If(angle):
                m.d.sync += out.fixed.eq(turn)
        return out

    def _plan(self, m, argument):
        out = _registers("planned", address=10, t=23, exponent=33, growing=1)
        out.plan = Plan("planned")
        chosen = SimpleNamespace(**{name: Signal(shape, name=f"chosen_{name}") for name, shape in (
            ("address", 10), ("t", 23), ("factor", 24), ("power", signed(10)), ("addend", Addend), ("subtract", 1), ("sign", 1),
            ("exponent", 33))})
        self._choose(m, argument, chosen)
        m.d.sync += out.plan.special.eq(argument.special)
        with m.If(argument.special):
            m.d.sync += out.plan.value.eq(argument.value)
        with m.Else():
            m.d.sync += [out.plan.signals[field].eq(getattr(chosen, field)) for field in ("factor", "power")]
            m.d.sync += [
                out.plan.addend.eq(chosen.addend), out.plan.subtract.eq(chosen.subtract), out.plan.sign.eq(chosen.sign),
                out.address.eq(chosen.address), out.t.eq(chosen.t), out.exponent.eq(chosen.exponent),
                out.growing.eq((argument.function == TailFunction.EXP) & ~argument.sign),
            ]
        return out

    @staticmethod
    def _segment(m, magnitude):
        """Segment of a function of |x|: 32 of width 1/16 up to 2, then of width 1/8 up to 16; beyond it the last point."""
        index, t = Signal(8), Signal(23)
        near, beyond = Signal(), Signal()
        m.d.comb += [
            near.eq(magnitude < 2 << 26), beyond.eq(magnitude >= 16 << 26),
            index.eq(Mux(beyond, SEGMENTS - 1, Mux(near, magnitude[22:27], magnitude[23:30] + 16))),
            t.eq(Mux(beyond, (1 << 23) - 1, Mux(near, magnitude[:22] << 1, magnitude[:23]))),
        ]
        return index, t

    def _choose(self, m, argument, out):
        """The plan of each function."""
        magnitude, significand, exponent, sign = argument.fixed[:33], argument.significand, argument.exponent, argument.sign
        address, place, factor, power, negative, exponential = out.address, out.t, out.factor, out.power, out.sign, out.exponent
        addend, subtract = out.addend, out.subtract
        index, t = self._segment(m, magnitude)
        one = Const(1 << 23, 24)
        half, odd = exponent >> 1, exponent[0]
        top, rest = significand[18:23], Cat(Const(0, 5), significand[:18])
        m.d.comb += [place.eq(t), factor.eq(significand), power.eq(exponent), negative.eq(sign)]
        with m.Switch(argument.function):
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
                             exponential.eq(Mux(sign, (magnitude[:30] * magnitude[:30])[27:], 0))]
            with m.Case(TailFunction.SIN, TailFunction.COS):
                fold_turn(m, argument.fixed, argument.function == TailFunction.COS, sign, out)

    def _exponent(self, m, planned):
        plan, address, t, y = Plan("out"), Signal(10, reset_less=True), Signal(23, reset_less=True), Signal(signed(36), reset_less=True)
        magnitude = Signal(36)
        m.d.comb += magnitude.eq((planned.exponent * Const(LOG2_E, 31))[29:])
        m.d.sync += plan.eq(planned.plan)
        with m.If(~planned.plan.special):
            m.d.sync += [address.eq(planned.address), t.eq(planned.t), y.eq(Mux(planned.growing, magnitude, -magnitude))]
        m.d.comb += [self.address.eq(address), self.t.eq(t), self.y.eq(y)]
        m.d.comb += [getattr(self, field).eq(signal) for field, signal in plan.signals.items()]


def _registers(name: str, **shapes) -> SimpleNamespace:
    """A pipeline register for each field."""
    return SimpleNamespace(**{field: Signal(shape, name=f"{name}_{field}", reset_less=True)
                              for field, shape in shapes.items()})
