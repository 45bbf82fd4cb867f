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


def physical(engine: Engine, offset: int, segments: dict[int, Segment], write: bool, unit: int) -> tuple[int, int]:
    """(tier, byte address) of an access to ``offset``, aligned to ``unit`` bytes. Raises :class:`Fault`."""
    segment = segments.get(engine.segment)
    if offset % unit:
        raise Fault("MISALIGNED", engine.segment, offset)
    if segment is None:
        raise Fault("SEGMENT_MISS", engine.segment, offset)
    if not (segment.write if write else segment.read):
        raise Fault("RIGHTS", engine.segment, offset)
    if offset // PAGE_BYTES >= segment.size // PAGE_BYTES:
        raise Fault("OUT_OF_RANGE", engine.segment, offset)
    return int(segment.tier), segment.base + offset


def run_load(program: LoadProgram, config: AGCUConfig, memory: np.ndarray, segments: dict[int, Segment]) -> np.ndarray:
    """What a load engine emits: ``[vectors, lanes]`` uint32 (access WORD: ``[words]``). ``memory`` is ``[tiers, bytes]`` uint8."""
    if program.access == Access.FILL:
        count = len(list(program.offsets()))
        return np.full((count, config.lanes), program.base, dtype=np.uint32)
    unit = config.beat_bytes if program.access == Access.VECTOR else 4
    size = 4 if program.access == Access.WORD else config.beat_bytes
    results = []
    for offset in program.offsets():
        if offset % unit:
            raise Fault("MISALIGNED", program.segment, offset)
        first, last = (at - at % config.beat_bytes for at in (offset, offset + size - 1))
        beats = []
        for beat in dict.fromkeys((first, last)):
            tier, address = physical(program, beat, segments, False, config.beat_bytes)
            beats.append(memory[tier, address:address + config.beat_bytes])
        results.append(np.concatenate(beats)[offset - first:offset - first + size].view(np.uint32))
    shape = (len(results),) if program.access == Access.WORD else (len(results), config.lanes)
    return np.array(results, dtype=np.uint32).reshape(shape)


def run_store(program: StoreProgram, config: AGCUConfig, memory: np.ndarray, segments: dict[int, Segment], vectors: np.ndarray) -> None:
    """Puts ``vectors`` (``[vectors, lanes]`` uint32) into ``memory`` as a store engine does."""
    row = program.loops[0].bound
    for number, (offset, vector) in enumerate(zip(program.offsets(), vectors, strict=True)):
        tier, address = physical(program, offset, segments, True, config.beat_bytes)
        is_tail = number % row == row - 1
        size = program.tail_bytes % config.beat_bytes if is_tail else 0
        size = size or config.beat_bytes
        memory[tier, address:address + size] = np.ascontiguousarray(vector).view(np.uint8)[:size]
