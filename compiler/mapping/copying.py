"""COPY: elements from streams or from memory to their places, without any PCU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from hw.agcu.program import Access, LoadProgram

from ..graph.ir import Node, row_major
from ..graph.pattern import Pattern
from ..graph.space import Space
from .section import Feed, Section, Unstreamable
from .streams import load_rows, memory_loops, store_rows, store_scalars

__all__ = ["map_copy", "map_placed"]


def map_copy(section: Section, node: Node, source: str | None, places: Pattern, shape: Sequence[int]) -> None:
    """Copies elements from memory (or, ``source`` None, zeros) to ``places`` of the output, without any PCU."""
    out = section.homes[node.output]
    shape = tuple(shape) or (1,)
    if source is None:
        n = prod(shape) * out.size // 4
        space_outer, count = [], -(-n // section.lanes)
        loops = memory_loops([(count, 0)], section.config, "zeros")
        port = section.net.load(node.output, LoadProgram(access=Access.FILL, base=0, loops=loops)).out()
        section.net.units[-1].symbol = ""
        store_rows(section.net, port, out.stored(), space_outer, [(prod(shape), 1)])
        return
    home = section.homes[source]
    space = Space(section, shape, [(home.pattern, shape), (places, shape)], row_axis=False)
    before = len(section.net.units)
    outer, row = space.of(0)
    stored = home.stored()
    port = load_rows(section.net, stored, outer, row)
    section.note_launch(before, space.launch, 0, home.size)
    feed = Feed(port, space.rows, space.n, packed=home.size == 2)
    before = len(section.net.units)
    outer, row = space.of(1)
    store_rows(section.net, feed.port, replace(out.stored(), offset=out.pattern.offset + places.offset), outer, row)
    section.note_launch(before, space.launch, 1, out.size)


def _zeros_around(section: Section, node: Node) -> None:
    """Fills what a COPY of one tensor to a box amid its output leaves, side by side with it: the slabs before and behind the box, axis by
    axis, each across the whole of the axes that follow."""
    out, shape, strides = section.homes[node.output], section.graph[node.output].shape, row_major(section.graph[node.output].shape)
    inner, [place] = section.graph[node.inputs[0]].shape, node.attributes.places[:1]
    first, left = [], place.offset
    for stride in strides:
        first.append(left // stride)
        left %= stride
    if len(node.inputs) > 1 or len(inner) != len(shape) or any(
            size > 1 and own != stride for size, own, stride in zip(inner, place.strides, strides, strict=True)) or any(
            start + size > whole for start, size, whole in zip(first, inner, shape, strict=True)):
        raise Unstreamable("a copy that leaves gaps that are no slabs")
    for axis, (start, size) in enumerate(zip(first, inner, strict=True)):
        base = sum(at * stride for at, stride in zip(first[:axis], strides, strict=False))
        for begin, end in ((0, start), (start + size, shape[axis])):
            if begin < end:
                outer, row = [*zip(inner[:axis], strides, strict=False)], (end - begin) * strides[axis]
                vectors = prod(count for count, _ in outer) * -(-row * out.size // section.config.beat_bytes)
                zeros = section.net.load(node.output, LoadProgram(access=Access.FILL, base=0,
                                                                  loops=memory_loops([(vectors, 0)], section.config, "zeros")))
                zeros.symbol = ""
                store_rows(section.net, zeros.out(), replace(out.stored(), offset=out.pattern.offset + base + begin * strides[axis]),
                           outer, [(row, 1)])


def map_placed(section: Section, node: Node) -> None:
    """Adds a COPY that fills its output, its inputs from streams or from memory."""
    graph, out = section.graph, section.homes[node.output]
    if node.output in section.inside:
        raise Unstreamable("a copy that is read in the same kernel")
    if sum(graph[name].elements for name in node.inputs) != graph[node.output].elements:
        _zeros_around(section, node)
    for name, place in zip(node.inputs, node.attributes.places, strict=True):
        shape = graph[name].shape or (1,)
        pattern = Pattern.of(shape, place.strides or (1,), place.offset)
        if name not in section.feeds:
            if section.homes[name].size != out.size:
                raise Unstreamable("a copy does not convert")
            map_copy(section, node, name, pattern, shape)
            continue
        feed = section.take(name)
        if feed.packed != (out.size == 2) or feed.scalar != (shape[-1] == 1) or not (feed.scalar or feed.n == shape[-1]):
            raise Unstreamable(f"{name} has other rows")
        loops = pattern.shaped(shape)
        stored = replace(out.stored(), offset=out.pattern.offset + place.offset)
        outer, row = [loop for axis in loops[:-1] for loop in axis], loops[-1]
        if feed.scalar:
            store_scalars(section.net, feed.port, stored, [*outer, *row])
        else:
            store_rows(section.net, feed.port, stored, outer, row)
