"""The instructions of a schedule, declared once. No HDL: the sequencer, its model, the assembler and the table in docs/ read it.

A schedule is a run of 32-bit words in device memory. The first word of an instruction is its *header*: opcode and fields; up to two
operand words follow. ``R[0]`` is always 0, ``R[1]`` to ``R[15]`` are 32 bits and 0 when a schedule begins. Memory instructions
work on the word at ``address + (R[a] << shift)``; all comparisons are unsigned.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass

from .registers import Field

__all__ = ["INSTRUCTIONS", "LOOP_DEPTH", "REGISTERS_IN_SCHEDULE", "Compare", "Decoded", "Instruction", "Opcode", "ScheduleError",
           "decode", "disassemble", "encode", "instruction_table"]

REGISTERS_IN_SCHEDULE = 16
LOOP_DEPTH = 4


class ScheduleError(ValueError):
    """A schedule that the sequencer cannot run; the message names the instruction and the field."""


class Opcode(enum.IntEnum):
    """Bits 3..0 of a header."""

    END = 0
    EXECUTE = 1
    LOAD = 2
    ARGUMENT = 3
    COMPUTE = 4
    READ = 5
    WRITE = 6
    SIGNAL = 7
    LOOP = 8
    NEXT = 9
    LEAVE = 10
    WAIT_IDLE = 11
    WAIT_MEMORY = 12
    WAIT_COUNTER = 13
    WAIT_TOKEN = 14


class Compare(enum.IntEnum):
    """Unsigned comparisons."""

    EQ = 0
    NE = 1
    LT = 2
    GE = 3


A, B, R = (Field(name, lsb, 4, "a register") for name, lsb in (("a", 8), ("b", 12), ("r", 4)))
SHIFT = Field("shift", 16, 5, "R[a] is shifted left by it")
RIGHT = Field("right", 21, 1, "R[a] is shifted right instead")
TIER = Field("tier", 22, 2, "0 HBM, 1 DDR")
HIGH = Field("high", 24, 8, "address bits 39..32")
UNIT, WORD = Field("unit", 18, 14, "number on the config network"), Field("word", 8, 10, "of its program; + 512: of its shadow")
GROUPS = Field("groups", 8, 16, "bit g: group g")
MEMORY = (A, SHIFT, RIGHT, TIER, HIGH)
VALUE, ADDRESS = Field("value", 0, 32, ""), Field("address", 0, 32, "bits 31..0, a multiple of 4")


@dataclass(frozen=True)
class Instruction:
    """One instruction: ``header`` fields beside the opcode, and the fields of each operand word."""

    opcode: Opcode
    header: tuple[Field, ...]
    operands: tuple[tuple[Field, ...], ...]
    description: str

    @property
    def words(self) -> int:
        return 1 + len(self.operands)

    @property
    def fields(self) -> dict[str, tuple[int, Field]]:
        """(word, field) of each field by name."""
        return {field.name: (index, field) for index, fields in enumerate((self.header, *self.operands)) for field in fields}


COMPARE = Field("compare", 4, 4, "0 ==, 1 !=, 2 <, 3 >=")

INSTRUCTIONS: dict[Opcode, Instruction] = {item.opcode: item for item in (
    Instruction(Opcode.END, (), (), "The schedule is complete."),
    Instruction(Opcode.EXECUTE, (GROUPS, Field("exchange", 24, 1, "first exchange all armed programs with their shadows")), (),
                "When the groups are idle: start them."),
    Instruction(Opcode.LOAD, (GROUPS, Field("shadow", 24, 1, "into the shadows"), dataclasses.replace(TIER, lsb=26)),
                ((ADDRESS,), (Field("words", 0, 24, "of the image"), HIGH)),
                "When the groups are idle: play a kernel image."),
    Instruction(Opcode.ARGUMENT, (R, WORD, UNIT), ((VALUE,),), "Program word <- R[r] + value."),
    Instruction(Opcode.COMPUTE, (R, A, B, SHIFT, RIGHT, Field("minus", 22, 1, "R[a] is subtracted")), ((VALUE,),),
                "R[r] <- R[b] + value + (R[a] << shift), or minus it."),
    Instruction(Opcode.READ, (R, *MEMORY), ((ADDRESS,),), "R[r] <- memory word."),
    Instruction(Opcode.WRITE, (R, *MEMORY), ((ADDRESS,),), "Memory word <- R[r]; goes on when it is written."),
    Instruction(Opcode.SIGNAL, (R, Field("interrupt", 8, 1, "raise IRQ_STATUS.signal")), ((VALUE,),),
                "DOORBELL <- R[r] + value; DOORBELL_COUNT advances."),
    Instruction(Opcode.LOOP, (R, Field("length", 8, 24, "words of the body, its NEXT included")), ((VALUE,),),
                f"Repeat the body R[r] + value times; 0: skip it. At most {LOOP_DEPTH} deep."),
    Instruction(Opcode.NEXT, (), (), "End of the innermost loop's body."),
    Instruction(Opcode.LEAVE, (COMPARE, A, B), ((VALUE,),), "Leave the innermost loop if R[a] compares so to R[b] + value."),
    Instruction(Opcode.WAIT_IDLE, (GROUPS,), (), "Wait until the groups are idle."),
    Instruction(Opcode.WAIT_MEMORY, (COMPARE, *MEMORY, B), ((ADDRESS,), (VALUE,)),
                "Read a memory word until it compares so to R[b] + value."),
    Instruction(Opcode.WAIT_COUNTER, (COMPARE, Field("index", 8, 8, "of the unit's event list"), UNIT), ((VALUE,),),
                "Read an event counter until it compares so to value."),
    Instruction(Opcode.WAIT_TOKEN, (Field("agcu", 8, 8, "number of the AGCU"),), (),
                "Wait for a token on the last control wire into the AGCU; consumes it."),
)}


@dataclass(frozen=True)
class Decoded:
    """An instruction of a schedule: where it stands and its fields' values."""

    position: int
    instruction: Instruction
    values: dict[str, int]

    def __str__(self) -> str:
        return f"{self.position:6}  {self.instruction.opcode.name:13}" + " ".join(f"{k}={v:#x}" if v > 9 else f"{k}={v}"
                                                                                  for k, v in self.values.items())


