"""The typed program of an AGCU: what a person or the compiler writes. No HDL is imported unless a program is packed.

Addresses, strides and sizes are bytes.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hw.common.errors import ProgramError
from hw.common.nest import Loop, Nest
from hw.config import AGCUConfig

__all__ = [
    "PAGE_BYTES",
    "AGCUProgram",
    "Access",
    "Index",
    "LoadProgram",
    "Loop",
    "ProgramError",
    "Segment",
    "StoreProgram",
    "Tier",
    "argument",
    "program_words",
]

PAGE_BYTES = 4096


class Access(enum.IntEnum):
    """What one iteration of an engine moves (hw.agcu.layout.Access says the same to the hardware)."""

    VECTOR = 0
    UNALIGNED = 1
    WORD = 2
    FILL = 3


class Tier(enum.IntEnum):
    """Memories (hw.common.packet.Tier)."""

    HBM = 0
    DDR = 1
    HOST = 2
    PEER = 3


@dataclass(frozen=True)
class Index:
    """Addresses that come as data (gather, scatter): every run of the ``loops`` innermost loops takes a word from scalar input
    ``scalar`` and moves the address by that word times ``stride`` bytes."""

    scalar: int
    stride: int
    loops: int = 0


@dataclass(frozen=True, kw_only=True)
class Engine(Nest):
    """What load and store engines share. ``segment`` and ``base``: the first address. ``index``: gather or scatter. A buffer is finished
    when it is read from memory, or complete in memory."""

    segment: int = 0
    access: Access = Access.VECTOR
    index: Index | None = None

    @property
    def indices(self) -> int:
        """Words that the engine takes as indices."""
        return math.prod(loop.bound for loop in self.loops[self.index.loops:]) if self.index and self.iterations else 0

    def offsets(self, indices: Sequence[int] = ()) -> Iterator[int]:
        """The address of every iteration, in order."""
        run = math.prod(loop.bound for loop in self.loops[:self.index.loops]) if self.index else 1
        loops = list(reversed(self.loops))
        for number, counters in enumerate(itertools.product(*(range(loop.bound) for loop in loops))):
            moved = sum(counter * loop.stride for counter, loop in zip(counters, loops, strict=True))
            if self.index:
                moved += int(indices[number // run]) * self.index.stride
            yield (self.base + moved) % (1 << 32)


@dataclass(frozen=True, kw_only=True)
class LoadProgram(Engine):
    """A load engine. ``access=FILL``: every word of every vector is ``base``. ``scalar_output``: where access WORD sends its
    words."""

    scalar_output: int = 0


@dataclass(frozen=True, kw_only=True)
class StoreProgram(Engine):
    """A store engine. ``tail_bytes``: bytes that the last iteration of loop 0 stores (0: the whole vector). ``scalar_input``:
    where access WORD takes its words."""

    tail_bytes: int = 0
    scalar_input: int = 0


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A range of physical memory as a program sees it, in whole pages of 4096 bytes."""

    base: int
    size: int
    tier: Tier = Tier.HBM
    read: bool = True
    write: bool = True

    def words(self) -> list[int]:
        """The two words of its entry in the segment table."""
        for name in ("base", "size"):
            value = getattr(self, name)
            if value % PAGE_BYTES or value < 0:
                raise ProgramError(f"segment.{name}={value:#x} must be a multiple of the page size {PAGE_BYTES}")
        if self.base >> 40 or self.size > 1 << 32:
            raise ProgramError(f"segment.base={self.base:#x}, size={self.size:#x}: at most 40 address bits and 4 GiB")
        first = self.base // PAGE_BYTES | self.tier << 28 | self.read << 30 | self.write << 31
        return [first, self.size // PAGE_BYTES | 1 << 21]


@dataclass(frozen=True, kw_only=True)
class AGCUProgram:
    """One AGCU's program. ``segments``: entries of the segment table by number; usually none, the driver sets the table."""

    loads: tuple[LoadProgram | None, ...] = ()
    stores: tuple[StoreProgram | None, ...] = ()
    segments: dict[int, Segment] | None = None

    @property
    def engines(self) -> dict[str, Engine]:
        """The engines in use by their names in the program layout."""
        named = {f"load{number}": load for number, load in enumerate(self.loads)}
        named |= {f"store{number}": store for number, store in enumerate(self.stores)}
        return {name: engine for name, engine in named.items() if engine is not None}

    def check(self, config: AGCUConfig) -> None:
        """Raises :class:`ProgramError` if the hardware cannot run this program."""
        from .checks import check_program
        check_program(self, config)

    def pack(self, config: AGCUConfig) -> int:
        """The program's bits, checked; word w is ``packed >> 32 * w & 0xFFFFFFFF``. Without ``segments`` its end, the table, is 0."""
        from .pack import pack_program
        self.check(config)
        return pack_program(self, config)


def program_words(config: AGCUConfig) -> int:
    """Words of a program without the segment table; entry s of the table is at word ``program_words(config) + 2 * s``."""
    from hw.common.program import field_position

    from .layout import agcu_layout
    return field_position(agcu_layout(config), "segments")[0] // 32


def argument(config: AGCUConfig, path: str) -> tuple[int, int, int]:
    """Where an argument lies: (word index, shift, width), for example ``argument(config, "load0.bounds[1]")``."""
    from hw.common.program import field_position

    from .layout import agcu_layout
    bit, width = field_position(agcu_layout(config), path)
    return bit // 32, bit % 32, width
