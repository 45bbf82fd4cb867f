"""COPY: elements from streams or from memory to their places, without any PCU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from hw.agcu.program import Access, LoadProgram

from ..graph.ir import Node
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


def map_placed(section: Section, node: Node) -> None:
    """Adds a COPY that fills its output, its inputs from streams or from memory."""
    graph, out = section.graph, section.homes[node.output]
    if sum(graph[name].elements for name in node.inputs) != graph[node.output].elements or node.output in section.inside:
        raise Unstreamable("a copy that leaves gaps, or that is read in the same kernel")
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