def encode(opcode: Opcode, **values: int) -> list[int]:
    """The words of one instruction; fields not given are 0. Raises :class:`ScheduleError` naming the field."""
    instruction = INSTRUCTIONS[opcode]
    words = [int(opcode), *[0] * len(instruction.operands)]
    fields = instruction.fields
    for name, value in values.items():
        if name not in fields:
            raise ScheduleError(f"{opcode.name} has no field {name!r}; fields: {', '.join(fields) or 'none'}")
        index, field = fields[name]
        if not 0 <= value < 1 << field.width:
            raise ScheduleError(f"{opcode.name}: {name}={value} does not fit in {field.width} bits")
        words[index] |= int(value) << field.lsb
    return words


def decode(words, position: int) -> Decoded:
    """The instruction at ``position``. Raises :class:`ScheduleError` if there is none."""
    if not 0 <= position < len(words):
        raise ScheduleError(f"word {position}: the schedule of {len(words)} words has run past its end")
    header = int(words[position])
    try:
        instruction = INSTRUCTIONS[Opcode(header & 0xF)]
    except ValueError:
        raise ScheduleError(f"word {position}: opcode {header & 0xF} does not exist") from None
    if position + instruction.words > len(words):
        raise ScheduleError(f"word {position}: {instruction.opcode.name} has {instruction.words} words, the schedule ends before")
    own = [int(word) for word in words[position:position + instruction.words]]
    used = [0xF, *[0] * len(instruction.operands)]
    values = {}
    for name, (index, field) in instruction.fields.items():
        values[name] = (own[index] & field.mask) >> field.lsb
        used[index] |= field.mask
    if any(word & ~mask for word, mask in zip(own, used, strict=True)):
        raise ScheduleError(f"word {position}: {instruction.opcode.name} has bits set that mean nothing")
    if values.get("compare", 0) > max(Compare):
        raise ScheduleError(f"word {position}: {instruction.opcode.name}: compare={values['compare']} does not exist")
    return Decoded(position, instruction, values)


def disassemble(words) -> list[Decoded]:
    """All instructions of a schedule in order. Raises :class:`ScheduleError` at the first that is none."""
    found, position = [], 0
    while position < len(words):
        found.append(decode(words, position))
        position += found[-1].instruction.words
    return found


def instruction_table() -> str:
    """The instructions as a Markdown table (docs/host.md)."""
    def cell(fields) -> str:
        return ", ".join(f"{f.name} {f.lsb + f.width - 1}..{f.lsb}" if f.width > 1 else f"{f.name} {f.lsb}" for f in fields)
    lines = ["| code | instruction | header fields | operand words | does |", "|---|---|---|---|---|"]
    for item in INSTRUCTIONS.values():
        operands = "; ".join(cell(fields) for fields in item.operands)
        lines.append(f"| {item.opcode.value} | `{item.opcode.name}` | {cell(item.header)} | {operands} | {item.description} |")
    return "\n".join(lines) + "\n"
