"""Instructions of a schedule in the making: expressions into registers, memory places, waits for groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.host.instructions import Opcode, encode

from .held import Held
from .schedule import Launch
from .values import WORD, Linear, Value

if TYPE_CHECKING:
    from .schedule_compiler import Compiler

__all__ = ["TEMPORARIES", "Code"]

TEMPORARIES = (14, 15)


class Code:
    """``words`` so far and what the device holds after them; ``patches``: (position, number of the image whose address goes there);
    ``sent``: (kernel, program words) by launch; ``left``: what is held where the innermost loop is left; ``cost``: program words
    sent, each once; ``prepared``: the launch that is in the shadows, and its units."""

    def __init__(self, owner: Compiler, held: Held):
        self.owner, self.held, self.config = owner, held, owner.config
        self.words: list[int] = []
        self.patches: list[tuple[int, int]] = []
        self.sent: list[tuple[str, int]] = []
        self.left: list[Held] = []
        self.prepared: tuple[Launch, set[int]] | None = None
        self.cost = 0

    def emit(self, opcode: Opcode, **fields: int) -> None:
        self.words += encode(opcode, **fields)

    def append(self, other: Code) -> None:
        self.patches += [(len(self.words) + position, number) for position, number in other.patches]
        self.words += other.words
        self.sent += other.sent
        self.cost += other.cost

    def child(self, held: Held):
        return type(self)(self.owner, held.copy())

    def settle(self, groups: int | None = None) -> None:
        """Waits for those of ``groups`` (None: all) that may run."""
        running = sum(1 << group for group in self.held.running)
        if mask := running if groups is None else running & groups:
            self.emit(Opcode.WAIT_IDLE, groups=mask)
            self.held.running -= {group for group in self.held.running if mask >> group & 1}

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
        self.assign(temporary, Linear(expression.terms))
        return temporary, expression.constant & WORD

    def source(self, expression: Linear, temporary: int) -> int:
        """A register that holds ``expression``."""
        if [number for _, number in expression.terms] == [1] and not expression.constant:
            return self.register(expression.terms[0][0])
        if not expression.terms and not expression.constant:
            return 0
        self.assign(temporary, expression)
        return temporary

    def place(self, place) -> dict[str, int]:
        """Fields of a memory instruction: one register, shifted, goes with the address."""
        terms, constant = place.address.terms, place.address.constant
        fields = {"tier": place.tier, "address": constant & WORD, "high": constant >> 32}
        if len(terms) == 1 and terms[0][1] > 0 and terms[0][1].bit_count() == 1:
            return fields | {"a": self.register(terms[0][0]), "shift": terms[0][1].bit_length() - 1}
        if terms:
            self.assign(TEMPORARIES[0], Linear(terms))
            fields |= {"a": TEMPORARIES[0]}
        return fields
