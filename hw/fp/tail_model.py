"""Bit-exact numpy model of :class:`hw.fp.tail.TailUnit`, in 64-bit integers step by step as the pipeline; no HDL is imported."""

import functools

import numpy as np

from .tables import BASES, LEAST_EXPONENT, TURN_WORD, exponential_table, function_table, turn_table

__all__ = ["tail"]

CANONICAL_NAN, INFINITY, ONE, NEGATIVE = 0x7FC00000, 0x7F800000, 0x3F800000, 0x80000000
LOG2_E = 0x5C551D95          # log2(e) in units of 2**-30
LN_2 = 0x162E42FEFA39EF      # ln(2) in units of 2**-53
CHUNK = 1 << 20


@functools.cache
def _columns(kind: str) -> list[np.ndarray]:
    rows = exponential_table() if kind == "exponential" else function_table()
    return [np.array(column, dtype=np.int64) for column in zip(*rows, strict=True)]


def _interpolate(kind: str, address: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The cubic of a segment at ``t`` (23 bits), in units of 2**-30."""
    c0, c1, c2, c3 = (column[address] for column in _columns(kind))
    q2 = c2 + ((c3 * (t >> 7)) >> 16) - (t >> 7)
    q1 = c1 + ((q2 * (t >> 3)) >> 20) - ((t >> 3) << 3)
    return c0 + ((q1 * t) >> 23) - (t << 4)


def _special(name: str, bits, sign, magnitude, nan):
    """(is the result not computed by the pipeline, the result then)."""
    zero, infinite = magnitude == 0, magnitude == INFINITY
    negative = (sign == 1) & ~zero & ~nan
    exponent = magnitude >> 23
    signed = sign << 31
    if name == "BYPASS":
        return np.ones_like(nan), bits
    if name == "RELU":
        return np.ones_like(nan), np.where(nan, CANONICAL_NAN, np.where(sign == 1, 0, bits))
    if name == "EXP":
        cases = [(exponent >= 134, np.where(sign == 1, 0, INFINITY))]
    elif name == "LOG":
        cases = [(infinite, INFINITY), (negative, CANONICAL_NAN), (zero, NEGATIVE | INFINITY)]
    elif name == "RECIPROCAL":
        cases = [(infinite, signed), (zero, signed | INFINITY)]
    elif name == "RSQRT":
        cases = [(infinite, 0), (negative, CANONICAL_NAN), (zero, signed | INFINITY)]
    elif name == "SQRT":
        cases = [(infinite, INFINITY), (negative, CANONICAL_NAN), (zero, signed)]
    elif name == "TANH":
        cases = [(exponent >= 132, signed | ONE), (zero, signed)]
    elif name == "SIGMOID":
        cases = [(exponent >= 134, np.where(sign == 1, 0, ONE))]
    elif name in ("SIN", "COS"):
        cases = [(exponent < 127 + LEAST_EXPONENT, bits if name == "SIN" else ONE), (infinite, CANONICAL_NAN)]
    else:
        limit = 131 if name == "GELU" else 134
        cases = [(exponent >= limit, np.where(sign == 1, NEGATIVE, bits)), (zero, signed)]
    special, value = np.zeros_like(nan), np.zeros_like(bits)
    for condition, result in cases:
        special, value = special | condition, np.where(condition, result, value)
    return special | nan, np.where(nan, CANONICAL_NAN, value)


@functools.cache
def _turns() -> list[np.ndarray]:
    return [np.array(column, dtype=np.int64) for column in zip(*turn_table(), strict=True)]


def _reduce_angle(name: str, sign, exponent, m):
    """As :func:`_reduce` for SIN and COS: sin(pi/2 g) for the distance g to the next zero, in quarter turns."""
    low, middle, high = (m * column[exponent - LEAST_EXPONENT] for column in _turns())
    turn = ((low >> 24) + (middle << (TURN_WORD - 24)) + (high << (2 * TURN_WORD - 24))) & (1 << 60) - 1
    quadrant = (turn >> 58) + (name == "COS")
    g = np.where(quadrant & 1, ~turn, turn) & (1 << 58) - 1
    zeros = _leading_zeros(g << 4, 62)
    shifted = g << zeros
    factor = (shifted >> 34) + ((shifted >> 33) & 1)
    factor = np.where(factor >> 24, (1 << 24) - 1, factor)
    negative = ((quadrant >> 1) & 1) ^ (sign if name == "SIN" else 0)
    zero = np.zeros_like(m)
    return zero, BASES["sine_slope"] + (g >> 53), (g >> 30) & 0x7FFFFF, factor, -1 - zeros, zero, zero != 0, negative


def _reduce(name: str, sign, exponent, m):
    """(E's argument in 2**-27, table address, t, significand M, its exponent, fixed-point addend or None, subtract, sign)."""
    if name in ("SIN", "COS"):
        return _reduce_angle(name, sign, exponent, m)
    far = np.maximum(6 - exponent, 0)
    a = np.where(far > 63, 0, (m << 9) >> np.minimum(far, 63))              # |x|, 26 fraction bits
    zero = np.zeros_like(m)
    tail = (name == "TANH") & (exponent >= 0)
    if name == "TANH":
        a = np.where(tail, a << 1, a)
    half_square = (a & 0x3FFFFFFF) ** 2 >> 27
    source = (half_square if name == "GELU" else a).astype(np.uint64)
    y = ((source * np.uint64(LOG2_E)) >> np.uint64(29)).astype(np.int64)
    near = a < (2 << 26)
    index = np.where(near, (a >> 22) & 31, 16 + ((a >> 23) & 127))
    t = np.where(near, (a & 0x3FFFFF) << 1, a & 0x7FFFFF)
    index, t = np.where(a >= (16 << 26), 143, index), np.where(a >= (16 << 26), 0x7FFFFF, t)
    one = zero + (1 << 23)
    top, rest, parity = (m >> 18) & 31, (m & 0x3FFFF) << 5, exponent & 1
    negative = sign == 1
    none = zero != 0
    if name == "EXP":
        return np.where(negative, -y, y), BASES["one"] + zero, zero, one, zero, zero, none, zero
    if name == "RECIPROCAL":
        return zero, BASES["reciprocal"] + top, rest, one, -exponent, zero, none, sign
    if name == "RSQRT":
        return zero, BASES["rsqrt"] + top + 32 * parity, rest, one, -(exponent >> 1), zero, none, zero
    if name == "SQRT":
        return zero, BASES["rsqrt"] + top + 32 * parity, rest, m, (exponent >> 1) + parity, zero, none, zero
    if name == "LOG":
        high = (m >> 22) & 1
        u = np.where(high == 1, (1 << 24) - m, (m - (1 << 23)) << 1)          # |u|, 24 fraction bits
        power = exponent + high
        addend = np.abs(power) * LN_2
        below = power < 0
        return zero, BASES["logarithm"] + top, rest, u, zero - 1, addend, ((high == 1) != below) & (power != 0), \
            np.where((power < 0) | ((power == 0) & (high == 1)), 1, 0)
    if name == "SIGMOID":
        return -y, BASES["sigmoid"] + index, t, one, zero, np.where(negative, 0, 1 << 53), ~negative, zero
    if name == "TANH":
        # 1 - 2 / (exp(2 |x|) + 1) from 1 on, x * (tanh(x) / x) below.
        return np.where(tail, -y, 0), np.where(tail, BASES["sigmoid"], BASES["tanh_slope"]) + index, t, np.where(tail, one, m), \
            np.where(tail, 1, exponent), np.where(tail, 1 << 53, 0), tail, sign
    if name == "SILU":
        return np.where(negative, -y, 0), BASES["sigmoid"] + index, t, m, exponent, zero, none, sign
    if name == "GELU":
        return np.where(negative, -y, 0), np.where(negative, BASES["normal_tail"], BASES["normal_cdf"]) + index, t, m, exponent, \
            zero, none, sign
    raise ValueError(f"no tail function {name}")


def _leading_zeros(value: np.ndarray, width: int) -> np.ndarray:
    """Leading zeros in a field of ``width`` bits; ``width`` for 0."""
    count = np.zeros_like(value)
    for step in (32, 16, 8, 4, 2, 1):
        empty = (value >> (width - step)) == 0 if step < width else value == 0
        count, value = np.where(empty, count + step, count), np.where(empty, value << step, value)
    return count


def _tail(name: str, bits: np.ndarray) -> np.ndarray:
    bits = bits.astype(np.int64)
    sign, magnitude = bits >> 31, bits & 0x7FFFFFFF
    special, value = _special(name, bits, sign, magnitude, magnitude > INFINITY)
    todo = np.flatnonzero(~special)
    result = value.astype(np.uint32)
    if not len(todo):
        return result
    sign, magnitude = sign[todo], magnitude[todo]
    field, fraction = magnitude >> 23, magnitude & 0x7FFFFF
    zeros = np.where(field == 0, _leading_zeros(fraction << 8, 32), 0)
    m = np.where(field == 0, fraction << zeros, fraction | 1 << 23)
    exponent = np.where(field == 0, -126 - zeros, field - 127)
    y, address, t, factor, power, addend, subtract, sign = _reduce(name, sign, exponent, m)
    e = _interpolate("exponential", (y >> 23) & 15, y & 0x7FFFFF)
    r = _interpolate("function", address, t)
    k = (y >> 27) + power
    product = ((e * r) >> 30) * factor                                        # 53 fraction bits
    fixed = addend > 0
    fixed |= name == "LOG"
    shift = np.minimum(np.where(fixed, -k, 0), 63)
    total = addend + np.where(subtract, -(product >> shift), product >> shift)
    k = np.where(fixed, 0, k)
    result[todo] = _round(total, k, sign)
    return result


def _round(total, k, sign):
    """``total * 2**(k - 53)`` as binary32."""
    zeros = np.minimum(_leading_zeros(total, 62), 62)
    normal = total << zeros                                                    # leading one at bit 61
    word = (normal >> 36) | ((normal & ((1 << 36) - 1)) != 0)                   # 26 bits: significand, guard, sticky
    biased = k + (61 - 53 + 127) - zeros                                       # of the leading one
    down = np.clip(1 - biased, 0, 31)
    word = (word >> down) | ((word & ((np.int64(1) << down) - 1)) != 0)
    rounded = (word >> 2) + ((word >> 1) & 1 & ((word & 5) != 0))
    magnitude = (np.maximum(biased - 1, 0) << 23) + rounded
    magnitude = np.where(total == 0, 0, np.minimum(magnitude, INFINITY))
    return (magnitude | (sign << 31)).astype(np.uint32)


def tail(function, values) -> np.ndarray:
    """The result bit patterns (uint32) of a :class:`~hw.fp.function.TailFunction` (or its name) for uint32 or float32 values."""
    from .model import to_bits
    bits = to_bits(values)
    name = getattr(function, "name", function)
    flat = bits.ravel()
    parts = [_tail(name, flat[start:start + CHUNK]) for start in range(0, max(flat.size, 1), CHUNK)]
    return np.concatenate(parts).reshape(bits.shape)
