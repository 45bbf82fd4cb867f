"""Schedules for hardware-orchestrated launch: what the device does by itself, kernel after kernel.

    schedule = Schedule("decode")
    position = schedule.value("position", most=2047)
    token = schedule.value("token", most=255)
    with schedule.loop(32):
        schedule.launch(embed, row=token * 128 + table.address)
        with schedule.loop(layers) as layer:
            schedule.launch(decoder, weights=layer.index * layer_bytes + weights.address, length=position + 1)
        schedule.read(token, answer)                 # waits for the kernel that writes it
        schedule.signal(token)                       # the host's doorbell
        schedule.set(position, position + 1)
        schedule.leave_if(token, "==", end_of_text)
    run = device.run_schedule(schedule, position=17, token=65)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hw.host.instructions import LOOP_DEPTH, Compare, ScheduleError

from .kernel import Kernel, KernelError
from .memory import Buffer
from .values import WORD, Linear, Value, linear

__all__ = ["MOST_VALUES", "Launch", "Leave", "Loop", "Read", "Schedule", "ScheduleError", "Set", "Signal", "Wait", "WaitCounter",
           "WaitMemory", "WaitToken", "Write"]

MOST_VALUES = 13                  # registers but R0 and two for intermediate results
COMPARES = {"==": Compare.EQ, "!=": Compare.NE, "<": Compare.LT, ">=": Compare.GE}


@dataclass(frozen=True)
class Place:
    """A word of device memory."""

    tier: int
    address: Linear


@dataclass(frozen=True)
class Launch:
    kernel: Kernel
    arguments: dict[str, Linear]


@dataclass(frozen=True)
class Set:
    value: Value
    to: Linear


@dataclass(frozen=True)
class Read:
    value: Value
    place: Place
    settled: bool


@dataclass(frozen=True)
class Write:
    place: Place
    source: Linear
    settled: bool


@dataclass(frozen=True)
class Signal:
    value: Linear
    interrupt: bool
    settled: bool


@dataclass(frozen=True)
class Wait:
    """``groups``: a mask; None: all that run."""

    groups: int | None


@dataclass(frozen=True)
class WaitMemory:
    place: Place
    compare: Compare
    value: Linear


@dataclass(frozen=True)
class WaitCounter:
    unit: str
    event: str
    compare: Compare
    value: int


@dataclass(frozen=True)
class WaitToken:
    agcu: int


@dataclass(frozen=True)
class Leave:
    left: Linear
    compare: Compare
    right: Linear


@dataclass
class Loop:
    """A loop; ``index`` is the number of the iteration, from 0 (a register that only a loop whose index is used has). ``number``: the
    how manieth loop of the schedule it is."""

    count: Linear
    number: int
    schedule: Schedule = field(repr=False)
    body: list = field(default_factory=list)
    counter: Value | None = None

    @property
    def index(self) -> Value:
        if self.counter is None:
            most = self.count.range[1] - 1
            self.counter = self.schedule.value(f"index of loop {self.number}", most=min(max(most, 0), WORD))
        return self.counter


class Schedule:
    """A program for the device's sequencer, built step by step; nothing is sent until :meth:`Device.run_schedule`.

    Contract: steps happen in order. ``launch`` starts a kernel when the one before it in its group has finished, and goes on; kernels
    of different groups run side by side. A step that looks at memory (``read``, ``write``, ``signal``) waits for all kernels
    launched before it, unless ``settled=False``. The schedule ends when all its kernels have.
    ``shadow=False``: programs are loaded in place even if the device has shadows.
    An argument that a launch does not give has its value in the kernel's image, whatever earlier launches gave.
    Errors: :class:`ScheduleError` naming the step and the field.
    """

    def __init__(self, name: str = "schedule", *, shadow: bool = True):
        self.name, self.shadow = name, shadow
        self.steps: list = []
        self.values: list[Value] = []
        self._open: list[Loop] = []
        self._loops = 0

    # Values ---------------------------------------------------------------------------------------------------------------
    def value(self, name: str = "", initial: int = 0, *, most: int = WORD) -> Value:
        """A new register of the sequencer. ``most``: what it can hold at most, needed where it goes into a narrow field."""
        if len(self.values) == MOST_VALUES:
            raise ScheduleError(f"{self.name}: {MOST_VALUES} values at most: {', '.join(v.name for v in self.values)}, now {name!r}")
        if not 0 <= initial <= WORD or not 0 <= most <= WORD:
            raise ScheduleError(f"{self.name}: value {name!r}: initial={initial} and most={most} must fit in 32 bits")
        if name and any(name == other.name for other in self.values):
            raise ScheduleError(f"{self.name}: there is a value {name!r} already")
        self.values.append(Value(name=name or f"value {len(self.values)}", initial=initial, most=most))
        return self.values[-1]

    def set(self, value: Value, to: Linear | int) -> None:
        """``value`` becomes ``to``."""
        self._add(Set(self._own(value), self._known(to)))

    def read(self, value: Value, buffer: Buffer, offset: Linear | int = 0, *, settled: bool = True) -> None:
        """``value`` becomes the 32-bit word at byte ``offset`` of ``buffer``."""
        self._add(Read(self._own(value), self._place(buffer, offset), settled))

    def write(self, buffer: Buffer, source: Linear | int, offset: Linear | int = 0, *, settled: bool = True) -> None:
        """Writes a word at byte ``offset`` of ``buffer``."""
        self._add(Write(self._place(buffer, offset), self._known(source), settled))

    # Kernels --------------------------------------------------------------------------------------------------------------
    def launch(self, kernel: Kernel, **arguments: Linear | int) -> None:
        """Loads what the device does not hold of ``kernel`` yet, sets its arguments and starts it."""
        for name, value in arguments.items():
            if name not in kernel.arguments:
                raise KernelError(f"kernel {kernel.name!r} has no argument {name!r}; it has: {', '.join(sorted(kernel.arguments))}")
            expression = self._known(value)
            for place in kernel.arguments[name]:
                low, high = expression.range
                narrow = place.width < 32 or not expression.terms
                if narrow and not 0 <= low <= high < 1 << place.width:
                    hint = " (declare what its values hold at most: value(..., most=N))" if expression.terms else ""
                    raise ScheduleError(f"{self.name}: launch of {kernel.name!r}: {name}={value if not expression.terms else expression} "
                                        f"can be {low} to {high}, which does not fit in {place.width} bits{hint}")
        self._add(Launch(kernel, {name: linear(value) for name, value in arguments.items()}))

    def wait(self, kernel: Kernel | None = None) -> None:
        """Waits until the group of ``kernel`` is idle; None: until every kernel launched so far has finished."""
        self._add(Wait(None if kernel is None else 1 << kernel.group))

    # Loops ----------------------------------------------------------------------------------------------------------------
    @contextmanager
    def loop(self, count: Linear | int) -> Iterator[Loop]:
        """The steps inside are done ``count`` times (0: not at all)."""
        expression = self._known(count)
        if not expression.terms and not 0 <= expression.constant <= WORD:
            raise ScheduleError(f"{self.name}: loop: count={count} must fit in 32 bits")
        if len(self._open) == LOOP_DEPTH:
            raise ScheduleError(f"{self.name}: loop: more than {LOOP_DEPTH} loops inside one another")
        loop = Loop(expression, self._loops, self)
        self._loops += 1
        self._open.append(loop)
        try:
            yield loop
        finally:
            self._open.remove(loop)
        if not loop.body:
            raise ScheduleError(f"{self.name}: loop: nothing in it")
        self._add(loop)

    def leave_if(self, left: Linear | int, compare: str, right: Linear | int) -> None:
        """Leaves the innermost loop if so. ``compare``: "==", "!=", "<" or ">=", of unsigned numbers."""
        if not self._open:
            raise ScheduleError(f"{self.name}: leave_if: there is no loop to leave")
        self._add(Leave(self._known(left), self._compare("leave_if", compare), self._known(right)))

    # The world --------------------------------------------------------------------------------------------------------------
    def signal(self, value: Linear | int = 0, *, interrupt: bool = True, settled: bool = True) -> None:
        """Puts ``value`` into the DOORBELL register and, if ``interrupt``, raises IRQ_STATUS.signal."""
        self._add(Signal(self._known(value), interrupt, settled))

    def wait_memory(self, buffer: Buffer, compare: str, value: Linear | int, offset: Linear | int = 0) -> None:
        """Waits until the word at byte ``offset`` of ``buffer`` compares so (another socket, the host or a kernel writes it)."""
        self._add(WaitMemory(self._place(buffer, offset), self._compare("wait_memory", compare), self._known(value)))

    def wait_counter(self, unit: str, event: str, compare: str, value: int) -> None:
        """Waits until an event counter of a unit ("agcu0", "pcu(0,0)") compares so; it counts from the tile's last reset."""
        if not 0 <= value <= WORD:
            raise ScheduleError(f"{self.name}: wait_counter: value={value} must fit in 32 bits")
        self._add(WaitCounter(unit, event, self._compare("wait_counter", compare), value))

    def wait_token(self, agcu: int) -> None:
        """Waits for a token on the last control wire into AGCU number ``agcu``; each token serves one wait."""
        self._add(WaitToken(agcu))

    @property
    def kernels(self) -> list[Kernel]:
        """Every kernel that is launched, once, in order."""
        found: dict[int, Kernel] = {}
        pending = list(self.steps)
        while pending:
            step = pending.pop(0)
            if isinstance(step, Loop):
                pending[:0] = step.body
            elif isinstance(step, Launch):
                found.setdefault(id(step.kernel), step.kernel)
        return [*found.values()]

    # Inside -----------------------------------------------------------------------------------------------------------------
    def _add(self, step) -> None:
        (self._open[-1].body if self._open else self.steps).append(step)

    def _known(self, value: Linear | int) -> Linear:
        expression = linear(value)
        for register, _ in expression.terms:
            self._own(register)
        return expression

    def _own(self, value: Value) -> Value:
        if not isinstance(value, Value) or not any(value is own for own in self.values):
            raise ScheduleError(f"{self.name}: {value!r} is not a value of this schedule: make it with value()")
        return value

    def _place(self, buffer: Buffer, offset: Linear | int) -> Place:
        expression = self._known(offset)
        if (not expression.terms and not 0 <= expression.constant <= buffer.size - 4) or expression.constant % 4:
            raise ScheduleError(f"{self.name}: offset={offset} must be a multiple of 4 inside the buffer of {buffer.size} bytes")
        return Place(buffer.tier, expression + buffer.address)

    def _compare(self, step: str, text: str) -> Compare:
        if text not in COMPARES:
            raise ScheduleError(f"{self.name}: {step}: compare={text!r} must be one of {', '.join(COMPARES)}")
        return COMPARES[text]
