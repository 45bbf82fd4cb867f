"""The typed program of a PMU: what a person or the compiler writes. No HDL is imported unless a program is packed.

Addresses, strides and bases count *elements*: words, or 16-bit halves in a program with ``element=Element.HALF``.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hw.common.errors import ProgramError
from hw.common.nest import Loop, Nest
from hw.config import PMUConfig

from .address import Counter, Scalar, Sequence, Shard, Stage
from .geometry import BankMap, Geometry

__all__ = ["Element", "Inject", "Loop", "PMUProgram", "ProgramError", "Read", "Write", "argument", "vector_elements", "visited"]


class Element(enum.Enum):
    """What an address counts."""

    WORD = 1
    HALF = 2


@dataclass(frozen=True, kw_only=True)
class Engine(Nest):
    """What write and read engines share.

    ``base``: address of the first access in buffer 0. ``word``: each access is one word, not a vector. ``index`` and ``stages``: the
    address pipeline (hw/pmu/address.py): what it gets as y, and what it computes. ``shard``: the accesses that are for this PMU.
    """

    word: bool = False
    index: Sequence | Scalar | Counter | None = None
    stages: tuple[Stage, ...] = ()
    shard: Shard | None = None

    @property
    def accesses(self) -> int:
        """Accesses per buffer."""
        return math.prod(loop.bound for loop in self.loops[:self.buffer_loops])

    @property
    def handovers(self) -> int:
        """Buffers per execution."""
        return math.prod(loop.bound for loop in self.loops[self.buffer_loops:])


@dataclass(frozen=True, kw_only=True)
class Write(Engine):
    """The write engine. It takes packets from ``vectors`` (numbers of vector inputs) or, word by word, from ``scalars``."""

    vectors: tuple[int, ...] = ()
    scalars: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Read(Engine):
    """A read engine. ``synchronised``: waits for written buffers (else it reads what is there: a table).

    ``scalar``: emits words to its scalar output; a word that goes to the vector output is in every lane. ``transposed``: a
    vector is one element of each of several rows of the striped buffer (``pitch`` elements apart) instead of neighbours in one
    row. ``permute``: lane i of a vector is lane ``permute[i]`` of what was read.
    """

    synchronised: bool = True
    scalar: bool = False
    transposed: bool = False
    permute: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Inject:
    """An error for tests (a PMU with ECC only): bits ``flips`` (of 22: data, then check bits) of physical half-lane ``half_lane``
    are turned over in the write access with this number (0: the first of an execution)."""

    access: int
    half_lane: int
    flips: int


@dataclass(frozen=True, kw_only=True)
class PMUProgram:
    """One PMU's program.

    ``buffers`` of ``buffer_stride`` elements each rotate between the write engine and the synchronised read engines.
    ``bank_map``: which address bits select the bank (None: the lowest, a conventional interleaving).
    ``pitch``: 0, a linear scratchpad; else a power of two: rows of ``pitch`` elements are striped diagonally over the lanes,
    for transposed reads. ``inject``: an error to
    make. ``lengths``: names of loop bounds that may be replaced at launch (recipes.py), not part of the bits.
    """

    write: Write | None = None
    reads: tuple[Read | None, ...] = ()
    buffers: int = 1
    buffer_stride: int = 0
    bank_map: BankMap | None = None
    element: Element = Element.WORD
    pitch: int = 0
    inject: Inject | None = None
    lengths: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)

    @property
    def engines(self) -> dict[str, Engine]:
        """The engines in use by their names in the program layout."""
        named = {"write": self.write} | {f"read{index}": read for index, read in enumerate(self.reads)}
        return {name: engine for name, engine in named.items() if engine is not None}

    def halves(self, elements: int) -> int:
        """An address or stride in the hardware's unit, half-words."""
        return elements if self.element is Element.HALF else 2 * elements

    def check(self, config: PMUConfig) -> None:
        """Raises :class:`ProgramError` if the hardware cannot run this program."""
        from .checks import check_program
        check_program(self, config)

    def pack(self, config: PMUConfig) -> int:
        """The program's bits, checked; word w is ``packed >> 32 * w & 0xFFFFFFFF``."""
        from .pack import pack_program
        self.check(config)
        return pack_program(self, config)


def visited(loops: tuple[Loop, ...], base: int = 0) -> np.ndarray:
    """Every address the loop nest visits, sorted, each once."""
    addresses = np.array([base], dtype=np.int64)
    for loop in loops:
        steps = np.arange(loop.bound if loop.stride else min(loop.bound, 1), dtype=np.int64) * loop.stride
        addresses = np.unique((addresses[:, None] + steps).ravel())
    return addresses


def argument(config: PMUConfig, path: str) -> tuple[int, int, int]:
    """Where an argument lies: (word index, shift, width), for example ``argument(config, "read0.bounds[1]")``.

    ``base``, ``strides`` and ``buffer_stride`` count half-words in the hardware: patch ``program.halves(value)``.
    """
    from hw.common.program import field_position

    from .layout import pmu_layout
    bit, width = field_position(pmu_layout(config), path)
    return bit // 32, bit % 32, width


def vector_elements(program: PMUProgram, config: PMUConfig) -> int:
    """Elements of one vector."""
    return Geometry(config).half_lanes // program.halves(1)
