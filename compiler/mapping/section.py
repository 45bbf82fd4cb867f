"""A section while it is mapped: where tensors lie, which of them are streams inside, and what joins need in buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from hw.config import RDUConfig
from hw.pmu.geometry import BankMap
from hw.pmu.program import Loop, PMUProgram, Read, Write
from hw.pmu.recipes import separate_buffers

from ..fabric.netlist import Netlist, Port, VirtualUnit
from ..graph.ir import DType, Graph
from ..graph.pattern import Dim, Pattern
from .streams import Stored, factors, load_rows

__all__ = ["Feed", "Home", "Section", "Unstreamable"]

PASSAGE = 96             # cycles in which a row passes a reduction and what uses it
HOP_VECTORS = 48         # what a PCU and its way hold under way, in vectors


class Unstreamable(Exception):
    """These operators cannot share a kernel; the section ends before the one that was being mapped."""


@dataclass(frozen=True)
class Home:
    """Where a tensor's elements are in memory: a symbol, bytes per element, and which elements of it in which order."""

    symbol: str
    size: int
    pattern: Pattern

    def stored(self) -> Stored:
        return Stored(self.symbol, self.size, self.pattern.offset)


@dataclass(frozen=True)
class Feed:
    """A tensor as a stream inside a kernel: ``rows`` rows of ``n`` elements as vectors, or (``scalar``) one word per row.

    ``lag``: how many rows come in before the first goes out; ``hops``: PCUs passed since then; ``past``: all units that it comes
    through.
    """

    port: Port
    rows: int
    n: int
    scalar: bool = False
    packed: bool = False
    lag: int = 0
    hops: int = 0
    past: frozenset[VirtualUnit] = frozenset()

    def vectors(self, lanes: int) -> int:
        """Packets per row."""
        return 1 if self.scalar else -(-self.n // (2 * lanes if self.packed else lanes))

    @property
    def fabric(self) -> str:
        return "scalar" if self.scalar else "vector"


@dataclass
class Section:
    """One kernel's nodes under way.

    ``homes``: of every tensor that is in memory before the kernel or after it. ``inside``: tensors that later nodes of this
    section read as streams; ``kept``: tensors that have to be in memory afterwards. ``launch_dims``: how many outermost loops are
    walked by launches instead of engines (only with a single node). ``grids``: MATMUL node -> PCUs (by rows, by columns).
    """

    config: RDUConfig
    graph: Graph
    homes: Mapping[str, Home]
    net: Netlist
    inside: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    launch_dims: int = 0
    feeds: dict[str, Feed] = field(default_factory=dict)
    launches: tuple[int, ...] = ()
    grids: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def lanes(self) -> int:
        return self.config.lanes

    def fused(self, *names: str) -> bool:
        """Whether one of these tensors is a stream inside."""
        return any(name in self.feeds or name in self.inside for name in names)

    def packed(self, name: str) -> bool:
        """Whether a tensor is packed BF16, in memory and as a stream."""
        return self.homes[name].size == 2

    def rounds(self, name: str, words: bool = False) -> bool:
        """Whether values of this tensor are BF16 in FP32 words (always, if they travel as ``words``), so that their maker has to
        round them."""
        return self.graph[name].dtype is DType.BF16 and (words or not self.packed(name))

    def note_launch(self, since: int, dims: Sequence[Dim], operand: int, size: int) -> None:
        """Remembers for all engines made ``since`` how far a step of each launch dimension moves them."""
        for unit in self.net.units[since:]:
            if unit.kind in ("load", "store"):
                unit.note["launch"] = tuple(dim.strides[operand] * size for dim in dims)

    def feed(self, name: str) -> None:
        """Makes a stream of the rows of a tensor in memory, for all nodes that read it."""
        home, shape = self.homes[name], self.graph[name].shape
        loops = home.pattern.shaped(shape)
        port = load_rows(self.net, home.stored(), [loop for axis in loops[:-1] for loop in axis], loops[-1])
        self.feeds[name] = Feed(port, rows_of(shape), shape[-1], packed=home.size == 2, past=frozenset({port.unit}))

    def take(self, name: str) -> Feed:
        return self.feeds[name]

    def give(self, name: str, feed: Feed) -> None:
        """The stream of a tensor that a node has made."""
        if name in self.inside:
            self.feeds[name] = feed

    # Joins ----------------------------------------------------------------------------------------------------------------
    def join(self, feeds: Sequence[Feed]) -> list[Feed]:
        """The same streams, those that come early delayed by PMUs: so that streams of one origin never wait for each other."""
        if len(feeds) < 2:
            return list(feeds)
        lag, hops = max(feed.lag for feed in feeds), max(feed.hops for feed in feeds if feed.lag == max(f.lag for f in feeds))
        out = []
        for number, feed in enumerate(feeds):
            related = any(feed.past & other.past for place, other in enumerate(feeds) if place != number)
            if related and feed.lag < lag:
                out.append(self.delay(feed, lag - feed.lag, lag, hops))
            elif related and feed.hops < hops and not feed.scalar and self.spare_pmus() > 0:
                out.append(self.queue(feed, hops))
            else:
                out.append(feed)
        return out

    def spare_pmus(self) -> int:
        """PMUs left if this kernel stays as it is."""
        total = sum(not self.config.is_pcu(*point) for point in self.config.grid)
        return total - sum(1 for _ in self.net.of_kind("pmu"))

    def delay(self, feed: Feed, rows: int, lag: int, hops: int) -> Feed:
        """``feed`` behind a buffer that holds ``rows`` rows, two more, and what comes while one of those passes the units in between."""
        vectors, config = feed.vectors(self.lanes), self.config.pmu
        meanwhile = min(-(-PASSAGE // vectors), config.words // self.lanes // (2 * vectors * max(rows, 1)))
        depth = min(rows * (1 + meanwhile) + 2, max(feed.rows, 2))
        if feed.scalar:
            if depth > config.words:
                raise Unstreamable(f"{depth} rows do not fit a PMU")
            outer = tuple(Loop(bound) for bound in factors(feed.rows, "rows"))
            read = Read(loops=outer, handover=0, word=True, scalar=True)
            program = PMUProgram(write=Write(loops=outer, handover=0, word=True, scalars=(0,)), reads=(read,), buffers=depth,
                                 buffer_stride=1)
        else:
            program = self._row_buffer(feed, vectors, depth)
        unit = self.net.add("pmu", "delay", program, work=feed.rows * vectors)
        self.net.connect(feed.fabric, feed.port, unit.input(0), feed.rows * vectors)
        return replace(feed, port=unit.out(0), lag=lag, hops=hops, past=feed.past | {unit})

    def _row_buffer(self, feed: Feed, vectors: int, depth: int) -> PMUProgram:
        config, lanes = self.config.pmu, self.lanes
        stride, bank_map = separate_buffers(config, vectors, depth)
        if stride * depth > config.words // lanes:
            stride, bank_map = vectors, BankMap.low(config)
        if stride * depth > config.words // lanes:
            raise Unstreamable(f"{depth} rows of {vectors} vectors exceed a PMU")
        outer = [Loop(bound) for bound in factors(feed.rows, "rows")]
        loops = (Loop(vectors, lanes), *outer)
        return PMUProgram(write=Write(loops=loops, handover=1, vectors=(0,)), reads=(Read(loops=loops, handover=1),),
                          buffers=depth, buffer_stride=stride * lanes, bank_map=bank_map)

    def queue(self, feed: Feed, hops: int) -> Feed:
        """``feed`` behind a queue of vectors that covers the time of the PCUs that the other stream passes."""
        vectors, config = feed.rows * feed.vectors(self.lanes), self.config.pmu
        depth = min((hops - feed.hops) * HOP_VECTORS, config.words // self.lanes)
        loops = tuple(Loop(bound) for bound in factors(vectors, "vectors"))
        program = PMUProgram(write=Write(loops=loops, handover=0, vectors=(0,)), reads=(Read(loops=loops, handover=0),),
                             buffers=depth, buffer_stride=self.lanes)
        unit = self.net.add("pmu", "queue", program, work=vectors)
        self.net.connect("vector", feed.port, unit.input(0), vectors)
        return replace(feed, port=unit.out(0), hops=hops, past=feed.past | {unit})

    def attach(self, feed: Feed, unit: VirtualUnit, port: int) -> None:
        """Leads a stream to an input of a unit."""
        self.net.connect(feed.fabric, feed.port, unit.input(port), feed.rows * feed.vectors(self.lanes))

    def made(self, unit: VirtualUnit, rows: int, n: int, sources: Sequence[Feed], **about) -> Feed:
        """The stream that a unit makes of others."""
        return Feed(unit.out(0), rows, n, lag=max((f.lag for f in sources), default=0),
                    hops=1 + max((f.hops for f in sources), default=0),
                    past=frozenset({unit}).union(*(f.past for f in sources)), **about)


def rows_of(shape: Sequence[int]) -> int:
    return prod(shape[:-1])
