"""The coefficients of the tail's two interpolators, computed with MPFR; no HDL is imported.

Each segment of width ``h`` at ``x0`` has a cubic ``c0 + c1 t + c2 t^2 + c3 t^3``, ``t = (x - x0) / h``, through the function at
the four Chebyshev nodes of the segment, in units of 2**-30. ``c1``, ``c2``, ``c3`` are stored with an offset of 2**27, 2**23,
2**16, so that no signed multiplication is needed.
"""

import functools
from collections.abc import Callable

import gmpy2
from gmpy2 import mpfr

__all__ = ["BASES", "FRACTION_BITS", "LEAST_EXPONENT", "OFFSETS", "TURN_WORD", "WIDTHS", "exponential_table", "function_table",
           "turn_table"]

FRACTION_BITS = 30
WIDTHS = (31, 28, 24, 17)
OFFSETS = (0, 1 << 27, 1 << 23, 1 << 16)

LEAST_EXPONENT = -12         # of an operand of SIN and COS that is reduced; below it sin(x) is x and cos(x) is 1
TURN_WORD = 28               # bits of one of the three words of a row of turn_table

# Segments over |x|: 32 of width 1/16 up to 2, then 112 of width 1/8 up to 16.
ARGUMENT_SEGMENTS = [(i / 16, 1 / 16) for i in range(32)] + [(i / 8, 1 / 8) for i in range(16, 128)]
# Segments over the significand of a number in [1, 2) and, for square roots, in [2, 4).
ONE_TO_TWO = [(1 + i / 32, 1 / 32) for i in range(32)]
TWO_TO_FOUR = [(2 + i / 16, 1 / 16) for i in range(32)]


def _logarithm_slope(x: mpfr) -> mpfr:
    """ln(m) / (m - 1), where m is x below 1.5 and x / 2 from there on."""
    m = x if x < 1.5 else x / 2
    return gmpy2.log(m) / (m - 1) if m != 1 else mpfr(1)


def _sigmoid(x: mpfr) -> mpfr:
    return 1 / (1 + gmpy2.exp(-x))


def _normal_cdf(x: mpfr) -> mpfr:
    return gmpy2.erfc(-x / gmpy2.sqrt(mpfr(2))) / 2


def _scaled_normal_tail(x: mpfr) -> mpfr:
    """exp(x**2 / 2) times the normal distribution's tail beyond x."""
    return gmpy2.exp(x * x / 2) * _normal_cdf(-x)


FUNCTIONS: dict[str, tuple[Callable, list]] = {
    "sigmoid": (_sigmoid, ARGUMENT_SEGMENTS),
    "normal_cdf": (_normal_cdf, ARGUMENT_SEGMENTS),
    "normal_tail": (_scaled_normal_tail, ARGUMENT_SEGMENTS),
    "tanh_slope": (lambda x: gmpy2.tanh(x) / x, ARGUMENT_SEGMENTS[:16]),
    "rsqrt": (lambda x: 1 / gmpy2.sqrt(x), ONE_TO_TWO + TWO_TO_FOUR),
    "reciprocal": (lambda x: 1 / x, ONE_TO_TWO),
    "logarithm": (_logarithm_slope, ONE_TO_TWO),
    "one": (lambda x: mpfr(1), [(1, 1)]),
    "sine_slope": (lambda x: gmpy2.sin(gmpy2.const_pi() / 2 * x) / x, [(i / 32, 1 / 32) for i in range(32)]),
}


def _first_addresses() -> dict[str, int]:
    bases, address = {}, 0
    for name, (_, segments) in FUNCTIONS.items():
        bases[name] = address
        address += len(segments)
    return bases


BASES = _first_addresses()


def _cubic(function: Callable, x0: float, h: float) -> tuple[int, int, int, int]:
    nodes = [(1 - gmpy2.cos(gmpy2.const_pi() * (2 * i + 1) / 8)) / 2 for i in range(4)]
    # Newton's divided differences, then expanded into powers of t.
    differences = [function(mpfr(x0) + mpfr(h) * t) for t in nodes]
    for order in range(1, 4):
        for i in range(3, order - 1, -1):
            differences[i] = (differences[i] - differences[i - 1]) / (nodes[i] - nodes[i - order])
    powers = [differences[3], mpfr(0), mpfr(0), mpfr(0)]
    for i in range(2, -1, -1):
        powers = [differences[i] - nodes[i] * powers[0]] + [powers[j - 1] - nodes[i] * powers[j] for j in range(1, 4)]
    stored = tuple(int(gmpy2.rint(c * (1 << FRACTION_BITS))) + offset for c, offset in zip(powers, OFFSETS, strict=True))
    for order, (value, width) in enumerate(zip(stored, WIDTHS, strict=True)):
        if not 0 <= value < 1 << width:
            raise ValueError(f"coefficient c{order}={value} of the segment at {x0} does not fit {width} bits")
    return stored


@functools.cache
def exponential_table() -> list[tuple[int, int, int, int]]:
    """2**f for f in [0, 1): 16 segments; the first value is exactly 1."""
    with gmpy2.context(precision=120):
        table = [_cubic(gmpy2.exp2, i / 16, 1 / 16) for i in range(16)]
    return [(1 << FRACTION_BITS, *table[0][1:]), *table[1:]]


@functools.cache
def function_table() -> list[tuple[int, int, int, int]]:
    """All other functions one after the other, each from its address in ``BASES``."""
    with gmpy2.context(precision=120):
        return [_cubic(function, x0, h) for function, segments in FUNCTIONS.values() for x0, h in segments]


@functools.cache
def turn_table() -> list[tuple[int, int, int]]:
    """For each exponent from ``LEAST_EXPONENT`` to 127 the bits of 2/pi that matter for an operand with it, low word first.

    For x = m 2**(e - 23) they are w = floor(2/pi 2**(e + 59)) mod 2**84: then (m w) / 2**82 mod 4 is x in quarter turns, with
    an error below 2**-58 (Payne and Hanek's reduction: higher bits are whole turns, lower ones too small).
    """
    with gmpy2.context(precision=400):
        words = [int(gmpy2.floor(gmpy2.mul_2exp(2 / gmpy2.const_pi(), exponent + 59))) for exponent in range(LEAST_EXPONENT, 128)]
    return [tuple(word >> TURN_WORD * part & (1 << TURN_WORD) - 1 for part in range(3)) for word in words]
