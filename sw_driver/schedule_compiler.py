"""From a schedule's steps to the sequencer's instructions, with only those program words that the device does not hold already.

What the units hold is followed through the steps (:class:`~sw_driver.held.Held`); at the head of a loop it is what holds in
every iteration. A kernel's words go to it in place when its group is idle, or, on a device with shadows, into the shadows while the
kernel before it runs, with an exchange at its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hw.common.program import ALL_UNITS, SHADOW
from hw.config import RDUConfig
from hw.host.instructions import Opcode, ScheduleError, disassemble, encode

from .held import LAUNCH_WORD, UNKNOWN, Held
from .kernel import encode_image
from .schedule import Launch, Leave, Loop, Read, Schedule, Set, Signal, Wait, WaitCounter, WaitMemory, WaitToken, Write
from .units import event_names, unit_names
from .values import WORD, Linear, Value

__all__ = ["Compiled", "compile_schedule"]

INLINE_WORDS = 16        # more words than this go as an image in memory: a load costs the memory's latency, a word in line 2 cycles
IN_PLACE_WORDS = 3       # up to this many are written while the group is idle even if there are shadows
MOST_TRIALS = 8
TEMPORARIES = (14, 15)


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
    return _Compiler(schedule, config).compile(held, initial)


class _Compiler:
    def __init__(self, schedule: Schedule, config: RDUConfig):
        self.schedule, self.config, self.shadow = schedule, config, config.shadow and schedule.shadow
        self.units = unit_names(config)
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
        code = _Code(self, held.copy())
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


class _Code:
    """Instructions in the making, and what the device holds after them."""

    def __init__(self, owner: _Compiler, held: Held):
        self.owner, self.held, self.config = owner, held, owner.config
        self.words: list[int] = []
        self.patches: list[tuple[int, int]] = []
        self.sent: list[tuple[str, int]] = []
        self.left: list[Held] = []              # what is held where the innermost loop is left
        self.prepared: tuple[Launch, set[int]] | None = None
        self.cost = 0                           # program words sent, each once

    def emit(self, opcode: Opcode, **fields: int) -> None:
        self.words += encode(opcode, **fields)

    def append(self, other: _Code) -> None:
        self.patches += [(len(self.words) + position, number) for position, number in other.patches]
        self.words += other.words
        self.sent += other.sent
        self.cost += other.cost

    def child(self, held: Held) -> _Code:
        return _Code(self.owner, held.copy())

    # Steps ------------------------------------------------------------------------------------------------------------------
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
            case WaitCounter(unit, event, compare, value):
                if unit not in self.owner.units:
                    raise ScheduleError(f"{self.owner.schedule.name}: wait_counter: no unit {unit!r}; units are called like "
                                        f"{', '.join(sorted(self.owner.units)[:3])}")
                events = event_names(self.config, unit)
                if event not in events:
                    raise ScheduleError(f"{self.owner.schedule.name}: wait_counter: {unit} has no event {event!r}; it has: "
                                        f"{', '.join(events)}")
                self.emit(Opcode.WAIT_COUNTER, unit=self.owner.units[unit], index=events.index(event), compare=compare, value=value)
            case WaitToken(agcu):
                if not 0 <= agcu < len(self.config.agcu_ports):
                    raise ScheduleError(f"{self.owner.schedule.name}: wait_token: agcu={agcu} must be below "
                                        f"{len(self.config.agcu_ports)} on preset {self.config.name}")
                self.emit(Opcode.WAIT_TOKEN, agcu=agcu)
            case Leave(left, compare, right):
                register = self.source(left, TEMPORARIES[1])
                other, constant = self.operand(right)
                self.emit(Opcode.LEAVE, compare=compare, a=register, b=other, value=constant)
                self.left.append(self.held.copy())

    def settle(self, groups: int | None = None) -> None:
        """Waits for those of ``groups`` (None: all) that may run."""
        running = sum(1 << group for group in self.held.running)
        if mask := running if groups is None else running & groups:
            self.emit(Opcode.WAIT_IDLE, groups=mask)
            self.held.running -= {group for group in self.held.running if mask >> group & 1}

    # Expressions ------------------------------------------------------------------------------------------------------------
    def register(self, value: Value) -> int:
        return self.owner.registers[value]

    def assign(self, target: int, expression: Linear) -> None:
        """``R[target]`` <- ``expression``, one COMPUTE for each power of two in its coefficients."""
        scratch = TEMPORARIES[0] if any(self.register(value) == target for value, _ in expression.terms) else target
        parts = [(self.register(value), bit, number < 0) for value, number in expression.terms
                 for bit in range(32) if abs(number) >> bit & 1]
        total, constant = 0, expression.constant & WORD
        for index, (register, bit, minus) in enumerate(parts):
            into = target if index == len(parts) - 1 else scratch
            self.emit(Opcode.COMPUTE, r=into, a=register, shift=bit, minus=minus, b=total, value=constant)
            total, constant = into, 0
        if not parts:
            self.emit(Opcode.COMPUTE, r=target, value=constant)

    def operand(self, expression: Linear, temporary: int = TEMPORARIES[0]) -> tuple[int, int]:
        """(register, constant) whose sum is ``expression``; computed into ``temporary`` if it must be."""
        if not expression.terms:
            return 0, expression.constant & WORD
        if [number for _, number in expression.terms] == [1]:
            return self.register(expression.terms[0][0]), expression.constant & WORD
        self.compute(temporary, Linear(expression.terms))
        return temporary, expression.constant & WORD

    def source(self, expression: Linear, temporary: int) -> int:
        """A register that holds ``expression``."""
        if [number for _, number in expression.terms] == [1] and not expression.constant:
            return self.register(expression.terms[0][0])
        if not expression.terms and not expression.constant:
            return 0
        self.compute(temporary, expression)
        return temporary

    def compute(self, target: int, expression: Linear) -> None:
        self.assign(target, expression)

    def place(self, place) -> dict[str, int]:
        """Fields of a memory instruction: one register, shifted, goes with the address."""
        terms, constant = place.address.terms, place.address.constant
        fields = {"tier": place.tier, "address": constant & WORD, "high": constant >> 32}
        if len(terms) == 1 and terms[0][1] > 0 and terms[0][1].bit_count() == 1:
            return fields | {"a": self.register(terms[0][0]), "shift": terms[0][1].bit_length() - 1}
        if terms:
            self.compute(TEMPORARIES[0], Linear(terms))
            fields |= {"a": TEMPORARIES[0]}
        return fields

    # Launches ---------------------------------------------------------------------------------------------------------------
    def wanted(self, step: Launch) -> tuple[dict[int, dict[int, int]], dict[tuple[int, int], Linear]]:
        """What the units must hold: words known now (units of the group that the kernel does not use are switched off), and those
        that the schedule computes."""
        kernel = step.kernel
        kernel.check(self.config)
        programs = {unit: dict(words) for unit, words in kernel.programs.items()}
        computed: dict[tuple[int, int], Linear] = {}
        for name, value in step.arguments.items():
            for place in kernel.arguments[name]:
                word = programs[place.unit].get(place.word, 0) & ~((1 << place.width) - 1 << place.bit)
                if value.terms:
                    computed[place.unit, place.word] = computed.get((place.unit, place.word), Linear()) + value * (1 << place.bit)
                else:
                    word |= value.constant << place.bit
                programs[place.unit][place.word] = word
        for (unit, word), expression in computed.items():
            computed[unit, word] = expression + programs[unit].pop(word)
        for unit in self.held.enabled(kernel.group) - set(programs):
            programs[unit] = {LAUNCH_WORD: 0}
        return programs, computed

    def launch(self, step: Launch) -> None:
        kernel, before = step.kernel, self.cost
        programs, computed = self.wanted(step)
        changes = self.held.difference(programs)
        ready = self.ready(computed)
        if self.prepared is None and kernel.group in self.held.running and self.owner.shadow \
                and sum(map(len, changes.values())) + len(computed) > IN_PLACE_WORDS:
            self.prepare(step)
        if self.prepared is not None:
            units = self.prepared[1]
            self.send(ready, "shadow")
            self.wait_for_others(kernel, programs)
            self.emit(Opcode.EXECUTE, groups=1 << kernel.group, exchange=1)
            self.held.exchange(units)
            self.prepared = None
        else:
            self.wait_for_others(kernel, programs)
            if changes or computed:
                self.settle(1 << kernel.group)
            self.load(changes, "active")
            self.send(ready, "active")
            self.emit(Opcode.EXECUTE, groups=1 << kernel.group)
        self.held.running.add(kernel.group)
        self.sent.append((kernel.name, self.cost - before))

    def prepare(self, step: Launch) -> None:
        """The words of a launch that are known now go into the shadows of all units in which anything changes."""
        if not self.owner.shadow:
            return
        programs, computed = self.wanted(step)
        units = {*self.held.difference(programs), *(unit for unit, _ in computed)}
        shadows = {unit: programs.get(unit, {}) for unit in units}
        changes = self.held.difference(shadows, "shadow")
        for unit in units - set(changes) - {unit for unit, _ in computed}:          # a write arms a unit
            word, value = next(iter(shadows[unit].items()))
            changes[unit] = {word: value}
        self.load(changes, "shadow")
        self.prepared = step, units

    def wait_for_others(self, kernel, programs: dict) -> None:
        """Before units of other groups are changed these must be idle."""
        others = {group for unit in programs for group in self.held.groups_of(unit) if unit >= self.held.first_unit}
        self.settle(sum(1 << group for group in others - {kernel.group}))

    def load(self, changes: dict[int, dict[int, int]], bank: str) -> None:
        count = sum(map(len, changes.values()))
        if not count:
            return
        if count > INLINE_WORDS:
            number, length = self.owner.image(changes)
            self.patches.append((len(self.words), number))
            self.emit(Opcode.LOAD, shadow=bank == "shadow", words=length)
        else:
            for unit, words in changes.items():
                for word, value in words.items():
                    self.emit(Opcode.ARGUMENT, unit=unit, word=word + SHADOW * (bank == "shadow"), value=value)
        self.held.write(changes, bank)
        self.cost += count

    def ready(self, computed: dict[tuple[int, int], Linear]) -> dict:
        """(register, constant) for each computed word, as far as the spare registers go computed here, before any wait; equal sums
        of registers share one."""
        found, spare, done = {}, list(self.owner.spare), {}
        for place, expression in computed.items():
            terms = Linear(expression.terms)
            if [number for _, number in expression.terms] == [1]:
                found[place] = self.operand(expression)
            elif terms in done or spare:
                if terms not in done:
                    done[terms] = spare.pop(0)
                    self.assign(done[terms], terms)
                found[place] = done[terms], expression.constant & WORD
            else:
                found[place] = expression
        return found

    def send(self, computed: dict, bank: str) -> None:
        for (unit, word), expression in computed.items():
            register, constant = self.operand(expression, TEMPORARIES[1]) if isinstance(expression, Linear) else expression
            self.emit(Opcode.ARGUMENT, r=register, unit=unit, word=word + SHADOW * (bank == "shadow"), value=constant)
            self.held.set(unit, word, UNKNOWN, bank)
        self.cost += len(computed)

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

    def body(self, step: Loop, held: Held, once: bool = False) -> _Code:
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

    def bring(self, goal: Held) -> None:
        """Makes both banks hold what is known of ``goal``: shadows first, in place and exchanged, so that no unit stays armed."""
        self.settle()
        for bank in ("shadow", "active"):
            known = {unit: {word: value for word, value in words.items() if value is not UNKNOWN}
                     for unit, words in getattr(goal, bank).items()}
            if bank == "active":
                self.load(self.held.difference(known), "active")
                continue
            units = set(self.held.difference(known, "shadow"))
            known = {unit: known[unit] for unit in units}
            self.load(self.held.difference(known), "active")
            if units:
                self.load({unit: dict([next(iter(self.held_shadow(unit)))]) for unit in units}, "shadow")
                self.emit(Opcode.ARGUMENT, unit=ALL_UNITS)
                self.held.exchange(units)

    def held_shadow(self, unit: int):
        """(word, value) pairs that may be written to a unit's shadow to arm it: one that it holds, or word 0 as 0."""
        known = [(word, value) for word, value in self.held.shadow.get(unit, {}).items() if value is not UNKNOWN]
        return known or [(LAUNCH_WORD, 0)]
