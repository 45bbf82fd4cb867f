"""Streams between memory and the fabric: rows of a tensor as vectors, or as words, by AGCU engines and PMUs.

A row is ``n`` elements; it travels as whole vectors, whatever lies in the lanes beyond ``n``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from hw.agcu.program import Access, LoadProgram, StoreProgram
from hw.agcu.program import Loop as MemoryLoop
from hw.config import RDUConfig
from hw.pmu.program import Loop, PMUProgram, Read, Write
from hw.pmu.recipes import separate_buffers

from ..errors import CompileError
from ..fabric.netlist import Netlist, Port
from ..graph.factors import LONGEST, factors
from .turned import access, plan

__all__ = ["LONGEST", "NeedsWords", "Stored", "TooDeep", "factors", "load_rows", "load_scalars", "memory_loops", "store_rows",
           "store_scalars"]

class NeedsWords(Exception):
    """Packed BF16 elements of ``symbol`` cannot be accessed like this: it has to lie in memory as FP32 words."""

    def __init__(self, symbol: str, why: str):
        self.symbol = symbol
        super().__init__(f"{symbol}: {why}")


class TooDeep(Exception):
    """More loops than an engine has: the outermost dimension has to be walked by launches."""


@dataclass(frozen=True)
class Stored:
    """Where elements lie: ``symbol``, ``size`` bytes each (4, or 2: packed BF16), the first at element ``offset``."""

    symbol: str
    size: int
    offset: int = 0

    def at(self, elements: int) -> Stored:
        return Stored(self.symbol, self.size, self.offset + elements)


def memory_loops(dims: Sequence[tuple[int, int]], config: RDUConfig, what: str) -> tuple[MemoryLoop, ...]:
    """AGCU loops for (count, stride in bytes) pairs, outermost first; neighbours are joined, long ones cut."""
    joined: list[tuple[int, int]] = []
    for count, stride in dims:
        if count == 1:
            continue
        if joined and joined[-1][1] == stride * count and joined[-1][0] * count <= LONGEST:
            joined[-1] = (joined[-1][0] * count, stride)
        else:
            joined.append((count, stride))
    loops: list[MemoryLoop] = []
    for count, stride in reversed(joined):
        step = stride
        for part in factors(count, what):
            loops.append(MemoryLoop(part, step))
            step *= part
    if len(loops) > config.agcu.counter_levels:
        raise TooDeep(f"{what}: {len(loops)} loops, an engine has {config.agcu.counter_levels}")
    return tuple(loops) or (MemoryLoop(1, 0),)


def vectors_of(row: Sequence[tuple[int, int]], size: int, beat: int) -> list[tuple[int, int]] | None:
    """(count, stride in bytes) of the vectors of a row given as (count, stride) of its elements; None if it is not made of
    whole vectors of neighbours."""
    if not row:
        return [(1, beat)]
    (inner, step), outer = row[-1], row[:-1]
    if step != 1 or (outer and inner * size % beat):
        return None
    return [*((count, stride * size) for count, stride in outer), (-(-inner * size // beat), beat)]


def load_rows(net: Netlist, stored: Stored, outer: Sequence[tuple[int, int]], row: Sequence[tuple[int, int]]) -> Port:
    """A stream of rows: ``outer`` and ``row`` are (count, stride in elements), outermost first.

    Rows of neighbours come by vector loads, at any word. Where the rows' elements are no neighbours but those of neighbouring rows
    are, a PMU turns vectors round. All others come word by word and are put together in a PMU.
    """
    config, what = net.config, f"loading {stored.symbol}"
    beat, n = config.beat_bytes, prod(count for count, _ in row)
    vectors = vectors_of(row, stored.size, beat)
    if vectors:
        dims = [*((count, stride * stored.size) for count, stride in outer), *vectors]
        kind = access(stored.offset * stored.size, dims, beat)
        if kind is not None:
            loops = memory_loops(dims, config, what)
            distinct = prod(count for count, stride in outer if stride) * n * stored.size
            return net.load(stored.symbol, LoadProgram(segment=0, base=stored.offset * stored.size, loops=loops, access=kind),
                            bytes=distinct).out()
    if (turned := _load_turned(net, stored, outer, row)) is not None:
        return turned
    if stored.size != 4:
        raise NeedsWords(stored.symbol, "packed elements that are not neighbours at even places")
    rows = prod(count for count, _ in outer)
    loops = memory_loops([(count, stride * 4) for count, stride in (*outer, *row)], config, what)
    words = net.load(stored.symbol, LoadProgram(segment=0, base=stored.offset * 4, loops=loops, access=Access.WORD),
                     bytes=4 * n * rows)
    pmu = net.add("pmu", f"words of {stored.symbol}", words_and_rows(config, n, rows, to_words=False), work=n * rows)
    net.connect("scalar", words.out(), pmu.input(0), n * rows)
    return pmu.out(0)


def _load_turned(net: Netlist, stored: Stored, outer: Sequence[tuple[int, int]], row: Sequence[tuple[int, int]]) -> Port | None:
    """Rows turned round in a PMU; None if they cannot be."""
    config, size = net.config, stored.size
    if (found := plan(config, size, stored.offset, outer, row, storing=False)) is None:
        return None
    try:
        loops = memory_loops(found.dims, config, f"loading {stored.symbol}")
    except TooDeep:
        return None
    rows = net.load(stored.symbol, LoadProgram(segment=0, base=stored.offset * size, loops=loops, access=found.access),
                    bytes=found.distinct)
    block = found.block
    program = block.program(config, block.across, block.along)
    pmu = net.add("pmu", f"columns of {stored.symbol}", program, work=prod(loop.bound for loop in program.reads[0].loops))
    net.connect("vector", rows.out(), pmu.input(0), rows.program.iterations)
    return pmu.out(0)


def words_and_rows(config: RDUConfig, n: int, rows: int, *, to_words: bool) -> PMUProgram:
    """PMU between words, ``n`` to a row, and rows of whole vectors: from scalar input 0 to the vector output, or (``to_words``) from
    vector input 0 to scalar output 0."""
    lanes = config.lanes
    vectors = -(-n // lanes)
    buffers = _buffers(config, vectors, "words")
    stride, bank_map = separate_buffers(config.pmu, vectors, buffers)
    outer = [Loop(bound) for bound in factors(rows, "rows")]
    words, whole = (Loop(n, 1), *outer), (Loop(vectors, lanes), *outer)
    if to_words:
        write = Write(loops=whole, handover=1, vectors=(0,))
        read = Read(loops=words, handover=1, word=True, scalar=True)
    else:
        write, read = Write(loops=words, handover=1, word=True, scalars=(0,)), Read(loops=whole, handover=1)
    return PMUProgram(write=write, reads=(read,), buffers=buffers, buffer_stride=stride * lanes, bank_map=bank_map)


def _buffers(config: RDUConfig, vectors: int, what: str) -> int:
    """Buffers (2, else 1) of this many vectors that fit a PMU."""
    capacity = config.pmu.words // config.lanes
    size = 1 << max(vectors - 1, 0).bit_length()
    if size > capacity:
        raise CompileError(f"{what}: a row of {vectors} vectors exceeds a PMU of {capacity} vectors", way_out="use shorter rows")
    return 2 if 2 * size <= capacity else 1


def load_scalars(net: Netlist, stored: Stored, dims: Sequence[tuple[int, int]]) -> Port:
    """A stream of words, one per iteration of ``dims`` ((count, stride in elements), outermost first)."""
    if stored.size != 4:
        raise NeedsWords(stored.symbol, "single packed elements")
    loops = memory_loops([(count, stride * 4) for count, stride in dims], net.config, f"loading {stored.symbol}")
    count = prod(size for size, _ in dims)
    return net.load(stored.symbol, LoadProgram(segment=0, base=stored.offset * 4, loops=loops, access=Access.WORD),
                    bytes=4 * count).out()


def store_rows(net: Netlist, source: Port, stored: Stored, outer: Sequence[tuple[int, int]], row: Sequence[tuple[int, int]]) -> None:
    """Stores a stream of rows; what lies beyond a row's last element is not written."""
    config, what = net.config, f"storing {stored.symbol}"
    beat, n = config.beat_bytes, prod(count for count, _ in row)
    rows = prod(count for count, _ in outer)
    vectors = vectors_of(row, stored.size, beat)
    if vectors:
        dims = [*((count, stride * stored.size) for count, stride in outer), *vectors]
        kind = access(stored.offset * stored.size, dims, beat)
        if kind is not None:
            loops, tail = _ragged_loops(dims, n * stored.size, config, what)
            unit = net.store(stored.symbol, StoreProgram(segment=0, base=stored.offset * stored.size, loops=loops, access=kind,
                                                         tail_bytes=tail), bytes=n * rows * stored.size)
            net.connect("vector", source, unit.input(), prod(count for count, _ in dims))
            return
    if _store_turned(net, source, stored, outer, row):
        return
    if stored.size != 4:
        raise NeedsWords(stored.symbol, "packed elements that are not neighbours at even places")
    pmu = net.add("pmu", f"words of {stored.symbol}", words_and_rows(config, n, rows, to_words=True), work=n * rows)
    net.connect("vector", source, pmu.input(0), rows * -(-n // config.lanes))
    store_scalars(net, pmu.out(0), stored, [*outer, *row])


def _ragged_loops(dims: Sequence[tuple[int, int]], row_bytes: int, config: RDUConfig, what: str) -> tuple[tuple[MemoryLoop, ...], int]:
    """(loops, bytes of a row's last vector or 0) of a store of rows of ``row_bytes``; ``dims`` end with the loop over a row's vectors."""
    beat = config.beat_bytes
    if not (tail := row_bytes % beat):
        return memory_loops(dims, config, what), 0
    loops = (MemoryLoop(dims[-1][0], beat), *memory_loops(dims[:-1], config, what))    # the ragged loop stays, even over one vector
    while len(loops) > 1 and loops[-1].bound == 1:
        loops = loops[:-1]
    if len(loops) > config.agcu.counter_levels:
        raise TooDeep(what)
    return loops, tail


def _store_turned(net: Netlist, source: Port, stored: Stored, outer: Sequence[tuple[int, int]], row: Sequence[tuple[int, int]]) -> bool:
    """Stores rows by way of a PMU that turns them round; False if they cannot be."""
    config, size = net.config, stored.size
    if (found := plan(config, size, stored.offset, outer, row, storing=True)) is None:
        return False
    block = found.block
    try:
        loops, tail = _ragged_loops(found.dims, block.along * size, config, f"storing {stored.symbol}")
    except TooDeep:
        return False
    program = block.program(config, block.along, block.across)
    pmu = net.add("pmu", f"columns of {stored.symbol}", program, work=prod(loop.bound for loop in program.reads[0].loops))
    net.connect("vector", source, pmu.input(0), prod(loop.bound for loop in program.write.loops))
    unit = net.store(stored.symbol, StoreProgram(segment=0, base=stored.offset * size, loops=loops, access=found.access,
                                                 tail_bytes=tail), bytes=found.distinct)
    net.connect("vector", pmu.out(0), unit.input(), unit.program.iterations)
    return True


def store_scalars(net: Netlist, source: Port, stored: Stored, dims: Sequence[tuple[int, int]]) -> None:
    """Stores a stream of words."""
    if stored.size != 4:
        raise NeedsWords(stored.symbol, "single packed elements")
    loops = memory_loops([(count, stride * 4) for count, stride in dims], net.config, f"storing {stored.symbol}")
    count = prod(size for size, _ in dims)
    unit = net.store(stored.symbol, StoreProgram(segment=0, base=stored.offset * 4, loops=loops, access=Access.WORD), bytes=4 * count)
    net.connect("scalar", source, unit.input(), count)
