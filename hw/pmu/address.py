"""The address pipeline as software sees it: what a stage computes, and stages for common needs. No HDL is imported here.

Stages work on the pair (x, y) of an access: x begins as the engine's address *in half-words*, y as its index.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Base", "Counter", "Factor", "Operation", "Scalar", "Sequence", "Shard", "Stage", "extract", "index_times", "insert",
           "modulo", "within"]


class Operation(enum.IntEnum):
    """What a stage does; ``base`` and ``factor`` are operands, ``a`` and ``b`` constants."""

    MAC = 0          # (base + factor * a) >> b
    EXTRACT = 1      # (factor >> b) & a
    INSERT = 2       # base with the bits of mask ``a << b`` replaced by those of factor (shift and set)
    RANGE = 3        # predicate: b <= factor < b + a


class Base(enum.IntEnum):
    ZERO = 0
    X = 1
    Y = 2


class Factor(enum.IntEnum):
    ONE = 0
    X = 1
    Y = 2


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage; the result goes to y if ``to_y``, else to x. Numbers wrap at the width of an address."""

    operation: Operation
    a: int
    b: int = 0
    base: Base = Base.ZERO
    factor: Factor = Factor.ONE
    to_y: bool = False

    def apply(self, x: int, y: int, predicate: bool, bits: int) -> tuple[int, int, bool]:
        """The stage in Python, bit for bit; ``bits`` is the width of x and y."""
        mask = (1 << bits) - 1
        a = self.a & mask
        base = (0, x, y)[self.base]
        factor = (1, x, y)[self.factor]
        if self.operation is Operation.RANGE:
            return x, y, predicate & ((factor - self.b & mask) < a)
        if self.operation is Operation.MAC:
            result = (base + factor * a & (1 << 2 * bits) - 1) >> self.b
        elif self.operation is Operation.EXTRACT:
            result = factor >> self.b & a
        else:
            result = base & ~(a << self.b) | (factor & a) << self.b
        result &= mask
        return (x, result, predicate) if self.to_y else (result, y, predicate)


@dataclass(frozen=True)
class Sequence:
    """Index: the sequence ID of the packet that is written."""


@dataclass(frozen=True)
class Counter:
    """Index: the counter of loop ``level``."""

    level: int


@dataclass(frozen=True)
class Scalar:
    """Index: a word of scalar input ``port``; each serves for one round of the ``loops`` innermost loops (0: one access)."""

    port: int
    loops: int = 0


@dataclass(frozen=True)
class Shard:
    """Which part of a larger tensor is here: elements ``lower`` to ``lower + size - 1`` lie at ``place`` and after it; an
    access that begins outside is dropped silently."""

    lower: int
    size: int
    place: int = 0


def index_times(halves: int) -> Stage:
    """x + y * ``halves``: gather, scatter and sequence-ID addressing."""
    return Stage(operation=Operation.MAC, base=Base.X, factor=Factor.Y, a=halves)


def extract(shift: int, mask: int, *, of: Factor = Factor.X, to_y: bool = True) -> Stage:
    """Bit-field extract: (x >> shift) & mask."""
    return Stage(operation=Operation.EXTRACT, factor=of, a=mask, b=shift, to_y=to_y)


def insert(shift: int, mask: int) -> Stage:
    """Shift and set: the field of x at ``shift`` becomes y."""
    return Stage(operation=Operation.INSERT, base=Base.X, factor=Factor.Y, a=mask, b=shift)


def within(lower: int, size: int, *, of: Factor = Factor.Y) -> Stage:
    """Predicate: ``lower`` <= y < ``lower + size``."""
    return Stage(operation=Operation.RANGE, factor=of, a=size, b=lower)


def modulo(divisor: int, bits: int) -> tuple[Stage, Stage]:
    """y = x // divisor and x = x % divisor, exact for 0 <= x < 2**bits; the quotient stays in y."""
    shift = bits + (divisor - 1).bit_length()
    if shift > 31:
        raise ValueError(f"modulo({divisor}, bits={bits}) needs a shift of {shift}, a stage shifts by at most 31")
    reciprocal = -(-(1 << shift) // divisor)
    return (Stage(operation=Operation.MAC, factor=Factor.X, a=reciprocal, b=shift, to_y=True),
            Stage(operation=Operation.MAC, base=Base.X, factor=Factor.Y, a=-divisor))
