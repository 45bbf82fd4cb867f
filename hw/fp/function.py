"""The functions of the tail."""

from amaranth.lib import enum

__all__ = ["TailFunction"]


class TailFunction(enum.Enum, shape=4):
    """What a :class:`hw.fp.tail.TailUnit` does to its operand; other codes work as BYPASS."""

    BYPASS = 0
    RELU = 1
    EXP = 2
    LOG = 3
    RECIPROCAL = 4
    RSQRT = 5
    SQRT = 6
    TANH = 7
    SIGMOID = 8
    GELU = 9          # x * Phi(x), Phi the normal distribution function (the definition with erf)
    SILU = 10
    SIN = 11          # of radians, over the whole finite range
    COS = 12
