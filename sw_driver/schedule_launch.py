"""The launches of a schedule: which words a kernel needs that the units do not hold, in place or in the shadows."""

from __future__ import annotations

from hw.common.program import ALL_UNITS, SHADOW
from hw.host.instructions import Opcode

from .held import LAUNCH_WORD, UNKNOWN, Held
from .schedule import Launch
from .schedule_code import TEMPORARIES, Code
from .values import WORD, Linear

__all__ = ["LaunchCode"]

INLINE_WORDS = 16        # more words than this go as an image in memory: a load costs the memory's latency, a word in line 2 cycles
IN_PLACE_WORDS = 3       # up to this many are written while the group is idle even if there are shadows


class LaunchCode(Code):
    """Code that can launch kernels. What the units hold is followed in ``held``."""

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

    def bring(self, goal: Held) -> None:
        """Makes both banks hold what is known of ``goal``: shadows first, with two exchanges, so that no unit stays armed. Waits for the
        groups of the units that change. Others run on: what a switch holds at any moment serves them, as every kernel's does."""
        shadows, active = ({unit: {word: value for word, value in words.items() if value is not UNKNOWN}
                            for unit, words in bank.items()} for bank in (goal.shadow, goal.active))
        changes = self.held.difference(shadows, "shadow")
        units = {unit for unit in (*changes, *self.held.difference(active)) if unit >= self.held.first_unit}
        self.settle(sum(1 << group for group in frozenset().union(*map(self.held.groups_of, units))))
        if changes:
            self.load(changes, "shadow")
            self.exchange_armed(changes)
            self.load({unit: dict([next(iter(self.held_shadow(unit)))]) for unit in changes}, "shadow")
            self.exchange_armed(changes)
        self.load(self.held.difference(active), "active")

    def exchange_armed(self, units) -> None:
        self.emit(Opcode.ARGUMENT, unit=ALL_UNITS)
        self.held.exchange(units)

    def held_shadow(self, unit: int):
        """(word, value) pairs that may be written to a unit's shadow to arm it: one that it holds, or word 0 as 0."""
        known = [(word, value) for word, value in self.held.shadow.get(unit, {}).items() if value is not UNKNOWN]
        return known or [(LAUNCH_WORD, 0)]
