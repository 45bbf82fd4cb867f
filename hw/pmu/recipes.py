"""The commonest PMU programs, ready made."""

from __future__ import annotations

from hw.config import PMUConfig

from .geometry import BankMap, Geometry
from .program import Loop, PMUProgram, Read, Write

__all__ = ["fifo", "separate_buffers", "stage_buffer"]


def separate_buffers(config: PMUConfig, vectors: int, buffers: int) -> tuple[int, BankMap]:
    """(buffer stride in vectors, bank map) that puts up to ``buffers`` buffers of ``vectors`` in different banks.

    The stride is the next power of two, the bits above it select the bank; bank bits left over interleave within a buffer.
    """
    g = Geometry(config)
    size = max(vectors - 1, 0).bit_length()
    above = min((buffers - 1).bit_length(), g.bank_bits, max(g.vector_bits - size, 0))
    upper = range(size, size + above)
    lower = range(g.bank_bits - above)
    positions = sorted(set(upper) | set(lower))
    spare = [bit for bit in range(g.vector_bits) if bit not in positions]
    positions = sorted(positions + spare[:g.bank_bits - len(positions)])
    return 1 << size, BankMap(tuple(positions), (0,) * g.bank_bits)


def stage_buffer(config: PMUConfig, *, vectors: int, count: int = 1, repeat: int = 1, buffers: int = 2, source: int = 0,
                 engines: tuple[int, ...] = (0,), base: int = 0) -> PMUProgram:
    """A pipeline's stage buffer: ``count`` times, ``vectors`` vectors are written in order and read ``repeat`` times in order.

    ``source``: the vector input; ``engines``: read engines, each of which emits everything. Loops (for arguments): write
    [vectors, count], read [vectors, repeat, count].
    """
    stride, bank_map = separate_buffers(config, vectors, buffers)
    lanes = config.lanes
    read = Read(loops=(Loop(vectors, lanes), Loop(repeat), Loop(count)), handover=2, base=base)
    return PMUProgram(
        write=Write(loops=(Loop(vectors, lanes), Loop(count)), handover=1, base=base, vectors=(source,)),
        reads=tuple(read if engine in engines else None for engine in range(config.vector_outputs)),
        buffers=buffers, buffer_stride=stride * lanes, bank_map=bank_map)


def fifo(config: PMUConfig, *, vectors: int, depth: int, source: int = 0, engine: int = 0, base: int = 0) -> PMUProgram:
    """A queue of ``depth`` vectors through which ``vectors`` pass (up to 2**32: two loops): a buffer is one vector."""
    lanes = config.lanes
    outer = -(-vectors // ((1 << config.counter_bits) - 1))
    while vectors % outer:
        outer += 1
    loops = (Loop(vectors // outer), Loop(outer))
    read = Read(loops=loops, handover=0, base=base)
    return PMUProgram(
        write=Write(loops=loops, handover=0, base=base, vectors=(source,)),
        reads=tuple(read if index == engine else None for index in range(config.vector_outputs)),
        buffers=depth, buffer_stride=lanes)
