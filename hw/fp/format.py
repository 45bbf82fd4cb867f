"""The binary32 format and the bit tricks that several units of this folder share."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data

__all__ = ["CANONICAL_NAN", "INFINITY", "binary32", "leading_zeros", "normalise", "shift_left_within"]

CANONICAL_NAN = 0x7FC00000
INFINITY = 0x7F800000

binary32 = data.StructLayout({"fraction": 23, "exponent": 8, "sign": 1})


def leading_zeros(m: Module, value: Value, name: str) -> Value:
    """Leading zeros of ``value`` (at most 32 bits wide) by binary search: five tests, five two-way multiplexers.

    Contract: exact for ``value != 0``; 31 for 0. Five levels of (zero test, shift) instead of a priority chain, and nothing
    wider than a word, so it costs about 15 instructions in a simulator.
    """
    width = len(value)
    rest = Signal(32, name=f"{name}_0")
    m.d.comb += rest.eq(Cat(Const(0, 32 - width), value))
    bits = []
    for step in (16, 8, 4, 2):
        zero = Signal(name=f"{name}_zero_{step}")
        shifted = Signal(32, name=f"{name}_{step}")
        m.d.comb += [zero.eq(rest[32 - step:] == 0), shifted.eq(shift_left_within(rest, step, zero))]
        bits.insert(0, zero)
        rest = shifted
    return Cat(~rest[31], *bits)


def shift_left_within(value: Value, step: int, enable: Value) -> Value:
    """``value << step`` cut to the width of ``value`` where ``enable``, else ``value``."""
    return Mux(enable, Cat(Const(0, step), value[:-step]), value)


def normalise(m: Module, value: Value, name: str) -> tuple[Signal, Value]:
    """(``value``, 33 to 64 bits, shifted left until its top bit is one; by how many places). All ones for 0."""
    rest, width, bits = value, len(value), []
    for step in (32, 16, 8, 4, 2, 1):
        empty, shifted = Signal(name=f"{name}_empty_{step}"), Signal(width, name=f"{name}_{step}")
        m.d.comb += [empty.eq(rest[width - step:] == 0), shifted.eq(shift_left_within(rest, step, empty))]
        rest = shifted
        bits.insert(0, empty)
    return rest, Cat(*bits)
