"""The commonest PMU programs, ready made.

Every recipe names the lengths that a kernel may replace at launch in ``program.lengths``: name -> program fields, all of which
get the same value, for example ``kernel.argument("rows", *(unit.field(f) for f in program.lengths["rows"]))``. A length may be
anything from 0 to the one the recipe was made for.
"""

from __future__ import annotations

import dataclasses

from hw.config import PMUConfig

from .geometry import BankMap, Geometry
from .program import Element, Loop, PMUProgram, ProgramError, Read, Write

__all__ = ["column_tiles", "fifo", "half_rotated", "repeated_rows", "scalars_to_vectors", "separate_buffers", "stage_buffer",
           "transposed_rows", "vectors_to_scalars"]


def separate_buffers(config: PMUConfig, vectors: int, buffers: int, *, together: range = range(0)) -> tuple[int, BankMap]:
    """(buffer stride in vectors, bank map) that puts up to ``buffers`` buffers of ``vectors`` in different banks.

    The stride is the next power of two, the bits above it select the bank; bank bits left over interleave within a buffer.
    ``together``: bits of the vector number that never select a bank (they tell the rows of one transposed vector apart).
    """
    g = Geometry(config)
    size = max(vectors - 1, 0).bit_length()
    above = min((buffers - 1).bit_length(), g.bank_bits, max(g.vector_bits - size, 0))
    candidates = [*range(size, size + above), *range(g.vector_bits)]
    positions = [bit for bit in dict.fromkeys(candidates) if bit not in together][:g.bank_bits]
    return 1 << size, BankMap(tuple(sorted(positions)), (0,) * g.bank_bits)


def _vector(config: PMUConfig, element: Element) -> int:
    """Elements of a vector."""
    return config.lanes * (2 if element is Element.HALF else 1)


def _reads(config: PMUConfig, engines: tuple[int, ...], read: Read) -> tuple[Read | None, ...]:
    return tuple(read if engine in engines else None for engine in range(config.vector_outputs))


def _lengths(engines: tuple[int, ...], write: dict[str, int], read: dict[str, int]) -> dict[str, tuple[str, ...]]:
    """Where the lengths lie: name -> loop level in the write engine and in each read engine."""
    return {name: (*([f"write.bounds[{write[name]}]"] if name in write else ()),
                   *(f"read{engine}.bounds[{read[name]}]" for engine in engines if name in read))
            for name in dict.fromkeys((*write, *read))}


def stage_buffer(config: PMUConfig, *, vectors: int, count: int = 1, repeat: int = 1, buffers: int = 2, source: int = 0,
                 engines: tuple[int, ...] = (0,), base: int = 0) -> PMUProgram:
    """A pipeline's stage buffer: ``count`` times, ``vectors`` vectors are written in order and read ``repeat`` times in order.

    ``source``: the vector input; ``engines``: read engines, each of which emits everything. Lengths: ``vectors``, ``count``,
    ``repeat``; loops: write [vectors, count], read [vectors, repeat, count].
    """
    stride, bank_map = separate_buffers(config, vectors, buffers)
    lanes = config.lanes
    read = Read(loops=(Loop(vectors, lanes), Loop(repeat), Loop(count)), handover=2, base=base)
    return PMUProgram(
        write=Write(loops=(Loop(vectors, lanes), Loop(count)), handover=1, base=base, vectors=(source,)),
        reads=_reads(config, engines, read), buffers=buffers, buffer_stride=stride * lanes, bank_map=bank_map,
        lengths=_lengths(engines, {"vectors": 0, "count": 1}, {"vectors": 0, "repeat": 1, "count": 2}))


def repeated_rows(config: PMUConfig, *, vectors: int, rows: int, repeat: int, count: int = 1, buffers: int = 2, source: int = 0,
                  engines: tuple[int, ...] = (0,)) -> PMUProgram:
    """Each of ``rows`` rows of ``vectors`` vectors is emitted ``repeat`` times before the next; ``count`` such blocks.

    The query of every head against all keys, a bias for every row of a tile; ``vectors=1`` repeats each vector. Lengths:
    ``rows``, ``repeat``, ``count``.
    """
    stride, bank_map = separate_buffers(config, vectors * rows, buffers)
    lanes = config.lanes
    row = Loop(rows, vectors * lanes)
    return PMUProgram(
        write=Write(loops=(Loop(vectors, lanes), row, Loop(count)), handover=2, vectors=(source,)),
        reads=_reads(config, engines, Read(loops=(Loop(vectors, lanes), Loop(repeat), row, Loop(count)), handover=3)),
        buffers=buffers, buffer_stride=stride * lanes, bank_map=bank_map,
        lengths=_lengths(engines, {"rows": 1, "count": 2}, {"repeat": 1, "rows": 2, "count": 3}))


