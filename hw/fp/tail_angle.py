"""Range reduction of SIN and COS: from radians to the distance from the nearest zero, in quarter turns."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.memory import Memory

from .format import normalise
from .tables import BASES, LEAST_EXPONENT, TURN_WORD, turn_table

__all__ = ["fold_turn", "quarter_turns"]

FRACTION = 58                # fraction bits of a quarter turn


def quarter_turns(m: Module, exponent: Value, significand: Value) -> Signal:
    """|x| modulo 4 quarter turns, 2 + 58 bits, for ``significand`` 2**(``exponent`` - 23) = |x|, for exponents from
    ``LEAST_EXPONENT`` on.

    Combinational: the 84 bits of 2/pi that matter for this exponent, times the significand (Payne and Hanek). The number
    closest to a multiple of pi/2 is 2**-29 quarter turns away from it, so that at least 29 bits below its leading one are right.
    """
    address, turn = Signal(range(len(turn_table()))), Signal(60)
    products = []
    for part, words in enumerate(zip(*turn_table(), strict=True)):
        m.submodules[f"two_over_pi_{part}"] = memory = Memory(shape=TURN_WORD, depth=len(words), init=words)
        port = memory.read_port(domain="comb")
        m.d.comb += port.addr.eq(address)
        products.append(significand * port.data)
    m.d.comb += [
        address.eq((exponent - LEAST_EXPONENT)[:len(address)]),
        turn.eq((products[0] >> 24) + Cat(Const(0, TURN_WORD - 24), products[1])
                + Cat(Const(0, 2 * TURN_WORD - 24), products[2][:TURN_WORD])),
    ]
    return turn


def fold_turn(m: Module, turn: Value, cosine: Value, sign: Value, out) -> None:
    """The plan of sin(pi/2 g) = g slope(g), g the distance to the next zero: drives ``address``, ``t``, ``factor``, ``power`` and
    ``sign`` of ``out``."""
    quadrant, g = Signal(2), Signal(FRACTION)
    m.d.comb += [
        quadrant.eq(turn[FRACTION:] + cosine),
        g.eq(turn[:FRACTION] ^ quadrant[0].replicate(FRACTION)),
    ]
    shifted, zeros = normalise(m, g, "distance")
    significand, lowest = shifted[FRACTION - 24:], shifted[FRACTION - 25]
    m.d.comb += [
        out.address.eq(g[FRACTION - 5:] + BASES["sine_slope"]), out.t.eq(g[FRACTION - 28:FRACTION - 5]),
        out.factor.eq(Mux(significand.all(), significand, significand + lowest)),
        out.power.eq(-1 - zeros), out.sign.eq(quadrant[1] ^ (sign & ~cosine)),
    ]
