"""Kernels and schedules as text, and back: what ``rdu asm`` and ``rdu disasm`` do.

A kernel:                                            A schedule, one instruction a line:

    kernel "copy" preset small group 1                   LOOP value=4 length=5
    unit agcu3                                           ARGUMENT r=1 unit=35 word=8 value=16
        launch.enable = 1                                EXECUTE groups=2
        core.load0.bounds[0] = 4                         NEXT
    argument vectors = agcu3.core.load0.bounds[0]        END

Fields that are 0 are left out; ``#`` begins a comment. Fields have the names of the units' program layouts (docs/ of each unit).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data

from hw.common.program import field_position
from hw.config import RDUConfig, preset
from hw.host.instructions import Opcode, ScheduleError, disassemble, encode
from hw.programs import unit_program_of
from hw.rdn.node import switch_program

from .kernel import Argument, Kernel
from .units import unit_names

__all__ = ["AssemblyError", "assemble_kernel", "assemble_schedule", "kernel_text", "schedule_text"]


class AssemblyError(ValueError):
    """Text that is no kernel or schedule; the message names the line."""


def _layout(config: RDUConfig, unit: str) -> data.Layout:
    kind = re.match(r"[a-z]+", unit)[0]
    return switch_program(config.rdn) if kind == "switch" else unit_program_of(config, kind)


def _fields(shape, path: str = "", bit: int = 0) -> Iterator[tuple[str, int, int]]:
    """(path, first bit, width) of every field of a layout that has no parts."""
    if isinstance(shape, data.Layout) and not isinstance(shape, data.UnionLayout):
        for key, field in shape:
            name = f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}" if path else key
            yield from _fields(field.shape, name, bit + field.offset)
    elif width := Shape.cast(shape).width:
        yield path, bit, width


def kernel_text(kernel: Kernel, config: RDUConfig) -> str:
    """A kernel as text. Raises KernelError for one of another preset."""
    kernel.check(config)
    names = {number: name for name, number in unit_names(config).items()}
    lines = [f'kernel "{kernel.name}" preset {config.name} group {kernel.group}']
    where: dict[tuple[int, int, int], str] = {}
    for unit, words in sorted(kernel.programs.items()):
        lines.append(f"unit {names[unit]}")
        packed = sum(value << 32 * word for word, value in words.items())
        for path, bit, width in _fields(_layout(config, names[unit])):
            where[unit, bit // 32, bit % 32] = f"{names[unit]}.{path}"
            if value := packed >> bit & (1 << width) - 1:
                lines.append(f"    {path} = {value:#x}" if value > 9 else f"    {path} = {value}")
    for name, places in kernel.arguments.items():
        lines.append(f"argument {name} = " + ", ".join(where[place.unit, place.word, place.bit] for place in places))
    return "\n".join(lines) + "\n"


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if content := line.split("#")[0].strip():
            yield number, content


def assemble_kernel(text: str) -> Kernel:
    """The kernel that ``text`` describes; its programs are complete up to the last word that a kernel sets."""
    kernel, config, unit, names = None, None, None, {}
    packed: dict[str, int] = {}
    for number, line in _lines(text):
        try:
            if found := re.fullmatch(r'kernel "(.*)" preset (\w+) group (\d+)', line):
                config = preset(found[2])
                kernel = Kernel(found[1], config.digest, int(found[3]), {}, {})
                names = unit_names(config)
            elif kernel is None:
                raise AssemblyError('the first line must be: kernel "NAME" preset PRESET group N')
            elif found := re.fullmatch(r"unit (\S+)", line):
                unit = found[1]
                if unit not in names:
                    raise AssemblyError(f"no unit {unit!r}")
                packed.setdefault(unit, 0)
            elif found := re.fullmatch(r"argument (\w+) = (.+)", line):
                kernel.arguments[found[1]] = tuple(_argument(config, names, place.strip()) for place in found[2].split(", "))
            elif (found := re.fullmatch(r"(\S+) = (\w+)", line)) and unit:
                bit, width = field_position(_layout(config, unit), found[1])
                value = _integer(found[2])
                if not 0 <= value < 1 << width:
                    raise AssemblyError(f"{found[1]}={value} does not fit in {width} bits")
                packed[unit] |= value << bit
            else:
                raise AssemblyError(f"cannot read {line!r}")
        except (ValueError, KeyError) as error:
            raise AssemblyError(f"line {number}: {error.args[0] if error.args else error}") from None
    if kernel is None:
        raise AssemblyError("no kernel in it")
    if kernel.group >= config.groups:
        raise AssemblyError(f"group {kernel.group} does not exist: preset {config.name} has {config.groups}")
    for name, value in packed.items():
        layout = _layout(config, name)
        end = field_position(layout, "core.segments")[0] if name.startswith("agcu") else Shape.cast(layout).width
        kernel.programs[names[name]] = {word: value >> 32 * word & 0xFFFF_FFFF for word in range(end // 32)}
    for name, places in kernel.arguments.items():
        if any(place.word not in kernel.programs.get(place.unit, {}) for place in places):
            raise AssemblyError(f"argument {name}: it is in a unit, or a part of one, that the kernel does not program")
    return kernel


def _argument(config: RDUConfig, names: dict[str, int], place: str) -> Argument:
    unit, _, path = place.partition(".")
    if unit not in names:
        raise AssemblyError(f"no unit {unit!r}")
    bit, width = field_position(_layout(config, unit), path)
    if bit // 32 != (bit + width - 1) // 32:
        raise AssemblyError(f"{place} is no field of its own: {width} bits from bit {bit} on, an argument lies in one word")
    return Argument(names[unit], bit // 32, bit % 32, width)


def _integer(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise AssemblyError(f"{text!r} is no integer, decimal or 0x...") from None


def _assignment(text: str) -> tuple[str, int]:
    name, equals, value = text.partition("=")
    if not equals:
        raise AssemblyError(f"cannot read {text!r}: fields are NAME=INTEGER")
    return name, _integer(value)


def schedule_text(words) -> str:
    """A schedule's instructions, one a line, fields that are 0 left out."""
    return "".join(line.instruction.opcode.name + "".join(f" {name}={value:#x}" if value > 9 else f" {name}={value}"
                                                          for name, value in line.values.items() if value) + "\n"
                   for line in disassemble(words))


def assemble_schedule(text: str) -> np.ndarray:
    """The words of a schedule."""
    words: list[int] = []
    for number, line in _lines(text):
        name, *fields = line.split()
        try:
            opcode = Opcode[name]
            words += encode(opcode, **dict(_assignment(field) for field in fields))
        except KeyError:
            raise AssemblyError(f"line {number}: no instruction {name!r}; there are: {', '.join(Opcode.__members__)}") from None
        except (ScheduleError, ValueError) as error:
            raise AssemblyError(f"line {number}: {error}") from None
    if not words:
        raise AssemblyError("no instruction in it")
    return np.array(words, np.uint32)
