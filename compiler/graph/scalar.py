"""The steps of a MAP written as Python expressions: ``trace(lambda x, g, b: x * g + b, [False] * 3)``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .ir import INTEGER_RESULT, Argument, Function, Map, Step

__all__ = ["Scalar", "trace"]


class _Trace:
    """Steps so far; the same step is made once."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._known: dict[str, int] = {}       # by text: 0, 0.0 and -0.0 are equal in Python

    def add(self, step: Step) -> Argument:
        number = self._known.setdefault(repr(step), len(self.steps))
        if number == len(self.steps):
            self.steps.append(step)
        return Argument("step", number)


@dataclass(frozen=True, eq=False)
class Scalar:
    """A value inside a MAP: FP32 or INT32. Python numbers mix in; arithmetic follows the type."""

    trace: _Trace
    argument: Argument
    integer: bool

    def apply(self, function: Function, *others: Scalar | float, integer: bool | None = None) -> Scalar:
        """``function`` of this value and the others."""
        arguments = (self.argument, *(self._argument(other) for other in others))
        result = function in INTEGER_RESULT if integer is None else integer
        return Scalar(self.trace, self.trace.add(Step(function, arguments)), result)

    def _argument(self, other: Scalar | float) -> Argument:
        if isinstance(other, Scalar):
            return other.argument
        return Argument("constant", int(other) if self.integer else float(other))

    def lift(self, number: float) -> Scalar:
        """A constant of this value's type."""
        return Scalar(self.trace, self._argument(number), self.integer)

    def index(self, axis: int) -> Scalar:
        """Position along an axis of the output, INT32."""
        return Scalar(self.trace, Argument("index", axis), True)

    def __add__(self, other: Scalar | float) -> Scalar:
        return self.apply(Function.ADD if self.integer else Function.FADD, other)

    def __sub__(self, other: Scalar | float) -> Scalar:
        return self.apply(Function.SUB if self.integer else Function.FSUB, other)

    def __mul__(self, other: Scalar | float) -> Scalar:
        return self.apply(Function.MUL if self.integer else Function.FMUL, other)

    def __lt__(self, other: Scalar | float) -> Scalar:
        return self.apply(Function.LT if self.integer else Function.FLT, other)

    def __le__(self, other: Scalar | float) -> Scalar:
        return self.apply(Function.LE if self.integer else Function.FLE, other)

    def __gt__(self, other: Scalar | float) -> Scalar:
        return self._value(other) < self

    def __ge__(self, other: Scalar | float) -> Scalar:
        return self._value(other) <= self

    def __and__(self, other: Scalar | int) -> Scalar:
        return self.apply(Function.AND, other)

    def __or__(self, other: Scalar | int) -> Scalar:
        return self.apply(Function.OR, other)

    def equals(self, other: Scalar | float) -> Scalar:
        """1 where equal, else 0."""
        return self.apply(Function.EQ if self.integer else Function.FEQ, other)

    def minimum(self, other: Scalar | float) -> Scalar:
        return self.apply(Function.MIN if self.integer else Function.FMIN, other)

    def maximum(self, other: Scalar | float) -> Scalar:
        return self.apply(Function.MAX if self.integer else Function.FMAX, other)

    def mac(self, factor: Scalar | float, addend: Scalar | float) -> Scalar:
        """self * factor + addend, FP32."""
        return self.apply(Function.FMAC, factor, addend)

    def select(self, yes: Scalar | float, no: Scalar | float) -> Scalar:
        """``yes`` where this INT32 is not 0, else ``no``; at least one of them is a Scalar and gives the type."""
        model = yes if isinstance(yes, Scalar) else no
        yes, no = model._value(yes), model._value(no)
        return yes.apply(Function.SELECT, no, self, integer=model.integer)

    def _value(self, other: Scalar | float) -> Scalar:
        return other if isinstance(other, Scalar) else self.lift(other)

    def to_float(self) -> Scalar:
        """FP32; itself if it is one."""
        return self.apply(Function.TO_FP) if self.integer else self

    def to_integer(self) -> Scalar:
        """INT32, towards zero; itself if it is one."""
        return self if self.integer else self.apply(Function.TO_INT)


def trace(function: Callable[..., Scalar], integers: list[bool]) -> tuple[Map, bool]:
    """The MAP of ``function`` over inputs, of which ``integers`` tells the types, and whether its result is an INT32."""
    steps = _Trace()
    inputs = [Scalar(steps, Argument("input", number), integer) for number, integer in enumerate(integers)]
    result = function(*inputs)
    if result.argument.kind != "step":             # a MAP has at least one step
        result = result + 0 if result.integer else result * 1.0
    if result.argument.value != len(steps.steps) - 1:
        steps.steps.append(steps.steps[result.argument.value])
    return Map(tuple(steps.steps)), result.integer
