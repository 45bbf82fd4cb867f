"""MATMUL on systolic PCUs: the units of one, and the streams that feed them.

The rows of ``a`` go to the broadcast buffers, the columns of ``b`` are the lanes. Every sum starts from the bias and takes its
products in order of k, whatever the tiles are.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from hw.pcu.layout import SCALE_INPUT, Initial
from hw.pcu.program import SystolicProgram

from ..errors import CompileError
from ..fabric.netlist import Port, VirtualUnit
from ..frontend.int8 import is_int8
from ..graph.ir import Node
from .matmul_streams import beside_part, in_rows, rounded, rows_of_part, store_part, weights_of_part
from .section import Feed, Section, Unstreamable
from .streams import LONGEST, TooDeep
from .tiling import Part, Problem, problem_of, tilings

SLOWER = 1.5             # how much longer a MATMUL may take as part of a longer kernel

__all__ = ["map_matmul"]


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
    _, _, k, n = problem.sizes
    if streamed and prod(dim.size for dim in problem.batch) > 1 and len(problem.m) > 1:
        raise Unstreamable("rows of a batch")
    packed_x = section.take(a).packed if streamed else section.packed(a)
    pr, pc = grid or section.grids.get(node.name, (1, 1))
    if part is None:
        if pc > 1 and (inside or n % pc):
            raise Unstreamable("columns on several PCUs are no stream")
        part = _whole(section, node, problem, n // pc, packed_x, streamed)
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


def _whole(section: Section, node: Node, problem: Problem, n: int, packed_x: bool, streamed: bool) -> Part:
    _, m, k, _ = problem.sizes
    config, weight_size = section.config.pcu, section.homes[node.inputs[1]].size
    tile = tilings(config, m, n, k, packed_x, True, weight_size, section.packed(node.output), streamed,
                   **({} if streamed else problem.loops(section, node)))
    if tile is None:
        raise Unstreamable(f"k = {k} does not fit a broadcast buffer")
    free = tilings(config, m, n, k, packed_x, False, weight_size, **problem.loops(section, node))
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
            return rows_of_part(*self.common, cell, self.tile, self.row_tiles, self.column_tiles, self.steps)
        feed = self.section.take(name)
        if feed.scalar or feed.n != self.tile.k or feed.rows != self.count:
            raise Unstreamable(f"{name} has other rows")
        return feed

    def weights(self, cell: Part) -> tuple[Port, int]:
        return weights_of_part(*self.common, cell, self.tile, self.row_tiles, self.column_tiles, self.steps)

    def beside(self, name: str, cell: Part) -> Port:
        """The stream of a bias, or of scales."""
        return beside_part(self.section, name, cell, self.tile, self.tiles, self.column_tiles)

    def finish(self, unit: VirtualUnit, feed: Feed, cell: Part, inside: bool) -> Feed:
        """The results on their way: in order if they have to be, rounded, stored."""
        section, out, tile = self.section, self.node.output, self.tile
        made = section.made(unit, self.count, cell.columns, [feed], packed=section.packed(out))
        made = replace(made, lag=feed.lag + 2 * tile.rows)
        # Whole rows for the next unit, and for a store whose last column tile would reach into the next row.
        ordered = inside or cell.columns % (tile.blocks * section.lanes) != 0
        if self.column_tiles > 1 and ordered:
            made = in_rows(section, made, tile, self.tiles, self.column_tiles, cell.columns)
        if section.rounds(out):
            made = rounded(section, self.node.name, made, tile, 1 if ordered else self.column_tiles)
        if out in section.kept:
            store_part(*self.common, cell, tile, self.row_tiles, 1 if ordered else self.column_tiles, made)
        return made
