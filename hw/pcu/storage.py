"""Storage types in hardware: a part of a vector of packed BF16 or INT8 as a vector of FP32."""

from amaranth.hdl import Cat, Const, Mux, Value

__all__ = ["bf16_half", "unpack", "unpack_bytes"]


def bf16_half(vector, lanes: int, part: int) -> Value:
    """Half ``part`` of a packed BF16 vector as FP32: elements ``part * lanes`` and following."""
    words = Value.cast(vector)
    return Cat(Cat(Const(0, 16), words.word_select(part * lanes + lane, 16)) for lane in range(lanes))


def unpack(vector, lanes: int, half: Value) -> Value:
    """The half of a packed BF16 vector that the signal ``half`` says, as FP32."""
    return Mux(half, bf16_half(vector, lanes, 1), bf16_half(vector, lanes, 0))


def unpack_bytes(vector, lanes: int, quarter: Value) -> Value:
    """A quarter of a vector of INT8 as FP32: elements ``quarter * lanes`` and following, exact."""
    words = Value.cast(vector)
    return Cat(_byte_to_fp32(words.word_select(quarter, 8 * lanes).word_select(lane, 8)) for lane in range(lanes))


def _byte_to_fp32(byte: Value) -> Value:
    magnitude = Mux(byte[7], -byte.as_signed(), byte)[:8]
    exponent, fraction = Const(0, 8), Const(0, 7)
    for place in range(8):                     # of the leading one; a later one overrules
        leading = magnitude[place]
        exponent = Mux(leading, Const(127 + place, 8), exponent)
        fraction = Mux(leading, Cat(Const(0, 7 - place), magnitude[:place]), fraction)
    return Cat(Const(0, 16), fraction, exponent, byte[7])
