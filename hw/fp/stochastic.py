"""Stochastic rounding of FP32 to BF16, and the counter-based generator of its random bits."""

from amaranth.hdl import Cat, Const, EnableInserter, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .format import CANONICAL_NAN, INFINITY

__all__ = ["CounterRandom", "round_stochastic"]

# Multipliers and shifts of a 32-bit mixing function ("lowbias32", Wellons' hash prospector, public domain).
FIRST, SECOND = 0x7FEB352D, 0x846CA68B
STREAM = 0x9E3779B9


class CounterRandom(wiring.Component):
    """Random words that are a function of (seed, stream, count) and nothing else, so that a run can be repeated.

    Members: ``seed`` In(32); ``stream`` In(16), which generator this is (a lane number, say); ``count`` In(32); ``o`` Out(32).
    ``hold`` In: nothing moves.
    Contract: ``o`` is the word of the inputs ``latency`` cycles ago, a new one every cycle;
    :func:`hw.fp.model.counter_random` is the same. Not for cryptography.
    """

    latency = 2
    identity = ()

    seed: In(32)
    stream: In(16)
    count: In(32)
    hold: In(1)
    o: Out(32)

    def elaborate(self, platform):
        m = Module()
        start = self.count + self.stream * Const(STREAM, 32)
        first, second = Signal(32), Signal(32)
        mixed, result = Signal(32, reset_less=True), Signal(32, reset_less=True)
        m.d.comb += first.eq(start[:32] ^ self.seed)
        m.d.sync += mixed.eq((first ^ (first >> 16)) * FIRST)
        m.d.comb += second.eq((mixed ^ (mixed >> 15)) * SECOND)
        m.d.sync += result.eq(second ^ (second >> 16))
        m.d.comb += self.o.eq(result)
        return EnableInserter(~self.hold)(m)


def round_stochastic(value: Value, random: Value) -> Value:
    """The BF16 neighbour (16 bits) of a binary32 ``value``: away from zero with the probability of the part that is cut off.

    ``random``: 16 uniform bits. Exact values, infinities and zeros stay; NaN becomes 0x7FC0; past the largest BF16 number lies
    infinity. Combinational: one 31-bit addition.
    """
    rounded = value[:31] + random[:16]
    keep = value[:31] >= INFINITY
    return Mux(value[:31] > INFINITY, CANONICAL_NAN >> 16, Cat(Mux(keep, value[16:31], rounded[16:31]), value[31]))
