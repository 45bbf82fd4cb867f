"""Programs for one tensor on several PMUs: all hear the whole stream, each keeps its part by predication."""

from __future__ import annotations

from hw.config import PMUConfig

from .address import Factor, Operation, Shard, Stage, modulo, within
from .program import Loop, PMUProgram, ProgramError, Read, Write
from .recipes import separate_buffers

__all__ = ["dealt", "shard"]


def shard(config: PMUConfig, *, vectors: int, shards: int, number: int, count: int = 1, repeat: int = 1, buffers: int = 2,
          source: int = 0, engines: tuple[int, ...] = (0, 1)) -> PMUProgram:
    """Part ``number`` of ``count`` tensors of ``vectors`` vectors: a range of ceil(vectors / shards) consecutive ones.

    ``engines`` divide the part among themselves in order, and emit it ``repeat`` times.
    Raises ProgramError if a tensor is more than 16 times the scratchpad or this shard has nothing.
    """
    size = -(-vectors // shards)
    mine = min(size, vectors - number * size)
    write = Write(loops=(Loop(vectors, config.lanes), Loop(count)), handover=1, vectors=(source,),
                  shard=Shard(number * size * config.lanes, mine * config.lanes))
    return _program(config, write, mine, count, repeat, buffers, engines)


def dealt(config: PMUConfig, *, vectors: int, shards: int, number: int, count: int = 1, repeat: int = 1, buffers: int = 2,
          source: int = 0, engines: tuple[int, ...] = (0, 1)) -> PMUProgram:
    """As :func:`shard`, but the part is every ``shards``-th vector, beginning with vector ``number``: the address pipeline
    divides the vector's number (x // shards is its place, x % shards the shard's predicate)."""
    place = Stage(operation=Operation.MAC, factor=Factor.Y, a=2 * config.lanes)
    stages = (*modulo(2 * shards, (2 * vectors - 1).bit_length()), within(2 * number, 1, of=Factor.X), place)
    write = Write(loops=(Loop(vectors, 1), Loop(count)), handover=1, vectors=(source,), stages=stages)
    return _program(config, write, len(range(number, vectors, shards)), count, repeat, buffers, engines)


def _program(config: PMUConfig, write: Write, mine: int, count: int, repeat: int, buffers: int,
             engines: tuple[int, ...]) -> PMUProgram:
    if mine < len(engines):
        raise ProgramError(f"this shard has {mine} vectors for {len(engines)} engines: use fewer shards")
    stride, bank_map = separate_buffers(config, mine, buffers)
    bounds = [mine * place // len(engines) for place in range(len(engines) + 1)]
    reads: list[Read | None] = [None] * config.vector_outputs
    for engine, first, end in zip(engines, bounds, bounds[1:], strict=False):
        reads[engine] = Read(loops=(Loop(end - first, config.lanes), Loop(repeat), Loop(count)), handover=2,
                             base=first * config.lanes)
    return PMUProgram(write=write, reads=tuple(reads), buffers=buffers, buffer_stride=stride * config.lanes, bank_map=bank_map)
