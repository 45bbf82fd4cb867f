"""From a schedule's steps to the sequencer's instructions, with only those program words that the device does not hold already.

What the units hold is followed through the steps (:class:`~sw_driver.held.Held`); at the head of a loop it is what holds in
every iteration. A kernel's words go to it in place when its group is idle, or, on a device with shadows, into the shadows while the
kernel before it runs, with an exchange at its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hw.config import RDUConfig
from hw.host.instructions import Opcode, ScheduleError, disassemble

from .held import Held
from .kernel import encode_image
from .schedule import Launch, Leave, Loop, Read, Schedule, Set, Signal, Wait, WaitCounter, WaitMemory, WaitToken, Write
from .schedule_code import TEMPORARIES
from .schedule_launch import LaunchCode
from .units import counter_units, event_names
from .values import WORD

__all__ = ["Compiled", "Compiler", "compile_schedule"]

MOST_TRIALS = 8


@dataclass
class Compiled:
    """``words`` of the schedule; its ``images`` by number, whose addresses are put in by :meth:`place`; ``held``, what the device
    holds afterwards; ``program_words``, by launch in order of the steps: words that it sends; ``listing``."""

    words: list[int]
    images: list[np.ndarray]
    held: Held
    program_words: list[tuple[str, int]]
    patches: list[tuple[int, int]] = field(default_factory=list)

    def place(self, addresses: list[tuple[int, int]]) -> np.ndarray:
        """The words with the images at these (tier, address)."""
        words = list(self.words)
        for position, number in self.patches:
            tier, address = addresses[number]
            words[position] |= tier << 26
            words[position + 1] = address & WORD
            words[position + 2] |= (address >> 32) << 24
        return np.array(words, np.uint32)

    @property
    def listing(self) -> str:
        return "\n".join(str(line) for line in disassemble(self.words))


def compile_schedule(schedule: Schedule, config: RDUConfig, held: Held, **initial: int) -> Compiled:
    """The instructions of ``schedule`` for a device that holds ``held``. ``initial``: values by name that they begin with.

    Errors: :class:`ScheduleError` for a value, unit or event that does not exist; KernelError for a kernel of another preset.
    """
    return Compiler(schedule, config).compile(held, initial)


class Compiler:
    """What all code of one schedule shares: registers, images."""

    def __init__(self, schedule: Schedule, config: RDUConfig):
        self.schedule, self.config, self.shadow = schedule, config, config.shadow and schedule.shadow
        self.units = counter_units(config)
        self.registers = {value: 1 + number for number, value in enumerate(schedule.values)}
        self.spare = range(1 + len(schedule.values), TEMPORARIES[0] + 1)         # for values that wait until their group is idle
        self.images: dict[bytes, int] = {}
        self.blobs: list[np.ndarray] = []

    def compile(self, held: Held, initial: dict[str, int]) -> Compiled:
        names = {value.name: value for value in self.schedule.values}
        for name, number in initial.items():
            if name not in names:
                raise ScheduleError(f"{self.schedule.name}: no value {name!r}; values: {', '.join(names) or 'none'}")
            if not 0 <= number <= names[name].most:
                raise ScheduleError(f"{self.schedule.name}: {name}={number} must be from 0 to {names[name].most}")
        code = StepCode(self, held.copy())
        for value in self.schedule.values:
            if number := initial.get(value.name, value.initial):
                code.emit(Opcode.COMPUTE, r=self.registers[value], value=number)
        code.block(self.schedule.steps)
        code.settle()
        code.emit(Opcode.END)
        used = sorted({number for _, number in code.patches})
        patches = [(position, used.index(number)) for position, number in code.patches]
        return Compiled(code.words, [self.blobs[number] for number in used], code.held, code.sent, patches)

    def image(self, programs: dict[int, dict[int, int]]) -> tuple[int, int]:
        """Number and length of the image of ``programs``."""
        words = encode_image(programs)
        key = words.tobytes()
        if key not in self.images:
            self.images[key] = len(self.blobs)
            self.blobs.append(words)
        return self.images[key], len(words)


class StepCode(LaunchCode):
    """Code for the steps of a schedule, loops and all."""

    def block(self, steps: list) -> None:
        for number, step in enumerate(steps):
            if self.waits(step):
                self.prepare_next(steps[number + 1:])
            match step:
                case Launch():
                    self.launch(step)
                case Loop():
                    self.loop(step)
                case _:
                    self.simple(step)

    def waits(self, step) -> bool:
        return isinstance(step, Wait | WaitMemory | WaitCounter | WaitToken) or getattr(step, "settled", False)

    def prepare_next(self, steps: list) -> None:
        """The next launch's program goes into the shadows before a step that waits, so that it loads meanwhile."""
        for step in steps:
            if isinstance(step, Launch):
                if self.prepared is None and step.kernel.group in self.held.running:
                    self.prepare(step)
                return
            if isinstance(step, Loop | Leave):
                return

    def simple(self, step) -> None:
        if getattr(step, "settled", False):
            self.settle()
        match step:
            case Set(value, to):
                self.assign(self.register(value), to)
            case Read(value, place, _):
                self.emit(Opcode.READ, r=self.register(value), **self.place(place))
            case Write(place, source, _):
                register = self.source(source, TEMPORARIES[1])
                self.emit(Opcode.WRITE, r=register, **self.place(place))
            case Signal(value, interrupt, _):
                register, constant = self.operand(value)
                self.emit(Opcode.SIGNAL, r=register, value=constant, interrupt=interrupt)
            case Wait(groups):
                self.settle(groups)
            case WaitMemory(place, compare, value):
                where = self.place(place)
                register, constant = self.operand(value, TEMPORARIES[1])
                self.emit(Opcode.WAIT_MEMORY, compare=compare, b=register, value=constant, **where)
            case WaitCounter():
                self.wait_counter(step)
            case WaitToken(agcu):
                self.wait_token(agcu)
            case Leave(left, compare, right):
                register = self.source(left, TEMPORARIES[1])
                other, constant = self.operand(right)
                self.emit(Opcode.LEAVE, compare=compare, a=register, b=other, value=constant)
                self.left.append(self.held.copy())

    def wait_counter(self, step: WaitCounter) -> None:
        units, name = self.owner.units, self.owner.schedule.name
        if step.unit not in units:
            raise ScheduleError(f"{name}: wait_counter: no unit {step.unit!r}; units are called like {', '.join(sorted(units)[:3])}")
        events = event_names(self.config, step.unit)
        if step.event not in events:
            raise ScheduleError(f"{name}: wait_counter: {step.unit} has no event {step.event!r}; it has: {', '.join(events)}")
        self.emit(Opcode.WAIT_COUNTER, unit=units[step.unit], index=events.index(step.event), compare=step.compare, value=step.value)

    def wait_token(self, agcu: int) -> None:
        count = len(self.config.agcu_ports)
        if not 0 <= agcu < count:
            raise ScheduleError(f"{self.owner.schedule.name}: wait_token: agcu={agcu} must be below {count} "
                                f"on preset {self.config.name}")
        self.emit(Opcode.WAIT_TOKEN, agcu=agcu)

    # Loops ------------------------------------------------------------------------------------------------------------------
    def loop(self, step: Loop) -> None:
        if step.counter is not None:
            self.emit(Opcode.COMPUTE, r=self.register(step.counter))
        register, constant = self.operand(step.count)
        often = not step.count.terms and constant < 3
        body = self.body(step, self.held)
        if not often and body.cost:
            # What the second iteration leaves is what the loop comes to: brought in beforehand, no iteration loads it again.
            settled = self.body(step, self.body(step, self.held, once=True).held, once=True).held
            prologue = self.child(self.held)
            prologue.bring(settled)
            better = self.body(step, prologue.held)
            if better.cost + prologue.cost / 4 < body.cost:
                self.append(prologue)
                self.held, body = prologue.held, better
        self.emit(Opcode.LOOP, r=register, value=constant, length=len(body.words))
        entry = self.held
        self.append(body)
        ends = [body.held, *body.left]
        if step.count.terms or constant == 0:
            ends.append(entry)
        self.held = ends[0]
        for other in ends[1:]:
            self.held = self.held.meet(other)

    def body(self, step: Loop, held: Held, once: bool = False) -> StepCode:
        """A loop's body with its NEXT, for what holds at the beginning of every iteration that starts from ``held``; ``once``: of
        the first."""
        entry = held
        for _ in range(MOST_TRIALS):
            code = self.child(entry)
            code.block(step.body)
            if step.counter is not None:
                number = code.register(step.counter)
                code.emit(Opcode.COMPUTE, r=number, b=number, value=1)
            code.emit(Opcode.NEXT)
            both = entry.meet(code.held)
            if once or both == entry:
                return code
            entry = both
        raise ScheduleError(f"{self.owner.schedule.name}: what the units hold in a loop does not settle in {MOST_TRIALS} trials")
