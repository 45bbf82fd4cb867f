"""GATHER and UPDATE: rows of a table at addresses that come as data."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from hw.agcu.program import Access, Index, Loop

from ..errors import CompileError
from ..graph.ir import Node
from ..graph.pattern import NotAffine
from .section import Feed, Section, Unstreamable
from .streams import NeedsWords, load_rows, load_scalars, memory_loops, store_rows

__all__ = ["map_gather", "map_update"]


def _indices(section: Section, name: str):
    home = section.homes[name]
    return load_scalars(section.net, home.stored(), list(home.pattern.dims))


def _row_bytes(section: Section, name: str, elements: int, what: str) -> int:
    home = section.homes[name]
    if not home.pattern.is_contiguous:
        raise NotAffine(f"{what} is not contiguous")
    if elements * home.size % 4:
        raise NeedsWords(home.symbol, "rows of an odd number of packed elements")
    return elements * home.size


def map_gather(section: Section, node: Node) -> None:
    """Adds a GATHER of whole rows."""
    table, indices = node.inputs
    if table in section.feeds or indices in section.feeds:
        raise Unstreamable("a table and its indices come from memory")
    elements, count = prod(section.graph[table].shape[1:]), prod(section.graph[indices].shape)
    row = _row_bytes(section, table, elements, "the table")
    port = load_rows(section.net, section.homes[table].stored(), [(count, 0)] if count > 1 else [], [(elements, 1)])
    if port.unit.kind != "load":
        raise NotAffine("rows word by word")
    _indexed(section, port.unit, row, count, elements * section.homes[table].size)
    section.net.connect("scalar", _indices(section, indices), replace(port, index="index"), count)
    home = section.homes[node.output]
    if home.size != section.homes[table].size:
        raise NeedsWords((home if home.size == 2 else section.homes[table]).symbol, "a gather does not convert")
    if node.output in section.inside:
        if section.graph[node.output].shape[-1] != elements or elements == 1:
            raise Unstreamable("rows of several dimensions")
        section.give(node.output, Feed(port, count, elements, packed=home.size == 2, past=frozenset({port.unit})))
    if node.output not in section.kept:
        return
    store_rows(section.net, port, home.stored(), [(count, elements)] if count > 1 else [], [(elements, 1)])


def map_update(section: Section, node: Node, *, copied: bool = False) -> None:
    """Adds an UPDATE of rows in the output's own place; ``copied``: another kernel has put the target there."""
    target, values, indices = node.inputs
    if not copied and section.homes[target].symbol != section.homes[node.output].symbol:
        raise Unstreamable("the target is copied first")
    if target in section.feeds or indices in section.feeds:
        raise Unstreamable("the target of an update and its indices are in memory before")
    shape = section.graph[node.output].shape
    elements, count = prod(shape[1:]), prod(section.graph[indices].shape)
    row = _row_bytes(section, node.output, elements, "the target")
    home, source = section.homes[node.output], section.homes[values]
    if home.size != source.size:
        raise NeedsWords((home if home.size == 2 else source).symbol, "an update does not convert")
    if node.output in section.inside:
        raise Unstreamable("an update is memory")
    if values in section.feeds:
        feed = section.take(values)
        if feed.scalar or feed.packed != (home.size == 2) or feed.rows != count or feed.n != elements:
            raise Unstreamable(f"{values} has other rows")
        port = feed.port
    else:
        loops = source.pattern.shaped((count, elements))
        port = load_rows(section.net, source.stored(), loops[0], loops[1])
    before = len(section.net.units)
    store_rows(section.net, port, home.stored(), [(count, 0)] if count > 1 else [], [(elements, 1)])
    stores = [unit for unit in section.net.units[before:] if unit.kind == "store"]
    if len(stores) != 1 or stores[0].is_word:
        raise NotAffine("rows word by word")
    _indexed(section, stores[0], row, count, elements * home.size)
    section.net.connect("scalar", _indices(section, indices), stores[0].input("index"), count)


def _indexed(section: Section, unit, row_bytes: int, count: int, moved: int) -> None:
    """Makes an engine take an index for each row."""
    beat = section.config.beat_bytes
    vectors = -(-moved // beat)
    loops = memory_loops([(vectors, beat)], section.config, unit.name) if vectors > 1 else (Loop(1, beat),)
    if len(loops) + 1 > section.config.agcu.counter_levels:
        raise CompileError(f"{unit.name}: rows of {moved} bytes", way_out="use shorter rows")
    access = unit.program.access
    if row_bytes % beat and access is Access.VECTOR:
        access = Access.UNALIGNED
    unit.program = replace(unit.program, loops=(*loops, *memory_loops([(count, 0)], section.config, unit.name)), access=access,
                           index=Index(0, row_bytes, len(loops)))
