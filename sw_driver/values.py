"""Values that a schedule computes while it runs: registers of the sequencer and linear expressions of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hw.host.instructions import ScheduleError

__all__ = ["Linear", "Value", "linear"]

WORD = (1 << 32) - 1


@dataclass(frozen=True)
class Linear:
    """``constant`` + the sum of coefficient x register; arithmetic is modulo 2**32. Made by ``+``, ``-`` and ``*`` of integers."""

    terms: tuple[tuple[Value, int], ...] = ()
    constant: int = 0

    def __add__(self, other: Linear | int) -> Linear:
        other = linear(other)
        sums: dict[Value, int] = dict(self.terms)
        for register, coefficient in other.terms:
            sums[register] = sums.get(register, 0) + coefficient
        return Linear(tuple((register, number) for register, number in sums.items() if number), self.constant + other.constant)

    __radd__ = __add__

    def __mul__(self, factor: int) -> Linear:
        if not isinstance(factor, int):
            raise ScheduleError(f"{self} * {factor!r}: a value can be multiplied by an integer only")
        return Linear(tuple((register, number * factor) for register, number in self.terms if factor), self.constant * factor)

    __rmul__ = __mul__

    def __neg__(self) -> Linear:
        return self * -1

    def __sub__(self, other: Linear | int) -> Linear:
        return self + -linear(other)

    def __rsub__(self, other: Linear | int) -> Linear:
        return linear(other) - self

    @property
    def range(self) -> tuple[int, int]:
        """The least and the greatest value that it can have, by the ``most`` of its registers."""
        low = sum(min(0, number * register.most) for register, number in self.terms)
        high = sum(max(0, number * register.most) for register, number in self.terms)
        return self.constant + low, self.constant + high

    def __str__(self) -> str:
        parts = [f"{number} * {register.name}" if number != 1 else register.name for register, number in self.terms]
        return " + ".join([*parts, str(self.constant)] if self.constant or not parts else parts)


@dataclass(frozen=True, eq=False)
class Value(Linear):
    """A register of the sequencer. ``initial``: its value when the schedule begins; ``most``: it never holds more than this,
    which its user promises."""

    name: str = ""
    initial: int = 0
    most: int = WORD
    terms: tuple[tuple[Value, int], ...] = field(default=(), repr=False)

    def __post_init__(self):
        object.__setattr__(self, "terms", ((self, 1),))

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"Value({self.name!r})"


def linear(value: Linear | int) -> Linear:
    """``value`` as an expression. Raises :class:`ScheduleError` for anything that is none."""
    if isinstance(value, Linear):
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ScheduleError(f"{value!r} is neither an integer nor a value of the schedule")
    return Linear((), value.__index__())
