"""The tail of a lane: elementary functions, one result a cycle."""

from amaranth.hdl import Cat, Const, EnableInserter, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .format import INFINITY, normalise
from .function import TailFunction
from .interpolate import Interpolator
from .tables import exponential_table, function_table
from .tail_reduce import Addend, Plan, TailReduction

__all__ = ["TailUnit"]

LN_2 = 0x162E42FEFA39EF      # ln(2) in units of 2**-53
TOTAL_BITS = 62


class TailUnit(wiring.Component):
    """One lane of the tail: an elementary function of a binary32 number.

    Every function is ``addend -+ 2**y * table(segment, t) * factor * 2**power``: the reduction chooses the parts, two
    interpolators (``2**fraction`` and a table of all functions) work side by side, two multiplications join them.

    Members
    -------
    ``function`` In, a :class:`~hw.fp.function.TailFunction`; may change every cycle. ``a`` In(32), ``o`` Out(32): binary32.
    ``hold`` In: nothing moves; time, for this unit, stands still (a clock enable).

    Contract
    --------
    A pure pipeline: ``o`` belongs to ``function`` and ``a`` of ``latency`` cycles ago, one result every cycle, the same latency
    for every function; no valid, no stall.
    Relative error at most 2**-22 wherever the result is normal, half a unit in the
    last place where it is subnormal; exact for special operands; every NaN result is 0x7FC00000. BYPASS gives
    the bits of ``a`` unchanged. :func:`hw.fp.tail_model.tail` is the same bit for bit. Pipeline registers are not reset: the
    first ``latency`` results after reset mean nothing.
    """

    latency = TailReduction.latency + Interpolator.latency + 5
    identity = ()

    function: In(TailFunction)
    a: In(32)
    hold: In(1)
    o: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.reduction = reduction = TailReduction()
        m.submodules.exponential = exponential = Interpolator(exponential_table())
        m.submodules.table = table = Interpolator(function_table())
        first = Plan("scaled", **{field: getattr(reduction, field) for field in ("special", "factor", "addend", "subtract", "sign")},
                     power=Signal(signed(10), name="scaled_power"))
        enable = ~first.special
        m.d.comb += [
            reduction.function.eq(self.function),
            reduction.a.eq(self.a),
            exponential.enable.eq(enable),
            table.enable.eq(enable),
            exponential.t.eq(reduction.y[:23]),
            exponential.address.eq(reduction.y[23:27]),
            table.t.eq(reduction.t),
            table.address.eq(reduction.address),
            first.power.eq(reduction.power + Mux(first.special, 0, reduction.y >> 27)),
        ]
        plan = first
        for cycle in range(Interpolator.latency):
            plan = self._delay(m, plan, f"plan_interpolated_{cycle}")

        product = Signal(31, reset_less=True)
        with m.If(~plan.special):
            m.d.sync += product.eq((exponential.o * table.o)[30:])
        plan = self._delay(m, plan, "plan_product")
        full = Signal(55, reset_less=True)
        with m.If(~plan.special):
            m.d.sync += full.eq(product * plan.factor)
        plan = self._delay(m, plan, "plan_full")

        total, plan = self._add(m, full, plan)
        word, biased, plan = self._normalise(m, total, plan)
        self._round(m, word, biased, plan)
        return EnableInserter(~self.hold)(m)

    def _delay(self, m, plan: Plan, name: str) -> Plan:
        """The ``plan`` a cycle later."""
        delayed = Plan(name)
        m.d.sync += delayed.eq(plan)
        return delayed

    def _add(self, m, product, plan):
        """The product, or the sum with the addend in fixed point with 53 fraction bits."""
        addend, shift, alone = Signal(TOTAL_BITS), Signal(6), Signal()
        down = Signal(signed(11))
        term, total = Signal(TOTAL_BITS), Signal(TOTAL_BITS, reset_less=True)
        m.d.comb += [
            alone.eq(plan.addend == Addend.NONE),
            down.eq(Mux(plan.addend == Addend.LOGARITHM, 1, -plan.power)),
            shift.eq(Mux(alone, 0, Mux(down > 63, 63, down))),
            addend.eq(Mux(alone, 0, Mux(plan.addend == Addend.ONE, 1 << 53, plan.power[:8] * Const(LN_2, 53)))),
            term.eq(product >> shift),
        ]
        with m.If(~plan.special):
            m.d.sync += total.eq(addend + (term ^ plan.subtract.replicate(TOTAL_BITS)) + plan.subtract)
        summed = Plan("summed", **(plan.signals | {"power": Signal(signed(10), name="summed_power")}))
        m.d.comb += summed.power.eq(Mux(plan.special | alone, plan.power, 0))
        return total, self._delay(m, summed, "plan_total")

    def _normalise(self, m, total, plan):
        """(24-bit significand, guard and sticky bit; biased exponent; plan)."""
        word, biased = Signal(26, reset_less=True), Signal(signed(11), reset_less=True)
        rest, zeros = normalise(m, total, "normal")
        with m.If(~plan.special):
            m.d.sync += [
                word.eq(Cat(rest[:37] != 0, rest[37:])),
                biased.eq(plan.power + (TOTAL_BITS - 1 - 53 + 127) - zeros),
            ]
        return word, biased, self._delay(m, plan, "plan_normal")

    def _round(self, m, word, biased, plan):
        down, amount = Signal(signed(12)), Signal(5)
        lost = Signal()
        up, empty = Signal(), Signal()
        kept, magnitude = Signal(26), Signal(33)
        result = Signal(32, reset_less=True)
        m.d.comb += [
            self.o.eq(result),
            down.eq(1 - biased),
            amount.eq(Mux(down < 0, 0, Mux(down > 31, 31, down))),
            lost.eq((word & (Const((1 << 31) - 1, 31) >> ~amount)) != 0),
            kept.eq((word >> amount) | lost),
            up.eq(kept[1] & (kept[0] | kept[2])),
            magnitude.eq(Cat(Const(0, 23), Mux(down >= 0, 0, biased - 1)[:10]) + (kept[2:] + up)),
            empty.eq(~word[25]),
        ]
        with m.If(plan.special):
            m.d.sync += result.eq(plan.value)
        with m.Else():
            m.d.sync += result.eq(Cat(
                Mux(empty, 0, Mux(magnitude >= INFINITY, Const(INFINITY, 31), magnitude[:31])), plan.sign))
