"""How long a kernel takes, predicted from its netlist, and which unit has the most to do.

Streams have a first and a last packet. A unit gives its first packet when it has what it needs for it, and its last one when it has
worked for all of them, or when the last packets that it takes have come through. That is how long the kernel would take if memory
answered at once; with it compete the requests of the busiest AGCU and those to the HBM channels and to DDR. What is nearly as long as
the longest holds it up, too: the times add by a norm. The bottleneck is the unit with the most cycles of work (compiler/timing/work.py),
as the counters count them. The constants are fitted to launches on the RTL of `small` (docs/compiler.md).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from hw.config import RDUConfig
from hw.fp.function import TailFunction
from hw.pcu.layout import Reduce
from hw.pcu.program import SystolicProgram

from ..fabric.netlist import Netlist, VirtualUnit
from .work import requests, work, work_by_unit

__all__ = ["DDR_BYTES_PER_CYCLE", "TIMING", "VECTORS_PER_CYCLE", "Prediction", "Timing", "peak_macs", "predict"]

VECTORS_PER_CYCLE = 1.1       # from HBM, over all engines, of `small`: two channels of one beat a cycle, less turnarounds and refresh
DDR_BYTES_PER_CYCLE = 6.4


@dataclass(frozen=True)
class Timing:
    """The constants of the model, in cycles. ``load``: Execute to an engine's first vector; ``store``: last vector to finished;
    ``pcu``, ``tail``, ``reduce``, ``systolic``, ``pmu``, ``hop``: latencies of a unit, a tail function and a reduction in it, of the last
    step of a tile, and of the way to the next unit. ``agcu``, ``read``, ``write``: cycles that a request holds its AGCU, and a read or a
    write its HBM channel (``phased``: any, if reads and writes take turns by blocks). ``sharpness``: the norm by which times that
    compete add."""

    load: float = 46.3
    store: float = 20.4
    pcu: float = 25.3
    tail: float = 13.3
    reduce: float = 4.6
    systolic: float = 25.9
    pmu: float = 7.8
    hop: float = 5.2
    agcu: float = 0.08
    read: float = 1.85
    write: float = 0.96
    phased: float = 1.0
    sharpness: float = 2.56


TIMING = Timing()


@dataclass(frozen=True)
class Prediction:
    """``cycles`` of one launch; ``bottleneck``: the unit with the most work, by its counter's name ("pcu(0,1)", "agcu2", "memory"; "agcu"
    and "pcu 3" as long as units have no places); ``share``: its work over the cycles; ``bytes`` by tier."""

    cycles: int
    bottleneck: str
    share: float
    bytes: dict[str, int]


@dataclass(frozen=True)
class _Stream:
    """When the first and the last of ``count`` packets leave."""

    first: float
    last: float
    count: int

    def at(self, number: float) -> float:
        """When packet ``number`` (from 0) leaves, if they leave at equal distances."""
        return self.first + (self.last - self.first) * min(1.0, number / max(self.count - 1, 1))


def predict(net: Netlist, where: Mapping[VirtualUnit, tuple] | None = None, timing: Timing = TIMING) -> Prediction:
    """The prediction for one launch of a kernel; ``where`` its units are."""
    done = _Flow(net, timing)
    busy = work_by_unit(net, where)
    agcu = max((count for name, count in busy.items() if name.startswith("agcu")), default=0)
    held = {"load": timing.read, "store": timing.write}
    if any(unit.note.get("phased") for unit in net.of_kind("store")):
        held = dict.fromkeys(held, timing.phased)
    memory = sum(held[unit.kind] * requests(unit.program, net.config.beat_bytes) for unit in net.units
                 if unit.symbol and not unit.program.segment) / net.config.hbm.channels
    moved = {"hbm": 0, "ddr": 0}
    for unit in net.units:
        if unit.symbol:
            moved["ddr" if unit.program.segment else "hbm"] += unit.bytes
    ends = timing.load + timing.store
    times = [max(done.end - ends, 0), timing.agcu * agcu, memory, moved["ddr"] / DDR_BYTES_PER_CYCLE]
    cycles = ends + sum(time ** timing.sharpness for time in times) ** (1 / timing.sharpness)
    name = max(busy, key=busy.get)
    return Prediction(round(cycles), name, busy[name] / cycles, moved)


class _Flow:
    """First and last packets of all units, and ``end``: when the last store is answered."""

    def __init__(self, net: Netlist, timing: Timing):
        self.net, self.timing = net, timing
        self.inputs: dict[VirtualUnit, list[tuple]] = defaultdict(list)           # (port, source, packets)
        for flow in net.flows:
            for port in flow.destinations:
                self.inputs[port.unit].append((port, flow.source.unit, flow.packets))
        self.made: dict[VirtualUnit, _Stream] = {}
        self.end = max((self._stored(unit) for unit in net.of_kind("store")), default=0)

    def _taken(self, unit: VirtualUnit) -> dict[tuple[bool, int | str], _Stream]:
        """The streams that a unit takes, by port, as they arrive; (True, i): scalar input i."""
        found = {}
        for port, source, _ in self.inputs[unit]:
            stream = self._stream(source)
            found[port.index] = _Stream(stream.first + self.timing.hop, stream.last + self.timing.hop, stream.count)
        return found

    def _stored(self, unit: VirtualUnit) -> float:
        return max((stream.last for stream in self._taken(unit).values()), default=0) + self.timing.store

    def _stream(self, unit: VirtualUnit) -> _Stream:
        if unit not in self.made:
            self.made[unit] = _Stream(0, 0, 1)           # a ring would never end
            self.made[unit] = getattr(self, f"_{unit.kind}")(unit)
        return self.made[unit]

    def _load(self, unit: VirtualUnit) -> _Stream:
        first = self.timing.load + max((stream.first for stream in self._taken(unit).values()), default=0)
        count = unit.program.iterations
        return _Stream(first, first + max(count, requests(unit.program, self.net.config.beat_bytes)) - 1, count)

    def _pmu(self, unit: VirtualUnit) -> _Stream:
        program, timing = unit.program, self.timing
        taken = [*self._taken(unit).values()]
        held = program.write.accesses
        reads = max(prod(loop.bound for loop in read.loops) for read in program.reads if read is not None)
        first = max(stream.at(held - 1) for stream in taken) + timing.pmu
        buffers = max(1, prod(loop.bound for loop in program.write.loops) // max(held, 1))
        last = max(max(stream.last for stream in taken) + timing.pmu + reads / buffers, first + reads - 1)
        return _Stream(first, last, reads)

    def _pcu(self, unit: VirtualUnit) -> _Stream:
        program, timing = unit.program, self.timing
        latency = timing.tail if program.function != TailFunction.BYPASS else 0
        steps = work(unit, self.net.config.beat_bytes)
        taken = self._taken(unit)
        if isinstance(program, SystolicProgram):
            tile = prod(program.loops()[:4])
            rows = unit.note.get("row_packets", 0)
            start = max(stream.at(rows - 1 if port == 1 else 0) for port, stream in taken.items())
            drained = timing.systolic + latency
            first = max(start + tile, taken[0].at(taken[0].count * tile / steps - 1)) + drained
            left = defaultdict(lambda: tile, {0: 0, 1: tile * (program.column_tiles if program.reuse else 1)})
            last = max(max(stream.last + left[port] for port, stream in taken.items()) + drained, first + steps - tile)
            return _Stream(first, last + program.rows, max(1, steps // tile) * program.rows)
        latency += timing.pcu + (timing.reduce if program.reduce != Reduce.NONE else 0)
        block = prod(program.loops[:program.produce]) if program.reduce != Reduce.NONE or program.accumulate is not None else 1
        first = max((stream.at(stream.count * block / steps - 1) for stream in taken.values()), default=0) + latency
        last = max(max((stream.last for stream in taken.values()), default=0) + latency, first + steps - block)
        return _Stream(first, last, max(1, steps // block))


@lru_cache
def peak_macs(config: RDUConfig) -> int:
    """MACs a cycle of all PCUs."""
    return sum(config.is_pcu(*point) for point in config.grid) * config.pcu.macs_per_cycle
