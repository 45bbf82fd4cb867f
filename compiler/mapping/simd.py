"""MAP and REDUCE on PCUs in SIMD mode, from streams or from memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from hw.pcu.layout import Op, Reduce
from hw.pcu.program import Input, Mask, SimdProgram, Stage, scalar
from hw.pmu.program import Loop, PMUProgram, Read, Write

from ..errors import CompileError
from ..graph.ir import Argument, Function, Node, Reduction, Step
from ..graph.pattern import Pattern
from ..graph.space import Space
from .expression import Operands, clusters
from .section import Feed, Section, Unstreamable
from .streams import LONGEST, factors, load_rows, load_scalars, store_rows, store_scalars, vectors_of

__all__ = ["map_map", "map_reduce"]

_REDUCE = {Reduction.SUM: Reduce.SUM, Reduction.MAX: Reduce.MAX, Reduction.MIN: Reduce.MIN, Reduction.ARGMAX: Reduce.ARGMAX}


# MAP ----------------------------------------------------------------------------------------------------------------------
def map_map(section: Section, node: Node) -> None:
    """Adds a MAP to the section."""
    out = node.output
    shape = section.graph[out].shape or (1,)
    steps = list(node.attributes.steps)
    used = {a.value for step in steps for a in step.arguments if a.kind == "input"}
    streamed = {i for i in used if node.inputs[i] in section.feeds}
    fused = bool(streamed) or out in section.inside
    words = fused and shape[-1] == 1 and all(section.take(node.inputs[i]).scalar for i in streamed)
    if section.rounds(out, words):
        steps.append(Step(Function.TO_BF16, (Argument("step", len(steps) - 1),)))
    index_axes = sorted({a.value for step in steps for a in step.arguments if a.kind == "index" and shape[a.value] > 1})
    memory = [i for i in sorted(used) if i not in streamed]
    operands = [(section.homes[node.inputs[i]].pattern, section.graph[node.inputs[i]].shape) for i in memory]
    if out in section.kept:
        operands.append((section.homes[out].pattern, shape))
    elif not operands:
        operands.append((Pattern.contiguous(prod(shape)), shape))
    space = Space(section, shape, operands, keep=index_axes, row_axis=fused)
    if any(dim.axis in index_axes for dim in space.launch):
        raise CompileError(f"node {node.name!r}: an index of a dimension that launches walk", way_out="use fewer dimensions")
    loops = space.loops(section.lanes, bool(index_axes))
    index = _index_levels(node, index_axes, shape, space, 0 if words else 1)
    feeds, levels = {}, {}
    for place, i in enumerate(memory):
        feeds[i], levels[i] = _memory_operand(section, node.inputs[i], space, place, words, len(loops))
    for i in streamed:
        feeds[i] = _stream_operand(section, node, i, shape, space, words)
        levels[i] = 1 if feeds[i].scalar and not words else 0
    how = Operands(scalars=frozenset(i for i, feed in feeds.items() if feed.scalar),
                   packed=frozenset(i for i, feed in feeds.items() if feed.packed), levels=levels, index=index, all_scalar=words)
    parts = clusters(steps, how, section.config.pcu, node.name)
    values: dict[Argument, Feed] = {Argument("input", i): feed for i, feed in feeds.items()}
    if words:
        loops = loops[1:] or [1]
    for part in parts:
        last = part is parts[-1]
        ends = section.join([values[a] for a in (*part.vectors, *part.scalars)])
        program = part.program(how, loops, space.n, packed_output=last and section.packed(out) and not words)
        unit = section.net.add("pcu", node.name, program, work=prod(loops))
        for port, end in enumerate(ends):
            section.attach(end, unit, port if port < len(part.vectors) else port - len(part.vectors))
        made = section.made(unit, space.rows, space.n, ends, scalar=words, packed=last and section.packed(out) and not words)
        values[Argument("step", part.root)] = made
    _finish(section, out, values[Argument("step", len(steps) - 1)], space, len(memory))


def _index_levels(node: Node, axes: Sequence[int], shape: Sequence[int], space: Space, inner: int) -> dict[int, int]:
    """The PCU loop of each axis; ``inner``: that of the innermost dimension outside a row (words have no loop for their row)."""
    levels = {axis: 0 for axis in range(len(shape))}
    for axis in axes:
        if any(dim.axis == axis for dim in space.row):
            if len(space.row) > 1 or space.row[0].size != shape[axis]:
                raise CompileError(f"node {node.name!r}: the index of axis {axis} is cut into several loops", way_out="copy first")
            levels[axis] = -1
            continue
        place = [number for number, dim in enumerate(reversed(space.outer)) if dim.axis == axis]
        if len(place) != 1:
            raise CompileError(f"node {node.name!r}: the index of axis {axis} is cut into several loops", way_out="copy first")
        levels[axis] = inner + place[0]
    # An axis of length 1 has the index 0: a counter that stays 0.
    return {axis: 5 if shape[axis] == 1 else level for axis, level in levels.items()}


def _memory_operand(section: Section, name: str, space: Space, place: int, words: bool, depth: int) -> tuple[Feed, int]:
    """(stream, level) of an operand in memory; its dims are operand ``place`` of the space."""
    home, before = section.homes[name], len(section.net.units)
    outer, row = space.of(place)
    stored = home.stored()
    if all(stride == 0 for _, stride in (*outer, *row)):
        port, scalar_, level, packed = load_scalars(section.net, stored, []), True, depth, False
    elif words or (row and all(stride == 0 for _, stride in row)):
        port, scalar_, level, packed = load_scalars(section.net, stored, outer), True, 0 if words else 1, False
    else:
        level, scalar_, packed = 0, False, home.size == 2
        port = _repeated(section, stored, outer, row) or load_rows(section.net, stored, outer, row)
    section.note_launch(before, space.launch, place, home.size)
    return Feed(port, space.rows, space.n, scalar=scalar_, packed=packed, past=frozenset({port.unit})), level


def _repeated(section: Section, stored, outer, row):
    """One row that serves all rows, read once and repeated by a PMU; None if that is not the case."""
    rows = prod(count for count, _ in outer)
    vectors = vectors_of(row, stored.size, section.config.beat_bytes)
    if rows < 2 or any(stride for count, stride in outer if count > 1) or not vectors or section.spare_pmus() < 1:
        return None
    count = prod(size for size, _ in vectors)
    if count < 2 or count > section.config.pmu.words // section.lanes or rows > LONGEST:
        return None
    source = load_rows(section.net, stored, [], row)
    loop = Loop(count, section.lanes)
    unit = section.net.add("pmu", "repeat", PMUProgram(write=Write(loops=(loop,), vectors=(0,)), reads=(Read(loops=(loop, Loop(rows))),)),
                           work=count * rows)
    section.net.connect("vector", source, unit.input(0), count)
    return unit.out(0)


def _stream_operand(section: Section, node: Node, i: int, shape, space: Space, words: bool) -> Feed:
    name = node.inputs[i]
    own, feed = section.graph[name].shape or (1,), section.take(name)
    if prod(own[:-1]) != prod(shape[:-1]) or prod(own[:-1]) != feed.rows or feed.rows != space.rows:
        raise Unstreamable(f"{name} is broadcast over rows")
    if feed.scalar != (own[-1] == 1) or (not feed.scalar and feed.n != shape[-1]):
        raise Unstreamable(f"{name} has other rows")
    if not feed.scalar and own[-1] != shape[-1]:
        raise Unstreamable(f"{name} is broadcast within rows")
    return feed


def _finish(section: Section, name: str, feed: Feed, space: Space, place: int) -> None:
    """Gives the result on, and stores it if it is wanted in memory."""
    if name in section.kept:
        home, before = section.homes[name], len(section.net.units)
        outer, row = space.of(place)
        if feed.scalar:
            store_scalars(section.net, feed.port, home.stored(), [*outer, *row])
        else:
            store_rows(section.net, feed.port, home.stored(), outer, row)
        section.note_launch(before, space.launch, place, home.size)
    section.give(name, feed)


# REDUCE -------------------------------------------------------------------------------------------------------------------
def map_reduce(section: Section, node: Node) -> None:
    """Adds a REDUCE over the last axis."""
    [x], out = node.inputs, node.output
    shape = section.graph[x].shape
    kind, lanes = _REDUCE[node.attributes.kind], section.lanes
    streamed = x in section.feeds
    operands = [] if streamed else [(section.homes[x].pattern, shape)]
    if out in section.kept:
        operands.append((section.homes[out].pattern, (*shape[:-1], 1)))
    elif not operands:
        operands.append((Pattern.contiguous(prod(shape)), shape))
    space = Space(section, shape, operands, row_axis=True)
    n = shape[-1]
    if streamed:
        feed = section.take(x)
        if feed.scalar or feed.rows != space.rows or feed.n != n:
            raise Unstreamable(f"{x} has other rows")
    else:
        home, before = section.homes[x], len(section.net.units)
        port = load_rows(section.net, home.stored(), *space.of(0))
        section.note_launch(before, space.launch, 0, home.size)
        feed = Feed(port, space.rows, n, packed=home.size == 2, past=frozenset({port.unit}))
    if -(-n // lanes) > LONGEST or (n > LONGEST and n % lanes):
        raise CompileError(f"node {node.name!r}: a row of {n} elements exceeds {LONGEST}, the bound of a mask",
                           way_out=f"pad it to a multiple of {lanes}")
    program = SimdProgram(loops=tuple(space_loops(space, n, lanes)), vectors={0: Input(packed=feed.packed)}, reduce=kind, produce=1,
                          to_vector=False, to_scalar=True, mask=Mask(level=0, bound=n) if n % lanes else None)
    unit = section.net.add("pcu", node.name, program, work=space.rows * -(-n // lanes))
    section.attach(feed, unit, 0)
    made = replace(section.made(unit, space.rows, 1, [feed], scalar=True), lag=feed.lag + 1)
    if section.rounds(out, True) and kind is Reduce.SUM:
        made = _rounded_scalar(section, node.name, made)
    if out in section.kept:
        home, before, place = section.homes[out], len(section.net.units), len(operands) - 1
        store_scalars(section.net, made.port, home.stored(), space.of(place)[0])
        section.note_launch(before, space.launch, place, home.size)
    section.give(out, made)


def space_loops(space: Space, n: int, lanes: int) -> list[int]:
    return [-(-n // lanes), *factors(space.rows, "rows")]


def _rounded_scalar(section: Section, name: str, feed: Feed) -> Feed:
    program = SimdProgram(loops=tuple(factors(feed.rows, "rows")), scalars={0: Input()}, stages=(Stage(Op.TO_BF16, scalar(0)),),
                          to_vector=False, to_scalar=True)
    unit = section.net.add("pcu", f"{name} to bf16", program, work=feed.rows)
    section.attach(feed, unit, 0)
    return section.made(unit, feed.rows, 1, [feed], scalar=True)
