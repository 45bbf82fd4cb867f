"""The streams around a MATMUL: rows, weights, biases and scales from memory, results put in order, rounded, stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from hw.pcu.layout import Op
from hw.pcu.program import Input, SimdProgram, Stage, vector
from hw.pmu.program import Loop, PMUProgram, Read, Write

from ..fabric.netlist import Port
from ..graph.pattern import Dim, NotAffine
from .section import Feed, Section, Unstreamable
from .streams import NeedsWords, factors, load_rows, store_rows
from .tiling import Part, Tiling, chunked

PREFETCH = 512           # vectors that a queue in front of a long MATMUL holds
LONG_STEPS = 1500        # a MATMUL of more steps than this gets such queues

__all__ = ["beside_part", "in_rows", "rounded", "rows_of_part", "store_part", "weights_of_part"]


def rows_of_part(section, node, problem, batch, launch, part, tile, row_tiles, column_tiles, steps) -> Feed:
    home, before = section.homes[node.inputs[0]], len(section.net.units)
    m, k = _pairs(problem.m, 0), _pairs(problem.k, 0)
    base, tiles, rows = _row_loops(m, part, tile, row_tiles, split=not (tile.reuse or column_tiles * tile.chunks == 1))
    stored = home.stored().at(base)
    if tile.chunks > 1:
        chunk_loop, row = _cut(k, *chunked([size for size, _ in k], tile.k))
    else:
        chunk_loop, row = [], k
    if tile.reuse or column_tiles * tile.chunks == 1:
        loops = [*_pairs(batch, 0), *rows]
    else:
        loops = [*_pairs(batch, 0), *tiles, *_repeat(column_tiles), *chunk_loop, *rows]
    port = load_rows(section.net, stored, loops, row)
    section.note_launch(before, launch, 0, home.size)
    feed = Feed(port, prod(size for size, _ in loops), prod(size for size, _ in row), packed=home.size == 2)
    port = prefetched(section, port, feed.rows * feed.vectors(section.lanes), steps)
    return replace(feed, port=port, past=frozenset({port.unit}))


def _row_loops(m: list[tuple[int, int]], part: Part, tile: Tiling, row_tiles: int, *, split: bool):
    """(first element, loops over the row tiles, loops over the rows of one) of a part; all rows are one tile unless ``split``."""
    if len(m) > 1:
        if part.row or part.rows != prod(size for size, _ in m):
            raise NotAffine("a part of rows in several loops")
        if not split:
            return 0, [], m
        if not (end := chunked([size for size, _ in m], tile.rows)):
            raise NotAffine("row tiles across loops")
        return 0, *_cut(m, *end)
    stride = m[0][1] if m else 0
    base = part.row * stride
    if not split:
        return base, [], [(part.rows, stride)]
    if row_tiles > 1 and part.rows % tile.rows:
        raise NotAffine("a ragged last row tile")
    return base, [(row_tiles, stride * tile.rows)], [(min(tile.rows, part.rows), stride)]


def _cut(loops: list[tuple[int, int]], number: int, steps: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The loops around chunks that end with ``steps`` of loop ``number``, and those in one."""
    size, stride = loops[number]
    return [*loops[:number], (size // steps, stride * steps)], [(steps, stride), *loops[number + 1:]]


def weights_of_part(section, node, problem, batch, launch, part, tile, row_tiles, column_tiles, steps) -> tuple[Port, int]:
    home, before = section.homes[node.inputs[1]], len(section.net.units)
    k, n = _pairs(problem.k, 1), _pairs(problem.n, 1)
    width = tile.blocks * section.lanes
    stored = home.stored()
    if len(n) > 1:
        raise NotAffine("columns in several loops")
    step = n[0][1] if n else 0
    stored = stored.at(part.column * step)
    tiles = [(column_tiles, step * width)] if column_tiles > 1 else []
    row = [(width if column_tiles > 1 else part.columns, step if step else 1)]
    if part.columns == 1 and not step:
        row = [(1, 1)]
    loops = [*_pairs(batch, 1), *_repeat(row_tiles), *tiles, *k]
    port = load_rows(section.net, stored, loops, row)
    section.note_launch(before, launch, 1, home.size)
    for made in section.net.units[before:]:
        if made.kind == "load":
            made.bytes = prod(size for size, _ in loops) * row[0][0] * home.size
    count = prod(size for size, _ in loops) * -(-row[0][0] * home.size // section.config.beat_bytes)
    return prefetched(section, port, count, steps), count


def beside_part(section, name, part, tile, tiles, column_tiles) -> Port:
    home, width = section.homes[name], tile.blocks * section.lanes
    if home.size != 4 or not home.pattern.is_contiguous:
        raise NeedsWords(home.symbol, "biases and scales are FP32 words")
    loops = [*_repeat(tiles), *([(column_tiles, width)] if column_tiles > 1 else [])]
    row = [(width if column_tiles > 1 else part.columns, 1)]
    return load_rows(section.net, home.stored().at(part.column), loops, row)


def prefetched(section: Section, port: Port, vectors: int, steps: int) -> Port:
    """A stream from memory behind a queue in a PMU, that feeds a long computation while the memory refreshes."""
    if steps < LONG_STEPS or section.spare_pmus() < 1 or section.feeds or section.inside or port.unit.kind != "load":
        return port
    depth = min(PREFETCH, section.config.pmu.words // section.lanes)
    loops = tuple(Loop(bound) for bound in factors(vectors, "vectors"))
    program = PMUProgram(write=Write(loops=loops, handover=0, vectors=(0,)), reads=(Read(loops=loops, handover=0),),
                         buffers=depth, buffer_stride=section.lanes)
    unit = section.net.add("pmu", "prefetch", program, work=vectors)
    section.net.connect("vector", port, unit.input(0), vectors)
    return unit.out(0)


def in_rows(section: Section, feed: Feed, tile: Tiling, tiles: int, column_tiles: int, columns: int) -> Feed:
    """Column tile after column tile to row after row, in a PMU."""
    lanes, config = section.lanes, section.config.pmu
    per_tile = -(-tile.blocks // 2) if feed.packed else tile.blocks
    pitch, row = per_tile * column_tiles, feed.vectors(lanes)
    size = tile.rows * pitch
    capacity = config.words // lanes
    if size > capacity:
        raise Unstreamable(f"{tile.rows} rows of {pitch} vectors exceed a PMU")
    if feed.packed and tile.blocks % 2:
        raise Unstreamable("packed column tiles of an odd number of blocks")
    buffers = 2 if 2 * size <= capacity else 1
    outer = [Loop(bound) for bound in factors(tiles, "tiles")]
    program = PMUProgram(
        write=Write(loops=(Loop(per_tile, lanes), Loop(tile.rows, pitch * lanes), Loop(column_tiles, per_tile * lanes), *outer),
                    handover=3, vectors=(0,)),
        reads=(Read(loops=(Loop(row, lanes), Loop(tile.rows, pitch * lanes), *outer), handover=2),),
        buffers=buffers, buffer_stride=size * lanes)
    unit = section.net.add("pmu", "rows", program, work=tiles * size)
    section.net.connect("vector", feed.port, unit.input(0), tiles * size)
    return replace(feed, port=unit.out(0), lag=feed.lag + 2 * tile.rows, past=feed.past | {unit})


def rounded(section: Section, name: str, feed: Feed, tile: Tiling, column_tiles: int) -> Feed:
    """Rounded to BF16, as FP32 words."""
    count = feed.rows * (feed.vectors(section.lanes) if column_tiles == 1 else column_tiles * tile.blocks)
    program = SimdProgram(loops=tuple(factors(count, "vectors")), vectors={0: Input()}, stages=(Stage(Op.TO_BF16, vector(0)),))
    unit = section.net.add("pcu", f"{name} to bf16", program, work=count)
    section.net.connect("vector", feed.port, unit.input(0), count)
    return replace(feed, port=unit.out(0), hops=feed.hops + 1, past=feed.past | {unit})


def store_part(section, node, problem, batch, launch, part, tile, row_tiles, column_tiles, made: Feed) -> None:
    home, before = section.homes[node.output], len(section.net.units)
    width = tile.blocks * section.lanes
    n = _pairs(problem.n, 2)
    if len(n) > 1 and column_tiles > 1:
        raise NotAffine("columns in several loops")
    step = n[-1][1] if n else 1
    m = _pairs(problem.m, 2)
    base, tiles, rows = _row_loops(m, part, tile, row_tiles, split=column_tiles > 1)
    stored = home.stored().at(base + part.column * step)
    if column_tiles > 1:
        loops = [*_pairs(batch, 2), *tiles, (column_tiles, step * width), *rows]
        row = [(width, step)]
    else:
        loops, row = [*_pairs(batch, 2), *rows], n if len(n) > 1 else [(part.columns, step)]
    store_rows(section.net, made.port, stored, loops, row)
    section.note_launch(before, launch, 2, home.size)


def _pairs(dims: Sequence[Dim], operand: int) -> list[tuple[int, int]]:
    return [(dim.size, dim.strides[operand]) for dim in dims]


def _repeat(count: int) -> list[tuple[int, int]]:
    return [(count, 0)] if count > 1 else []