def column_tiles(config: PMUConfig, *, vectors: int, rows: int, tile: int, repeat: int = 1, count: int = 1, buffers: int = 2,
                 source: int = 0, engines: tuple[int, ...] = (0,)) -> PMUProgram:
    """A row-major matrix of ``rows`` rows of ``vectors`` vectors, emitted column tile by column tile (``tile`` vectors wide),
    each with all its rows, the whole ``repeat`` times: the stream of weights of a systolic PCU (V of one head after the other).

    Lengths: ``rows``, ``repeat``, ``count``.
    """
    if vectors % tile:
        raise ProgramError(f"tile={tile} does not divide vectors={vectors}")
    stride, bank_map = separate_buffers(config, vectors * rows, buffers)
    lanes = config.lanes
    row = Loop(rows, vectors * lanes)
    read = Read(loops=(Loop(tile, lanes), row, Loop(vectors // tile, tile * lanes), Loop(repeat), Loop(count)), handover=4)
    return PMUProgram(
        write=Write(loops=(Loop(vectors, lanes), row, Loop(count)), handover=2, vectors=(source,)),
        reads=_reads(config, engines, read), buffers=buffers, buffer_stride=stride * lanes, bank_map=bank_map,
        lengths=_lengths(engines, {"rows": 1, "count": 2}, {"rows": 1, "repeat": 3, "count": 4}))


def transposed_rows(config: PMUConfig, *, rows: int, columns: int, element: Element = Element.HALF, tile: int | None = None,
                    heads: int = 1, repeat: int = 1, count: int = 1, buffers: int = 2, source: int = 0,
                    engines: tuple[int, ...] = (0,)) -> PMUProgram:
    """K, written row by row, read transposed: a [rows, heads x columns] matrix becomes, head by head, K^T as a stream of weights.

    ``rows`` (keys) and ``columns`` (of a head) count elements. A vector holds V = ``lanes`` words or 2 x ``lanes`` halves; rows
    are padded to ``heads x columns`` rounded up to a power of two, of at least V. For each head, ``repeat`` times: for each
    block of ``tile`` vectors (default: all) of V keys: column after column, ``tile`` vectors of V keys each: the weights
    [k=columns, features=rows] of a systolic PCU with tiles of ``tile`` x V features. ``rows`` is a multiple of ``tile`` x V:
    keys beyond those written are what was there before (the consumer masks them).
    Lengths: ``rows`` (write), ``tiles`` = ceil(rows / (tile x V)) (read), ``count``. One vector a cycle on both sides, buffers
    in different banks.
    """
    width = _vector(config, element)
    tile = rows // width if tile is None else tile
    if not tile or rows % (tile * width):
        raise ProgramError(f"rows={rows} must be a multiple of tile x vector = {tile} x {width}")
    pitch = max(1 << (heads * columns - 1).bit_length(), width)
    first = (pitch // width).bit_length() - 1
    stride, bank_map = separate_buffers(config, rows * pitch // width, buffers,
                                        together=range(first, first + width.bit_length() - 1))
    nest = {"tile": Loop(tile, width * pitch), "column": Loop(columns, 1),
            "tiles": Loop(rows // (tile * width), tile * width * pitch), "repeat": Loop(repeat), "heads": Loop(heads, columns),
            "count": Loop(count)}
    for name in ("repeat", "heads", "tiles", "count"):       # a loop that does nothing makes way
        if len(nest) > config.counter_levels and nest[name].bound == 1:
            del nest[name]
    if len(nest) > config.counter_levels:
        raise ProgramError(f"rows={rows} in tiles, heads={heads}, repeat={repeat} and count={count} are {len(nest)} loops, an "
                           f"engine has {config.counter_levels}")
    levels = {name: level for level, name in enumerate(nest) if name in ("tiles", "count")}
    read = Read(loops=tuple(nest.values()), handover=len(nest) - ("count" in nest), transposed=True)
    return PMUProgram(
        write=Write(loops=(Loop(-(-heads * columns // width), width), Loop(rows, pitch), Loop(count)), handover=2, vectors=(source,)),
        reads=_reads(config, engines, read), buffers=buffers, buffer_stride=stride * width, bank_map=bank_map, element=element,
        pitch=pitch, lengths=_lengths(engines, {"rows": 1} | ({"count": 2} if "count" in nest else {}), levels))


def scalars_to_vectors(config: PMUConfig, *, words: int, count: int = 1, repeat: int = 1, buffers: int = 2, source: int = 0,
                       engines: tuple[int, ...] = (0,)) -> PMUProgram:
    """``count`` rows of ``words`` words arrive one by one at scalar input ``source`` and leave as vectors, ``repeat`` times.

    The last vector of a row is filled up with what was there before (the consumer masks it). Lengths: ``words`` (write),
    ``vectors`` = ceil(words / lanes) (read), ``repeat``, ``count``.
    """
    lanes = config.lanes
    vectors = -(-words // lanes)
    stride, bank_map = separate_buffers(config, vectors, buffers)
    read = Read(loops=(Loop(vectors, lanes), Loop(repeat), Loop(count)), handover=2)
    return PMUProgram(
        write=Write(loops=(Loop(words, 1), Loop(count)), handover=1, word=True, scalars=(source,)),
        reads=_reads(config, engines, read), buffers=buffers, buffer_stride=stride * lanes, bank_map=bank_map,
        lengths=_lengths(engines, {"words": 0, "count": 1}, {"vectors": 0, "repeat": 1, "count": 2}))


def vectors_to_scalars(config: PMUConfig, *, words: int, count: int = 1, repeat: int = 1, buffers: int = 2, source: int = 0,
                       engines: tuple[int, ...] = (0,), broadcast: bool = False) -> PMUProgram:
    """``count`` rows of ceil(words / lanes) vectors are written and leave word by word on the scalar outputs, ``repeat`` times:
    probabilities, each held by its consumer for a row of V. ``broadcast``: on the vector outputs, each word in every lane.

    Lengths: ``words`` (read), ``vectors`` = ceil(words / lanes) (write), ``repeat``, ``count``.
    """
    lanes = config.lanes
    vectors = -(-words // lanes)
    stride, bank_map = separate_buffers(config, vectors, buffers)
    read = Read(loops=(Loop(words, 1), Loop(repeat), Loop(count)), handover=2, word=True, scalar=not broadcast)
    return PMUProgram(
        write=Write(loops=(Loop(vectors, lanes), Loop(count)), handover=1, vectors=(source,)),
        reads=_reads(config, engines, read), buffers=buffers, buffer_stride=stride * lanes, bank_map=bank_map,
        lengths=_lengths(engines, {"vectors": 0, "count": 1}, {"words": 0, "repeat": 1, "count": 2}))


def half_rotated(config: PMUConfig, *, rows: int, columns: int, element: Element = Element.WORD, count: int = 1,
                 buffers: int = 2, source: int = 0) -> PMUProgram:
    """Rotary embedding's operand: engine 0 emits x[rows, columns], engine 1 at once the same with the halves of each row
    exchanged: y[r, c] = x[r, (c + columns / 2) mod columns]. The sign is the consumer's.

    A row is one head of one token. ``columns`` is a power of two: half of it is whole vectors (two reads of one buffer at
    different offsets), or all of it is at most one vector (lane permutation); half of it is at least one word. Lengths: ``rows``
    (with fewer columns than a vector has elements it counts vectors), ``count``.
    """
    width, half = _vector(config, element), columns // 2
    if columns & columns - 1 or columns < 2 * width // config.lanes:
        raise ProgramError(f"columns={columns} must be a power of two and its half at least one word")
    vectors = max(columns // width, 1)
    if rows * columns % width:
        raise ProgramError(f"rows={rows} x columns={columns} must be whole vectors of {width} elements")
    lines = rows * columns // (vectors * width)
    stride, bank_map = separate_buffers(config, lines * vectors, buffers)
    line, outer = Loop(lines, vectors * width), Loop(count)
    straight = Read(loops=(Loop(vectors, width), line, outer), handover=2)
    if half >= width:
        turned = Read(loops=(Loop(half // width, width), Loop(2, -half), line, outer), handover=3, base=half)
        levels = {"rows": 2, "count": 3}
    else:
        words = half * config.lanes // width
        turned = dataclasses.replace(straight, permute=tuple(lane ^ words for lane in range(config.lanes)))
        levels = {"rows": 1, "count": 2}
    places = {"rows": 1, "count": 2}
    return PMUProgram(
        write=Write(loops=(Loop(vectors, width), line, outer), handover=2, vectors=(source,)), reads=(straight, turned),
        buffers=buffers, buffer_stride=stride * width, bank_map=bank_map, element=element,
        lengths={name: (f"write.bounds[{level}]", f"read0.bounds[{level}]", f"read1.bounds[{levels[name]}]")
                 for name, level in places.items()})


def fifo(config: PMUConfig, *, vectors: int, depth: int, source: int = 0, engine: int = 0, base: int = 0) -> PMUProgram:
    """A queue of ``depth`` vectors through which ``vectors`` pass (up to 2**32: two loops): a buffer is one vector."""
    lanes = config.lanes
    outer = -(-vectors // ((1 << config.counter_bits) - 1))
    while vectors % outer:
        outer += 1
    loops = (Loop(vectors // outer), Loop(outer))
    read = Read(loops=loops, handover=0, base=base)
    return PMUProgram(
        write=Write(loops=loops, handover=0, base=base, vectors=(source,)), reads=_reads(config, (engine,), read),
        buffers=depth, buffer_stride=lanes, lengths=_lengths((engine,), {"vectors": 0}, {"vectors": 0}) if outer == 1 else {})
