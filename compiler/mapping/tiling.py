"""How a MATMUL is cut: its loops, the tiles of a PCU, the parts and grids of several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod

from hw.config import PCUConfig
from hw.pcu.bundle import broadcast_vectors
from hw.pcu.stage import BodyStage

from ..fabric.netlist import Capacity
from ..graph.ir import Node
from ..graph.pattern import Dim, Pattern, merge_dims, refine
from .section import Section

__all__ = ["Part", "Problem", "Tiling", "grids", "parts", "problem_of", "tilings"]


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
            packed_output: bool = False, streamed: bool = True, loops: tuple[int, ...] = (),
            row_loops: tuple[int, ...] = (), most: int = 0) -> Tiling | None:
    """The tiling with the least time; ``weight_size``: bytes of a weight in memory; ``loops``: bounds of the loops of k, outermost first,
    between which or in one of which it is cut into chunks; ``row_loops``: those of m, if it has several, for its row tiles;
    ``most``: no chunk of k is longer.

    ``whole``: rows leave as a stream, so several column tiles need row tiles that are all alike and can be put in order; if they arrive as
    one, too (``streamed``), they must be held for all columns in one chunk.
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
            fitting = min(room // used * per_vector, most or k)
            if fitting < 1:
                continue
            chunk = k if k <= fitting else max(d for d in range(1, fitting + 1) if chunked(loops or (k,), d))
            if chunk < k and packed_rows and chunk % 2:
                continue
            if whole and streamed and chunk < k:
                continue
            columns = -(-n // (blocks * lanes))
            if whole and columns > 1 and packed_output and blocks % 2:
                continue
            if whole and columns > 1 and m % rows:
                rows = max(d for d in range(1, rows + 1) if m % d == 0)
            if row_loops and (columns > 1 or chunk < k):
                ends = {prod(row_loops[place:]) for place in range(len(row_loops))}      # cutting an outer loop would take one more
                rows = max(d for d in range(1, rows + 1) if row_loops[-1] % d == 0 or d in ends)
            tile = Tiling(rows, blocks, groups, chunk, k // chunk, chunk == k and columns > 1, shared)
            steps = tile.steps(m, n, lanes)
            row_tiles = -(-m // rows)
            row_vectors = row_tiles * (1 if tile.reuse else columns) * tile.chunks * rows * -(-chunk // per_vector)
            weights = row_tiles * columns * k * -(-blocks * weight_size // 4)
            time = max(steps, row_vectors, weights)
            if least is None or (time, row_vectors + weights) < least:
                best, least = tile, (time, row_vectors + weights)
    return best


def chunked(loops: Sequence[int], chunk: int) -> tuple[int, int] | None:
    """(number of the loop, how many of its steps) that chunks of ``chunk`` steps of the nest end with; None if they end amid one."""
    for number in range(len(loops) - 1, -1, -1):
        if chunk <= loops[number]:
            return (number, chunk) if loops[number] % chunk == 0 else None
        if chunk % loops[number]:
            return None
        chunk //= loops[number]
    return None


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

    def loops(self, section: Section, node: Node) -> dict:
        """What the loops of m and k ask of a tiling. Rows of several runs of neighbours that are no whole vectors come run by run."""
        run = self.k[-1].size if self.k else 1
        length, beat = run * section.homes[node.inputs[0]].size, section.config.beat_bytes
        return {"loops": tuple(dim.size for dim in self.k), "row_loops": tuple(dim.size for dim in self.m) if len(self.m) > 1 else (),
                "most": run if len(self.k) > 1 and length > beat and length % beat else 0}


def problem_of(section: Section, node: Node, *, a_streamed: bool = False, out_stored: bool = True) -> Problem:
    """The loops of a MATMUL. Raises :class:`~compiler.graph.pattern.NotAffine`."""
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


def grids(section: Section, node: Node) -> Iterator[tuple[Part, tuple[int, int]]]:
    """Ways to put a whole MATMUL from memory on several PCUs in parts of one size, the one expected to be fastest first."""
    from ..timing.cost import VECTORS_PER_CYCLE
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
            tile = tilings(config, m // pr, n // pc, k, packed_x, False, weight_size, **problem.loops(section, node))
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
