"""Numpy model of an AGCU: programs and a memory image to streams, and streams to a memory image. No HDL is imported."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.config import AGCUConfig

from .program import PAGE_BYTES, Access, Engine, LoadProgram, Segment, StoreProgram

__all__ = ["Fault", "run_load", "run_store"]


@dataclass(frozen=True)
class Fault(Exception):
    """The first access of an engine that is refused. ``cause`` is the name of a ``hw.common.packet.FaultCause``."""

    cause: str
    segment: int
    offset: int


def physical(engine: Engine, offset: int, segments: dict[int, Segment], write: bool) -> tuple[int, int]:
    """(tier, byte address) of an access to the beat at ``offset``. Raises :class:`Fault`."""
    segment = segments.get(engine.segment)
    if segment is None:
        raise Fault("SEGMENT_MISS", engine.segment, offset)
    if not (segment.write if write else segment.read):
        raise Fault("RIGHTS", engine.segment, offset)
    if offset // PAGE_BYTES >= segment.size // PAGE_BYTES:
        raise Fault("OUT_OF_RANGE", engine.segment, offset)
    return int(segment.tier), segment.base + offset


def run_load(program: LoadProgram, config: AGCUConfig, memory: np.ndarray, segments: dict[int, Segment],
             indices=()) -> np.ndarray:
    """What a load engine emits: ``[vectors, lanes]`` uint32 (access WORD: ``[words]``). ``memory`` is ``[tiers, bytes]``
    uint8."""
    if program.access == Access.FILL:
        return np.full((program.iterations, config.lanes), program.base, dtype=np.uint32)
    size = 4 if program.access == Access.WORD else config.beat_bytes
    results = []
    for offset in program.offsets(indices):
        pieces = _pieces(program, config, offset, size, segments, False)
        results.append(np.concatenate([memory[tier, address:address + count] for tier, address, count in pieces]).view(np.uint32))
    shape = (len(results),) if program.access == Access.WORD else (len(results), config.lanes)
    return np.array(results, dtype=np.uint32).reshape(shape)


def run_store(program: StoreProgram, config: AGCUConfig, memory: np.ndarray, segments: dict[int, Segment], data: np.ndarray,
              indices=()) -> None:
    """Puts ``data`` (``[vectors, lanes]`` uint32, access WORD: ``[words]``) into ``memory`` as a store engine does."""
    row = program.loops[0].bound
    for number, (offset, item) in enumerate(zip(program.offsets(indices), data, strict=True)):
        content = np.atleast_1d(item).astype(np.uint32).view(np.uint8)
        if number % row == row - 1 and program.tail_bytes % config.beat_bytes:
            content = content[:program.tail_bytes]
        for tier, address, count in _pieces(program, config, offset, len(content), segments, True):
            memory[tier, address:address + count], content = content[:count], content[count:]


def _pieces(program: Engine, config: AGCUConfig, offset: int, size: int, segments: dict[int, Segment], write: bool):
    """(tier, address, bytes) of an access, beat by beat."""
    beat = config.beat_bytes
    if offset % (beat if program.access == Access.VECTOR else 4):
        raise Fault("MISALIGNED", program.segment, offset)
    while size > 0:
        within = offset % beat
        tier, address = physical(program, offset - within, segments, write)
        count = min(size, beat - within)
        yield tier, address + within, count
        offset, size = (offset + count) % (1 << 32), size - count
