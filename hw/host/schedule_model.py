"""What the sequencer does, in Python: the commands and memory writes that a schedule stands for. No HDL is imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .instructions import INSTRUCTIONS, LOOP_DEPTH, Compare, Opcode
from .registers import LauncherError

__all__ = ["Outcome", "run_schedule"]

MASK = 0xFFFF_FFFF


@dataclass
class Outcome:
    """``events`` in order: ("execute", groups, exchange), ("load", groups, shadow, tier, address, words), ("argument", unit, word,
    value), ("write", tier, address, value), ("signal", value, interrupt), ("wait", opcode name). How it ended, and where;
    ``steps``: instructions begun."""

    events: list[tuple] = field(default_factory=list)
    error: LauncherError = LauncherError.NONE
    position: int = 0
    steps: int = 0


class _Stop(Exception):
    pass


def run_schedule(words: Sequence[int], read: Callable[[int, int], int], *, most_events: int = 100_000) -> Outcome:
    """Runs ``words``; ``read(tier, address)`` is device memory. Waits are taken as over at once. Raises ``ValueError`` after
    ``most_events`` instructions: the schedule does not end."""
    outcome, registers, loops, index = Outcome(), [0] * 16, [], 0
    memory: dict[tuple[int, int], int] = {}

    def stop(error: LauncherError):
        outcome.error = error
        raise _Stop

    try:
        for _ in range(most_events):
            if index >= len(words):
                stop(LauncherError.RUNAWAY)
            outcome.position, outcome.steps = index, outcome.steps + 1
            header = int(words[index])
            if header & 0xF == 15:
                stop(LauncherError.ILLEGAL)
            instruction = INSTRUCTIONS[Opcode(header & 0xF)]
            operands = [int(word) for word in words[index + 1:index + instruction.words]]
            if len(operands) < instruction.words - 1:
                stop(LauncherError.RUNAWAY)
            value = {name: ((header, *operands)[word] & field.mask) >> field.lsb
                     for name, (word, field) in instruction.fields.items()}
            index += instruction.words
            opcode, r, last = instruction.opcode, header >> 4 & 15, operands[-1] if operands else 0
            a, b = registers[header >> 8 & 15], registers[header >> 12 & 15]
            shift, right = header >> 16 & 31, header >> 21 & 1
            shifted = a >> shift if right else a << shift & (1 << 40) - 1
            place = (value.get("tier"), (value.get("high", 0) << 32 | value.get("address", 0)) + shifted & (1 << 40) - 1)
            if value.get("compare", 0) > max(Compare):
                stop(LauncherError.ILLEGAL)
            if opcode in (Opcode.READ, Opcode.WRITE, Opcode.WAIT_MEMORY) and place[1] % 4:
                stop(LauncherError.MISALIGNED)
            match opcode:
                case Opcode.END:
                    return outcome
                case Opcode.EXECUTE:
                    outcome.events.append(("execute", value["groups"], value["exchange"]))
                case Opcode.LOAD:
                    outcome.events.append(("load", value["groups"], value["shadow"], value["tier"],
                                           value["high"] << 32 | value["address"], value["words"]))
                case Opcode.ARGUMENT:
                    outcome.events.append(("argument", value["unit"], value["word"], registers[r] + last & MASK))
                case Opcode.COMPUTE:
                    registers[r] = b + last + (-shifted if value["minus"] else shifted) & MASK if r else 0
                case Opcode.READ:
                    registers[r] = memory.get(place, read(*place)) if r else 0
                case Opcode.WRITE:
                    memory[place] = registers[r]
                    outcome.events.append(("write", *place, registers[r]))
                case Opcode.SIGNAL:
                    outcome.events.append(("signal", registers[r] + last & MASK, value["interrupt"]))
                case Opcode.LOOP:
                    if len(loops) == LOOP_DEPTH:
                        stop(LauncherError.ILLEGAL)
                    if count := registers[r] + last & MASK:
                        loops.append([index, index + value["length"], count])
                    else:
                        index += value["length"]
                case Opcode.NEXT | Opcode.LEAVE if not loops:
                    stop(LauncherError.ILLEGAL)
                case Opcode.NEXT:
                    loops[-1][2] -= 1
                    if loops[-1][2]:
                        index = loops[-1][0]
                    else:
                        loops.pop()
                case Opcode.LEAVE:
                    if _compares(value["compare"], a, b + last & MASK):
                        index = loops.pop()[1]
                case _:
                    outcome.events.append(("wait", opcode.name))
    except _Stop:
        return outcome
    raise ValueError(f"the schedule has not ended after {most_events} instructions")


def _compares(compare: int, left: int, right: int) -> bool:
    return (left == right, left != right, left < right, left >= right)[compare]
