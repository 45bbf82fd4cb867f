"""PMUs that are written row by row and read column by column: striped buffers, a vector a cycle on both sides."""

from __future__ import annotations

from collections.abc import Sequence

from hw.config import RDUConfig
from hw.pmu.program import Element, Loop, PMUProgram, Read, Write
from hw.pmu.recipes import separate_buffers

from ..graph.factors import factors

__all__ = ["pitch_of", "striped", "width_of"]


def width_of(config: RDUConfig, size: int) -> int:
    """Elements of ``size`` bytes in a vector."""
    return config.beat_bytes // size


def pitch_of(config: RDUConfig, elements: int, size: int) -> int:
    """Elements from one row of a striped buffer to the next."""
    return max(1 << (elements - 1).bit_length(), width_of(config, size))


def striped(config: RDUConfig, size: int, rows: int, elements: int, reads: Sequence[Loop], *, times: int, buffers: int) -> PMUProgram:
    """A PMU that takes ``rows`` rows of ``elements`` elements of ``size`` bytes and gives vectors of one column's elements, of ``width_of``
    neighbouring rows, at the places that ``reads`` walk over: a step of the pitch is a row, a step of 1 a column. ``times`` blocks.
    """
    width, pitch = width_of(config, size), pitch_of(config, elements, size)
    vectors = -(-rows // width) * pitch
    first = (pitch // width).bit_length() - 1
    stride, banks = separate_buffers(config.pmu, vectors, buffers, together=range(first, first + width.bit_length() - 1))
    outer = [Loop(bound) for bound in factors(times, "blocks")]
    return PMUProgram(
        write=Write(loops=(Loop(-(-elements // width), width), Loop(rows, pitch), *outer), handover=2, vectors=(0,)),
        reads=(Read(loops=(*reads, *outer), handover=len(reads), transposed=True),), buffers=buffers, buffer_stride=stride * width,
        bank_map=banks, pitch=pitch, element=Element.HALF if size == 2 else Element.WORD)
