"""The tail of a lane: elementary functions, one result a cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .format import INFINITY
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
    o: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.reduction = reduction = TailReduction()
        m.submodules.exponential = exponential = Interpolator(exponential_table())
        m.submodules.table = table = Interpolator(function_table())
        m.d.comb += [
            reduction.function.eq(self.function),
            reduction.a.eq(self.a),
            exponential.enable.eq(~reduction.plan.special),
            table.enable.eq(~reduction.plan.special),
            exponential.t.eq(reduction.y[:23]),
            exponential.address.eq(reduction.y[23:27]),
            table.t.eq(reduction.t),
            table.address.eq(reduction.address),
        ]
        scaled = Signal(Plan)
        m.d.comb += scaled.eq(reduction.plan)
        with m.If(~reduction.plan.special):
            m.d.comb += scaled.pack.steps.power.eq(reduction.plan.pack.steps.power + (reduction.y >> 27))
        plan = self._delay(m, scaled, Interpolator.latency, "plan_interpolated")

        product = Signal(31, reset_less=True)
        with m.If(~plan.special):
            m.d.sync += product.eq((exponential.o * table.o)[30:])
        plan = self._delay(m, plan, 1, "plan_product")
        full = Signal(55, reset_less=True)
        with m.If(~plan.special):
            m.d.sync += full.eq(product * plan.pack.steps.factor)
        plan = self._delay(m, plan, 1, "plan_full")

        total, plan = self._add(m, full, plan)
        word, biased, plan = self._normalise(m, total, plan)
        self._round(m, word, biased, plan)
        return m

    @staticmethod
    def _delay(m, value, cycles: int, name: str):
        for cycle in range(cycles):
            delayed = Signal.like(value, name=f"{name}_{cycle}", reset_less=True)
            m.d.sync += delayed.eq(value)
            value = delayed
        return value

    def _add(self, m, product, plan):
        """The product, or the sum with the addend in fixed point with 53 fraction bits."""
        steps = plan.pack.steps
        addend, shift = Signal(TOTAL_BITS), Signal(6)
        alone = steps.addend == Addend.NONE
        down = Signal(signed(11))
        m.d.comb += down.eq(Mux(steps.addend == Addend.LOGARITHM, 1, -steps.power))
        m.d.comb += [
            shift.eq(Mux(alone, 0, Mux(down > 63, 63, down))),
            addend.eq(Mux(alone, 0, Mux(steps.addend == Addend.ONE, 1 << 53, steps.power[:8] * Const(LN_2, 53)))),
        ]
        term, total = Signal(TOTAL_BITS), Signal(TOTAL_BITS, reset_less=True)
        m.d.comb += term.eq(product >> shift)
        with m.If(~plan.special):
            m.d.sync += total.eq(addend + (term ^ steps.subtract.replicate(TOTAL_BITS)) + steps.subtract)
        summed = Signal(Plan)
        m.d.comb += summed.eq(plan)
        with m.If(~plan.special & ~alone):
            m.d.comb += summed.pack.steps.power.eq(0)
        return total, self._delay(m, summed, 1, "plan_total")

    def _normalise(self, m, total, plan):
        """(24-bit significand, guard and sticky bit; biased exponent; plan)."""
        rest, bits = total, []
        for step in (32, 16, 8, 4, 2, 1):
            empty, shifted = Signal(name=f"empty_{step}"), Signal(TOTAL_BITS, name=f"normal_{step}")
            m.d.comb += [empty.eq(rest[TOTAL_BITS - step:] == 0), shifted.eq(Mux(empty, Cat(Const(0, step), rest[:-step]), rest))]
            rest = shifted
            bits.insert(0, empty)
        word, biased = Signal(26, reset_less=True), Signal(signed(11), reset_less=True)
        with m.If(~plan.special):
            m.d.sync += [
                word.eq(Cat(rest[:37] != 0, rest[37:])),
                biased.eq(plan.pack.steps.power + (TOTAL_BITS - 1 - 53 + 127) - Cat(*bits)),
            ]
        return word, biased, self._delay(m, plan, 1, "plan_normal")

    def _round(self, m, word, biased, plan):
        down, amount = Signal(signed(12)), Signal(5)
        lost = Signal()
        kept = Signal(26)
        m.d.comb += [
            down.eq(1 - biased),
            amount.eq(Mux(down < 0, 0, Mux(down > 31, 31, down))),
            lost.eq((word & (Const((1 << 31) - 1, 31) >> ~amount)) != 0),
            kept.eq((word >> amount) | lost),
        ]
        magnitude, result = Signal(33), Signal(32, reset_less=True)
        up = kept[1] & (kept[0] | kept[2])
        m.d.comb += magnitude.eq(Cat(Const(0, 23), Mux(down >= 0, 0, biased - 1)[:10]) + (kept[2:] + up))
        empty = ~word[25]
        m.d.sync += result.eq(Mux(plan.special, plan.pack.value, Cat(
            Mux(empty, 0, Mux(magnitude >= INFINITY, Const(INFINITY, 31), magnitude[:31])), plan.pack.steps.sign)))
        m.d.comb += self.o.eq(result)
