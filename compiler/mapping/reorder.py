"""A stream in another order: a PMU takes the rows of a block as they come and gives the rows of a view of them."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from hw.pmu.program import Element, Loop, PMUProgram, ProgramError, Read, Write
from hw.pmu.recipes import separate_buffers

from ..graph.factors import factors
from ..graph.ir import View
from .section import Feed, Section, Unstreamable
from .striped import pitch_of, striped, width_of

__all__ = ["reordered"]

Loops = list[tuple[int, int]]


def reordered(section: Section, feed: Feed, view: View, elements: int) -> Feed:
    """The stream of ``view`` of the tensor of ``elements`` that comes as ``feed``. Raises :class:`Unstreamable`."""
    if feed.scalar or view.offset or prod(view.shape) != elements:
        raise Unstreamable("a view of parts of a stream")
    config, size = section.config, 2 if feed.packed else 4
    width = width_of(config, size)
    axes = [list(axis) for axis in view.axes]
    row = axes.pop() if axes else []
    if len(row) != 1:
        raise Unstreamable("rows of several loops")
    times, inner, block = _block([loop for axis in axes for loop in axis], row[0], feed.n, elements)
    turned = row[0][1] != 1
    if turned:
        program = _columns(section, feed, inner, row[0], width, size, block, times)
    else:
        program = _rows(section, feed, inner, row[0], width, size, block, times)
    try:
        program.check(config.pmu)
    except ProgramError as problem:
        raise Unstreamable(f"no PMU gives this order: {problem}") from None
    unit = section.net.add("pmu", "reorder", program, work=prod(loop.bound for loop in program.reads[0].loops))
    section.attach(feed, unit, 0)
    n = row[0][0]
    return replace(feed, port=unit.out(0), n=n, rows=elements // n, lag=-(-feed.lag * feed.n // n) + 2 * block // n,
                   past=feed.past | {unit})


def _block(loops: Loops, row: tuple[int, int], n: int, elements: int) -> tuple[int, Loops, int]:
    """(blocks, loops within one, its elements): the loops of a view, split where everything inside is a run of the source's elements."""
    times, left = 1, elements
    inner = list(loops)
    while inner and inner[0][1] == left // inner[0][0] and left // inner[0][0] % n == 0 and left // inner[0][0] >= row[0]:
        count, stride = inner.pop(0)
        times, left = times * count, stride
    reach = sum((count - 1) * stride for count, stride in (*inner, row))
    if reach != left - 1 or any(stride <= 0 for _, stride in (*inner, row)):
        raise Unstreamable("a view that repeats elements or leaves some out")
    return times, inner, left


def _buffers(section: Section, vectors: int) -> int:
    count = min(2, section.config.pmu.words // section.lanes // (1 << max(vectors - 1, 0).bit_length()))
    if not count:
        raise Unstreamable(f"a block of {vectors} vectors exceeds a PMU")
    return count


def _rows(section: Section, feed: Feed, inner: Loops, row: tuple[int, int], width: int, size: int, block: int, times: int) -> PMUProgram:
    """Whole vectors in another order."""
    n = row[0]
    if feed.n % width or n % width or any(stride % width for _, stride in inner):
        raise Unstreamable("vectors that are cut")
    vectors = block // width
    buffers = _buffers(section, vectors)
    stride, banks = separate_buffers(section.config.pmu, vectors, buffers)
    outer = [Loop(bound) for bound in factors(times, "blocks")]
    read = (Loop(n // width, width), *(Loop(count, step) for count, step in reversed(inner)))
    return PMUProgram(write=Write(loops=(Loop(vectors, width), *outer), handover=1, vectors=(0,)),
                      reads=(Read(loops=(*read, *outer), handover=len(read)),), buffers=buffers, buffer_stride=stride * width,
                      bank_map=banks, element=Element.HALF if size == 2 else Element.WORD)


def _columns(section: Section, feed: Feed, inner: Loops, row: tuple[int, int], width: int, size: int, block: int, times: int
             ) -> PMUProgram:
    """Columns as rows, by striping."""
    if row[1] % feed.n:
        raise Unstreamable("rows across columns")
    pitch = pitch_of(section.config, feed.n, size)
    rows, apart = block // feed.n, row[1] // feed.n
    if apart != 1 or any(stride % feed.n and stride >= feed.n for _, stride in inner) or \
            any(stride >= feed.n and stride // feed.n % width for _, stride in inner):
        raise Unstreamable("rows that are not neighbours")
    buffers = _buffers(section, -(-rows // width) * pitch)
    steps = [Loop(count, step if step < feed.n else step // feed.n * pitch) for count, step in reversed(inner)]
    return striped(section.config, size, rows, feed.n, (Loop(-(-row[0] // width), width * pitch), *steps), times=times, buffers=buffers)
