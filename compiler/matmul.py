"""MATMUL on systolic PCUs: how it is cut into tiles, and the streams that feed them.

The rows of ``a`` go to the broadcast buffers, the columns of ``b`` are the lanes. Every sum starts from the bias and takes its
products in order of k, whatever the tiles are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod

from hw.config import PCUConfig
from hw.pcu.bundle import broadcast_vectors
from hw.pcu.layout import SCALE_INPUT, Initial, Op
from hw.pcu.program import Input, SimdProgram, Stage, SystolicProgram, vector
from hw.pcu.stage import BodyStage
from hw.pmu.program import Loop, PMUProgram, Read, Write

from .errors import CompileError
from .int8 import is_int8
from .ir import Node
from .mapping import Feed, Section, Unstreamable
from .netlist import Capacity, Port, VirtualUnit
from .pattern import Dim, NotAffine, Pattern, merge_dims, refine
from .streams import LONGEST, TooDeep, factors, load_rows, store_rows

PREFETCH = 512           # vectors that a queue in front of a long MATMUL holds
LONG_STEPS = 1500        # a MATMUL of more steps than this gets such queues
SLOWER = 1.5             # how much longer a MATMUL may take as part of a longer kernel

__all__ = ["Problem", "Tiling", "grids", "map_matmul", "parts", "problem_of", "tilings"]


@dataclass(frozen=True)
class Tiling:
    """A tile is ``rows`` x (``blocks`` x lanes) outputs, its k comes in ``chunks`` of ``k``; ``groups`` and ``stages_per_row`` as in
    :class:`~hw.pcu.program.SystolicProgram`; ``reuse``: rows are brought once for all column tiles."""

    rows: int
    blocks: int
    groups: int
    k: int
    chunks: int
    reuse: bool
    stages_per_row: int = 1

    @property
    def steps_each(self) -> int:
        """Systolic steps of a tile."""
        return self.k * self.chunks * self.groups * self.blocks // self.stages_per_row

    def steps(self, m: int, n: int, lanes: int) -> int:
        """Systolic steps for m rows and n columns."""
        return -(-m // self.rows) * -(-n // (self.blocks * lanes)) * self.steps_each


@cache
def tilings(config: PCUConfig, m: int, n: int, k: int, packed_rows: bool, whole: bool = False, weight_size: int = 2,
            packed_output: bool = False) -> Tiling | None:
    """The tiling with the least time; ``weight_size``: bytes of a weight in memory.

    ``whole``: rows arrive and leave as a stream, so they must be held for all columns in one chunk, and several column tiles need row tiles
    that are all alike and can be put in order.
    """
    lanes, room = config.lanes, broadcast_vectors(config)
    per_vector = lanes * (2 if packed_rows else 1)
    best, least = None, None
    shares = [(shared, blocks) for shared in ((1, 2) if weight_size == 2 else (1,))
              for blocks in range(shared, shared * config.accumulators + 1, shared)]
    for shared, blocks in shares:
        if (blocks - 1) * lanes >= n and blocks > 1:
            continue                 # no column is left for its last block
        for groups in range(1, shared * config.accumulators // blocks + 1):
            if groups * blocks < BodyStage.reuse_distance * shared and k > 1:
                continue
            height = config.stages // shared
            limit = groups * height
            if not limit or (shared > 1 and m > limit):
                continue             # for few rows only
            rows = -(-m // -(-m // limit))
            used = -(-rows // height)
            fitting = room // used * per_vector
            if fitting < 1:
                continue
            chunk = k if k <= fitting else max(d for d in range(1, fitting + 1) if k % d == 0)
            if chunk < k and packed_rows and chunk % 2:
                continue
            if whole and chunk < k:
                continue
            columns = -(-n // (blocks * lanes))
            if whole and columns > 1 and packed_output and blocks % 2:
                continue
            if whole and columns > 1 and m % rows:
                rows = max(d for d in range(1, rows + 1) if m % d == 0)
            tile = Tiling(rows, blocks, groups, chunk, k // chunk, chunk == k and columns > 1, shared)
            steps = tile.steps(m, n, lanes)
            row_tiles = -(-m // rows)
            row_vectors = row_tiles * (1 if tile.reuse else columns) * tile.chunks * rows * -(-chunk // per_vector)
            weights = row_tiles * columns * k * -(-blocks * weight_size // 4)
            time = max(steps, row_vectors, weights)
            if least is None or (time, row_vectors + weights) < least:
                best, least = tile, (time, row_vectors + weights)
    return best


def grids(section: Section, node: Node) -> Iterator[tuple[Part, tuple[int, int]]]:
    """Ways to put a whole MATMUL from memory on several PCUs in parts of one size, the one expected to be fastest first."""
    from .cost import VECTORS_PER_CYCLE
    config, lanes = section.config.pcu, section.lanes
    problem = problem_of(section, node)
    batch, m, k, n = problem.sizes
    packed_x, weight_size = section.packed(node.inputs[0]), section.homes[node.inputs[1]].size
    limit, found = Capacity.of(section.config), []
    for pr in range(1, limit.pcu + 1):
        for pc in range(1, limit.pcu // pr + 1):
            if m % pr or n % pc or (len(problem.m) > 1 and pr > 1) or pr * pc > limit.store or \
                    pr + pc * len(node.inputs[1:]) > limit.load:
                continue
            if pc > 1 and (n // pc * weight_size % 4 or (n // pc % 2 and section.packed(node.output))):
                continue                 # a part would start amid a word
            tile = tilings(config, m // pr, n // pc, k, packed_x, False, weight_size)
            if tile is None:
                continue
            rows, columns = m // pr, n // pc
            width = tile.blocks * lanes
            if (columns > width and columns % width) or (rows % tile.rows and (columns > width or batch > 1 or tile.chunks > 1)):
                continue
            row_tiles, column_tiles = batch * -(-rows // tile.rows), -(-columns // width)
            steps = row_tiles * column_tiles * tile.steps_each
            x = row_tiles * (1 if tile.chunks == 1 else column_tiles) * tile.chunks * tile.rows * -(-tile.k // (lanes * (1 + packed_x)))
            w = row_tiles * column_tiles * k * -(-tile.blocks * weight_size // 4)
            out = batch * m * n // (lanes * (1 + section.packed(node.output)))
            fill = pr * tile.rows * -(-tile.k // (lanes * (1 + packed_x)))
            time = max(steps, x, w, (pr * x + pc * w + out) / VECTORS_PER_CYCLE) + fill / VECTORS_PER_CYCLE
            found.append((time * (1 + 0.02 * (pr * pc - 1)), pr * x + pc * w, Part(0, m, 0, n, tile), (pr, pc)))
    for _, _, part, grid in sorted(found, key=lambda entry: (entry[0], entry[1])):
        yield part, grid


@dataclass(frozen=True)
class Problem:
    """A MATMUL as loops: ``batch`` dims over (a, b, out), M as dims over (a, out), K as (a, b), N as (b, out)."""

    batch: tuple[Dim, ...]
    m: tuple[Dim, ...]
    k: tuple[Dim, ...]
    n: tuple[Dim, ...]

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        return tuple(prod(dim.size for dim in dims) for dims in (self.batch, self.m, self.k, self.n))


def problem_of(section: Section, node: Node, *, a_streamed: bool = False, out_stored: bool = True) -> Problem:
    """The loops of a MATMUL. Raises :class:`~compiler.pattern.NotAffine`."""
    graph, homes = section.graph, section.homes
    a, b, out = graph[node.inputs[0]].shape, graph[node.inputs[1]].shape, graph[node.output].shape
    batch, (m, n), k = out[:-2], out[-2:], a[-1]
    full = (*batch, m, k, n)
    spread = []

    def place(name: str, shape: Sequence[int], axes: str) -> None:
        """The operand over the axes (batch, m, k, n), with zero strides where it does not vary."""
        loops = homes[name].pattern.shaped(shape)
        lead, tail = loops[:-2], loops[-2:]
        lead_shape = shape[:-2]
        lead = [[] for _ in range(len(batch) - len(lead))] + lead
        lead_shape = (1,) * (len(batch) - len(lead_shape)) + tuple(lead_shape)
        per_axis = {"m": [], "k": [], "n": []} | dict(zip(axes, tail, strict=True))
        spread.append([*(part if own == size else [(size, 0)] if size > 1 else []
                         for part, own, size in zip(lead, lead_shape, batch, strict=True)),
                       *(per_axis[axis] if axis in axes else [(size, 0)] if size > 1 else []
                         for axis, size in zip("mkn", (m, k, n), strict=True))])

    if a_streamed:
        homes = {**homes, node.inputs[0]: replace(homes[node.inputs[0]], pattern=Pattern.contiguous(prod(a)))}
    if not out_stored:
        homes = {**homes, node.output: replace(homes[node.output], pattern=Pattern.contiguous(prod(out)))}
    place(node.inputs[0], a, "mk")
    place(node.inputs[1], b, "kn")
    place(node.output, out, "mn")
    dims = [dim for axis, size in enumerate(full) if size > 1 for dim in refine([operand[axis] for operand in spread], axis, size)]
    lead = len(batch)
    merged = merge_dims(dims, keep=(lead + 1, lead + 2))
    # Without a batch of b, batch and m are rows alike; merging has joined them where the strides allow it.
    groups = {"batch": [], "m": [], "k": [], "n": []}
    for dim in merged:
        axis = "batch" if dim.axis < lead else "mkn"[dim.axis - lead]
        groups[axis].append(dim)
    while groups["batch"] and not groups["m"] and groups["batch"][-1].strides[1] == 0:
        groups["m"].append(groups["batch"].pop())
    return Problem(*(tuple(groups[name]) for name in ("batch", "m", "k", "n")))


def _pairs(dims: Sequence[Dim], operand: int) -> list[tuple[int, int]]:
    return [(dim.size, dim.strides[operand]) for dim in dims]


def _repeat(count: int) -> list[tuple[int, int]]:
    return [(count, 0)] if count > 1 else []


@dataclass(frozen=True)
class Part:
    """A rectangle of a MATMUL with whole row tiles, done by one PCU."""

    row: int
    rows: int
    column: int
    columns: int
    tile: Tiling


def parts(m: int, n: int, batch: int, tile: Tiling, lanes: int) -> Iterator[Part]:
    """The rectangles: rows that do not fill a row tile and columns that do not fill a column tile are by themselves."""
    width = tile.blocks * lanes
    if batch > 1 and m % tile.rows:
        even = max(d for d in range(1, tile.rows + 1) if m % d == 0)
        tile = replace(tile, rows=even if even * 2 > tile.rows else tile.rows)
    whole_rows = m // tile.rows * tile.rows
    if batch == 1 and n <= width and tile.chunks == 1:
        whole_rows = m                   # one pass over the rows: the last tile may be smaller
    whole_columns = n // width * width if n > width else n
    for row, rows in ((0, whole_rows), (whole_rows, m - whole_rows)):
        for column, columns in ((0, whole_columns), (whole_columns, n - whole_columns)):
            if rows and columns:
                blocks = min(tile.blocks, -(-columns // lanes))
                shared = 1 if blocks % 2 else tile.stages_per_row
                own = replace(tile, rows=min(tile.rows, rows), blocks=blocks, stages_per_row=shared,
                              groups=max(tile.groups, -(-BodyStage.reuse_distance * shared // blocks)),
                              reuse=tile.chunks == 1 and columns > blocks * lanes)
                yield Part(row, rows, column, columns, own)


def map_matmul(section: Section, node: Node, part: Part | None = None, grid: tuple[int, int] | None = None) -> None:
    """Adds a MATMUL (or a part of one) to the section, its rows from memory or from a stream.

    ``grid``: (pr, pc), the part is done by pr x pc PCUs: pr ranges of its rows, pc of its columns, all of one size. PCUs of one
    range of rows share the stream of rows, those of one range of columns the weights; each stores its own results.

    Raises :class:`Unstreamable` if it cannot be part of a longer kernel.
    """
    a, b, *bias = node.inputs
    scales = [bias.pop()] if is_int8(section.graph, node) else []
    out = node.output
    if b in section.feeds or (bias and bias[0] in section.feeds):
        raise Unstreamable("the columns of a MATMUL come from memory")
    streamed, inside = a in section.feeds, out in section.inside
    problem = problem_of(section, node, a_streamed=streamed, out_stored=out in section.kept)
    _, m, k, n = problem.sizes
    if streamed and prod(dim.size for dim in problem.batch) > 1 and len(problem.m) > 1:
        raise Unstreamable("rows of a batch")
    packed_x = section.take(a).packed if streamed else section.packed(a)
    pr, pc = grid or section.grids.get(node.name, (1, 1))
    if part is None:
        if pc > 1 and (inside or n % pc):
            raise Unstreamable("columns on several PCUs are no stream")
        part = _whole(section, node, m, k, n // pc, packed_x)
        part = replace(part, columns=n)
    columns = part.columns // pc
    rows = part.rows // pr
    cells = [[replace(part, row=part.row + r * rows, rows=rows, column=part.column + c * columns, columns=columns)
              for c in range(pc)] for r in range(pr)]
    work = _Work(section, node, problem, cells[0][0])
    feeds = [work.rows(line[0]) for line in cells]
    weights = [work.weights(cell) for cell in cells[0]]
    beside = [(port, [work.beside(name, cell) for cell in cells[0]])
              for port, names in ((2, bias), (SCALE_INPUT, scales)) for name in names]
    for r, line in enumerate(cells):
        for c, cell in enumerate(line):
            unit = section.net.add("pcu", node.name, work.program(packed_x, bool(bias)), work=work.steps,
                                   note={"row_packets": work.tile.rows * -(-work.tile.k // (section.lanes * (1 + packed_x))),
                                         "macs": work.count * cell.columns * k})
            section.attach(feeds[r], unit, 1)
            section.net.connect("vector", weights[c][0], unit.input(0), weights[c][1])
            for port, streams in beside:
                section.net.connect("vector", streams[c], unit.input(port), work.tiles * work.column_tiles * work.tile.blocks)
            made = work.finish(unit, feeds[r], cell, inside)
    section.give(out, made)


def _whole(section: Section, node: Node, m: int, k: int, n: int, packed_x: bool) -> Part:
    config, weight_size = section.config.pcu, section.homes[node.inputs[1]].size
    tile = tilings(config, m, n, k, packed_x, True, weight_size, section.packed(node.output))
    if tile is None:
        raise Unstreamable(f"k = {k} does not fit a broadcast buffer")
    free = tilings(config, m, n, k, packed_x, False, weight_size)
    if tile.steps(m, n, section.lanes) > SLOWER * free.steps(m, n, section.lanes):
        raise Unstreamable("the tiles that a stream needs are slow")
    return Part(0, m, 0, n, tile)


class _Work:
    """What the PCUs of one MATMUL have in common: the size of their parts, the tiles, and the loops of their streams."""

    def __init__(self, section: Section, node: Node, problem: Problem, cell: Part):
        self.section, self.node, self.problem = section, node, problem
        lanes, tile, (count, columns) = section.lanes, cell.tile, (cell.rows, cell.columns)
        self.column_tiles = -(-columns // (tile.blocks * lanes))
        self.row_tiles = -(-count // tile.rows)
        self.last_rows = count - (self.row_tiles - 1) * tile.rows
        batch = prod(dim.size for dim in problem.batch)
        if self.last_rows != tile.rows and (batch > 1 or self.column_tiles > 1):
            tile = replace(tile, rows=max(d for d in range(1, tile.rows + 1) if count % d == 0))
            self.row_tiles, self.last_rows = count // tile.rows, tile.rows
        self.tile = replace(tile, reuse=tile.chunks == 1 and self.column_tiles > 1)
        launched = section.launch_dims
        self.launch, self.batch = problem.batch[:launched], problem.batch[launched:]
        if launched > len(problem.batch):
            raise CompileError(f"node {node.name!r}: too many loops", way_out="use fewer batch dimensions") from TooDeep()
        section.launches = tuple(dim.size for dim in self.launch)
        self.count = count * prod(dim.size for dim in self.batch)
        self.tiles = self.row_tiles * prod(dim.size for dim in self.batch)
        self.steps = self.tiles * self.column_tiles * tile.steps_each
        if max(self.tiles, self.column_tiles, tile.k, tile.chunks) > LONGEST:
            raise CompileError(f"node {node.name!r}: {self.tiles} row tiles, {self.column_tiles} column tiles, k {tile.k}: a loop is at "
                               f"most {LONGEST}", way_out="split the operands")

    @property
    def common(self) -> tuple:
        return self.section, self.node, self.problem, self.batch, self.launch

    def program(self, packed_rows: bool, bias: bool) -> SystolicProgram:
        tile = self.tile
        return SystolicProgram(
            k=tile.k, rows=tile.rows, last_rows=self.last_rows, feature_blocks=tile.blocks, groups=tile.groups, chunks=tile.chunks,
            column_tiles=self.column_tiles, row_tiles=self.tiles, stages_per_row=tile.stages_per_row, reuse=tile.reuse,
            initial=Initial.BIAS if bias else Initial.ZERO,
            packed_weights=self.section.packed(self.node.inputs[1]), int8_weights=is_int8(self.section.graph, self.node),
            packed_rows=packed_rows,
            packed_output=self.section.packed(self.node.output))

    def rows(self, cell: Part) -> Feed:
        """The stream of rows of a part."""
        name = self.node.inputs[0]
        if name not in self.section.feeds:
            return _load_rows(*self.common, cell, self.tile, self.row_tiles, self.column_tiles, self.steps)
        feed = self.section.take(name)
        if feed.scalar or feed.n != self.tile.k or feed.rows != self.count:
            raise Unstreamable(f"{name} has other rows")
        return feed

    def weights(self, cell: Part) -> tuple[Port, int]:
        return _load_weights(*self.common, cell, self.tile, self.row_tiles, self.column_tiles, self.steps)

    def beside(self, name: str, cell: Part) -> Port:
        """The stream of a bias, or of scales."""
        return _load_beside(self.section, name, cell, self.tile, self.tiles, self.column_tiles)

    def finish(self, unit: VirtualUnit, feed: Feed, cell: Part, inside: bool) -> Feed:
        """The results on their way: in order if they have to be, rounded, stored."""
        section, out, tile = self.section, self.node.output, self.tile
        made = section.made(unit, self.count, cell.columns, [feed], packed=section.packed(out))
        made = replace(made, lag=feed.lag + 2 * tile.rows)
        # Whole rows for the next unit, and for a store whose last column tile would reach into the next row.
        ordered = inside or cell.columns % (tile.blocks * section.lanes) != 0
        if self.column_tiles > 1 and ordered:
            made = _reorder(section, made, tile, self.tiles, self.column_tiles, cell.columns)
        if section.rounds(out):
            made = _rounded(section, self.node.name, made, tile, 1 if ordered else self.column_tiles)
        if out in section.kept:
            _store(*self.common, cell, tile, self.row_tiles, 1 if ordered else self.column_tiles, made)
        return made


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


def _load_rows(section, node, problem, batch, launch, part, tile, row_tiles, column_tiles, steps) -> Feed:
    home, before = section.homes[node.inputs[0]], len(section.net.units)
    m, k = _pairs(problem.m, 0), _pairs(problem.k, 0)
    base, outer = _row_loops(m, part, tile, row_tiles, split=not (tile.reuse or column_tiles * tile.chunks == 1))
    stored = home.stored().at(base)
    if tile.chunks > 1:
        if len(k) > 1:
            raise NotAffine("a chunked k of several loops")
        chunk_loop, row = [(tile.chunks, k[0][1] * tile.k)], [(tile.k, k[0][1])]
    else:
        chunk_loop, row = [], k
    if tile.reuse or column_tiles * tile.chunks == 1:
        loops = [*_pairs(batch, 0), *outer]
    else:
        loops = [*_pairs(batch, 0), *outer[:-1], *_repeat(column_tiles), *chunk_loop, outer[-1]]
    port = load_rows(section.net, stored, loops, row)
    section.note_launch(before, launch, 0, home.size)
    feed = Feed(port, prod(size for size, _ in loops), prod(size for size, _ in row), packed=home.size == 2)
    port = prefetched(section, port, feed.rows * feed.vectors(section.lanes), steps)
    return replace(feed, port=port, past=frozenset({port.unit}))


def _row_loops(m: list[tuple[int, int]], part: Part, tile: Tiling, row_tiles: int, *, split: bool):
    """(first element, loops over the rows of a part): (row tiles, rows of a tile) if ``split``, else all rows."""
    if len(m) > 1:
        if part.row or part.rows != prod(size for size, _ in m):
            raise NotAffine("a part of rows in several loops")
        if not split:
            return 0, m
        if m[-1][0] % tile.rows == 0:
            size, stride = m[-1]
            return 0, [*m[:-1], (size // tile.rows, stride * tile.rows), (tile.rows, stride)]
        raise NotAffine("row tiles across loops")
    stride = m[0][1] if m else 0
    base = part.row * stride
    if not split:
        return base, [(part.rows, stride)]
    if row_tiles > 1 and part.rows % tile.rows:
        raise NotAffine("a ragged last row tile")
    return base, [(row_tiles, stride * tile.rows), (min(tile.rows, part.rows), stride)]


def _load_weights(section, node, problem, batch, launch, part, tile, row_tiles, column_tiles, steps) -> tuple[Port, int]:
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


def _load_beside(section, name, part, tile, tiles, column_tiles) -> Port:
    home, width = section.homes[name], tile.blocks * section.lanes
    if home.size != 4 or not home.pattern.is_contiguous:
        from .streams import NeedsWords
        raise NeedsWords(home.symbol, "biases and scales are FP32 words")
    loops = [*_repeat(tiles), *([(column_tiles, width)] if column_tiles > 1 else [])]
    row = [(width if column_tiles > 1 else part.columns, 1)]
    return load_rows(section.net, home.stored().at(part.column), loops, row)


def _reorder(section: Section, feed: Feed, tile: Tiling, tiles: int, column_tiles: int, columns: int) -> Feed:
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


def _rounded(section: Section, name: str, feed: Feed, tile: Tiling, column_tiles: int) -> Feed:
    """Rounded to BF16, as FP32 words."""
    count = feed.rows * (feed.vectors(section.lanes) if column_tiles == 1 else column_tiles * tile.blocks)
    program = SimdProgram(loops=tuple(factors(count, "vectors")), vectors={0: Input()}, stages=(Stage(Op.TO_BF16, vector(0)),))
    unit = section.net.add("pcu", f"{name} to bf16", program, work=count)
    section.net.connect("vector", feed.port, unit.input(0), count)
    return replace(feed, port=unit.out(0), hops=feed.hops + 1, past=feed.past | {unit})


def _store(section, node, problem, batch, launch, part, tile, row_tiles, column_tiles, made: Feed) -> None:
    home, before = section.homes[node.output], len(section.net.units)
    width = tile.blocks * section.lanes
    n = _pairs(problem.n, 2)
    if len(n) > 1 and column_tiles > 1:
        raise NotAffine("columns in several loops")
    step = n[-1][1] if n else 1
    m = _pairs(problem.m, 2)
    base, outer = _row_loops(m, part, tile, row_tiles, split=column_tiles > 1)
    stored = home.stored().at(base + part.column * step)
    if column_tiles > 1:
        loops = [*_pairs(batch, 2), *outer[:-1], (column_tiles, step * width), outer[-1]]
        row = [(width, step)]
    else:
        loops, row = [*_pairs(batch, 2), *outer], n if len(n) > 1 else [(part.columns, step)]
    store_rows(section.net, made.port, stored, loops, row)
    section.note_launch(before, launch, 2, home.size)
