"""Kernels as loadable images: the programs of all units of a tile, and the arguments that can be replaced."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hw.common.program import SHADOW
from hw.config import RDUConfig

from .files import write_whole

__all__ = ["Argument", "Kernel", "KernelError", "encode_image"]

MAGIC = b"RDU\x01"
LONGEST_RECORD = 255
_HEADER = struct.Struct("<4sI32s")         # magic, bytes of the body, SHA-256 of the body


class KernelError(ValueError):
    """A kernel image that is damaged, was made for another device, or an argument that it does not have."""


@dataclass(frozen=True)
class Argument:
    """Bits [bit + width - 1 : bit] of program word ``word`` of unit ``unit``."""

    unit: int
    word: int
    bit: int
    width: int


def encode_image(programs: dict[int, dict[int, int]]) -> np.ndarray:
    """The words of a Program Load: records {unit:14, word:10, count:8} with ``count`` data words, ended by a zero count.

    Raises :class:`KernelError` for a unit, word or value that a record cannot hold.
    """
    words: list[int] = []
    for unit in sorted(programs):
        pending = sorted(programs[unit].items())
        for word, value in pending:
            for name, number, bits in (("unit", unit, 14), ("word", word, 10), ("value", value, 32)):
                if not 0 <= number < 1 << bits:
                    raise KernelError(f"unit {unit}, word {word}: {name}={number} does not fit in {bits} bits")
        while pending:
            first = pending[0][0]
            run = [value for offset, (word, value) in enumerate(pending[:LONGEST_RECORD]) if word == first + offset]
            words += [unit << 18 | first << 8 | len(run), *run]
            pending = pending[len(run):]
    return np.array([*words, 0], dtype=np.uint32)


@dataclass(frozen=True)
class Kernel:
    """One kernel.

    Attributes
    ----------
    name: for people.
    config_digest: :attr:`RDUConfig.digest` of the device that it was made for.
    group: launch group of all its units.
    programs: unit number -> {word index: 32-bit value}, complete for every unit that the kernel uses.
    arguments: by name; one name may stand for several places (a bound that two units share).
    symbols: what else the maker wants to keep (JSON values).
    """

    name: str
    config_digest: int
    group: int
    programs: dict[int, dict[int, int]] = field(repr=False)
    arguments: dict[str, tuple[Argument, ...]] = field(default_factory=dict, repr=False)
    symbols: dict = field(default_factory=dict, repr=False)

    def image(self) -> np.ndarray:
        """Words of the Program Load, uint32 [n]."""
        return encode_image(self.programs)

    def argument_words(self, current: dict[int, dict[int, int]], **values: int) -> list[tuple[int, int, int]]:
        """(unit, word, new value) for each program word that must change for these arguments to hold.

        ``current``: unit -> {word: value} as the device holds them now. Nothing is changed here.
        Raises :class:`KernelError` for a name that the kernel does not have or a value that does not fit.
        """
        changed: dict[tuple[int, int], int] = {}
        for name, value in values.items():
            if name not in self.arguments:
                raise KernelError(f"kernel {self.name!r} has no argument {name!r}; it has: {', '.join(sorted(self.arguments))}")
            for place in self.arguments[name]:
                if not 0 <= value < 1 << place.width:
                    raise KernelError(f"kernel {self.name!r}: {name}={value} does not fit in {place.width} bits")
                key = (place.unit, place.word)
                before = changed.get(key, current[place.unit][place.word])
                changed[key] = before & ~(((1 << place.width) - 1) << place.bit) | value << place.bit
        return [(unit, word, value) for (unit, word), value in changed.items() if current[unit][word] != value]

    def save(self, path: str | os.PathLike) -> None:
        """Writes the ``.rdu`` file; an existing file is replaced only when the new one is complete."""
        about = {"name": self.name, "config_digest": self.config_digest, "group": self.group, "symbols": self.symbols,
                 "arguments": {name: [[place.unit, place.word, place.bit, place.width] for place in places]
                               for name, places in self.arguments.items()}}
        text = json.dumps(about, sort_keys=True).encode()
        body = struct.pack("<I", len(text)) + text + self.image().tobytes()
        write_whole(path, _HEADER.pack(MAGIC, len(body), hashlib.sha256(body).digest()) + body)

    @classmethod
    def load(cls, path: str | os.PathLike, config: RDUConfig | None = None) -> Kernel:
        """Reads a ``.rdu`` file. Raises :class:`KernelError` if it is damaged or was not made for ``config``."""
        blob = Path(path).read_bytes()
        if len(blob) < _HEADER.size or blob[:3] != MAGIC[:3]:
            raise KernelError(f"{path} is not a kernel image (.rdu)")
        magic, length, digest = _HEADER.unpack_from(blob)
        body = blob[_HEADER.size:]
        if magic != MAGIC:
            raise KernelError(f"{path} has format version {magic[3]}; this driver reads version {MAGIC[3]}: "
                              "build the kernel again")
        if len(body) != length or hashlib.sha256(body).digest() != digest:
            raise KernelError(f"{path} is damaged (length or SHA-256 differ from its header): build the kernel again")
        try:
            kernel = cls._parse(body)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, struct.error) as error:
            raise KernelError(f"{path} is whole but makes no sense ({error}): build the kernel again") from None
        if config is not None:
            kernel.check(config)
        return kernel

    @classmethod
    def _parse(cls, body: bytes) -> Kernel:
        size, = struct.unpack_from("<I", body)
        about = json.loads(body[4:4 + size])
        kernel = cls(name=about["name"], config_digest=about["config_digest"], group=about["group"], symbols=about["symbols"],
                     programs=_decode_image(np.frombuffer(body[4 + size:], dtype=np.uint32)),
                     arguments={name: tuple(Argument(*a) for a in places) for name, places in about["arguments"].items()})
        for name, kind in (("name", str), ("config_digest", int), ("group", int), ("symbols", dict)):
            if type(getattr(kernel, name)) is not kind:
                raise ValueError(f"{name} is no {kind.__name__}")
        if not 0 <= kernel.group < 16:
            raise ValueError(f"group={kernel.group}")
        for name, place in ((name, place) for name, places in kernel.arguments.items() for place in places):
            if any(type(number) is not int for number in (place.unit, place.word, place.bit, place.width)):
                raise ValueError(f"argument {name!r} has a place that is no four integers")
            if not 0 <= place.bit < place.bit + place.width <= 32 or place.word not in kernel.programs.get(place.unit, {}):
                raise ValueError(f"argument {name!r} lies outside the programs")
        for flow in kernel.symbols.get("flows", ()):
            _check_flow(flow)
        return kernel

    def check(self, config: RDUConfig) -> None:
        """Raises :class:`KernelError` unless the kernel was made for ``config`` and names only units and words that such a device
        may have."""
        if self.config_digest != config.digest:
            raise KernelError(f"kernel {self.name!r} was made for a device with configuration {self.config_digest:#010x}, "
                              f"this one ({config.name}) is {config.digest:#010x}: build it for this preset")
        if self.group >= config.groups:
            raise KernelError(f"kernel {self.name!r}: group={self.group} must be below {config.groups} on preset {config.name}")
        units = config.agcu_id(len(config.agcu_ports))
        for unit, words in self.programs.items():
            if unit >= units or max(words) >= SHADOW:
                raise KernelError(f"kernel {self.name!r}: unit {unit}, word {max(words)} does not exist on preset {config.name} "
                                  f"({units} units, {SHADOW} words each)")


def _check_flow(flow) -> None:
    """A flow as the compiler leaves it for explanations: fabric, source, destinations; an end is ["agcu", number, port] or [kind, row,
    column, port]."""
    fabric, source, destinations = flow
    for end in (source, *destinations):
        numbers = end[1:]
        if type(fabric) is not str or len(numbers) != (2 if end[0] == "agcu" else 3) or any(type(n) is not int for n in numbers):
            raise ValueError(f"flow {flow!r} has an end that is no unit's port")


def _decode_image(words: np.ndarray) -> dict[int, dict[int, int]]:
    programs: dict[int, dict[int, int]] = {}
    position = 0
    while (count := int(words[position]) & 0xFF):
        if position + 1 + count >= len(words):
            raise ValueError(f"the record at word {position} of the image is longer than the image")
        header = int(words[position])
        unit, first = header >> 18, header >> 8 & 0x3FF
        for index in range(count):
            programs.setdefault(unit, {})[first + index] = int(words[position + 1 + index])
        position += 1 + count
    return programs
