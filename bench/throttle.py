"""What throttling gains: ``rdu bench throttle``, a bursty producer beside a latency-critical loop over the same links.

A row of six units on the RTL network (switches, senders with their token buckets, receivers); the units themselves are
generators. PMU 1 re-reads a tile of 32 vectors for PCU 4, which takes one in four cycles, and sends each tile as fast as it
can. PCU 0 and PMU 5 pass one packet to and fro, 400 times: a recurrence, each step of which waits for the network. The kernel
is finished when both are.
With 2 and 4 labels per link every flow has a virtual circuit; with 1 label they cannot share a link as circuits and are
dynamic, in 2 slots per input.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from compiler.route import Flow, Router, Routes
from compiler.throttle import Throttle, automatic, sender_fields
from hw.config import RDNConfig, RDUConfig, preset
from hw.hierarchy import instantiate
from hw.rdn.ends import MeshWithEnds
from hw.rdn.node import switch_program
from hw.rdn.sender import sender_program

from .common import metric, steps

__all__ = ["DESCRIPTION", "Pipeline", "flows", "run"]

DESCRIPTION = "a bursty producer beside a latency-critical loop: throttle off, swept, automatic; 1, 2 and 4 labels per link"

COLUMNS, TILE, SERVICE, THINK = 6, 32, 4, 2
STEPS, TILES = 400, 55
RATES, BURSTS = (0.125, 0.2, 0.25, 0.28, 0.35, 0.5, 0.75), (1, 4, 15)


def row(labels: int) -> RDUConfig:
    """A socket of one row of units with ``labels`` per link; dynamic packets with one label."""
    tiny = preset("tiny")
    inputs = min(tiny.pcu.vector_inputs, 2 * labels)
    engines = min(2, labels)
    return dataclasses.replace(
        tiny, name=f"row_{labels}_labels", rows=1, columns=COLUMNS,
        rdn=RDNConfig(lanes=tiny.lanes, labels=labels, dynamic_slots=0 if labels > 1 else 2),
        pcu=dataclasses.replace(tiny.pcu, vector_inputs=inputs), pmu=dataclasses.replace(tiny.pmu, vector_inputs=inputs),
        agcu=dataclasses.replace(tiny.agcu, load_engines=engines, store_engines=engines))


def flows(dynamic: bool) -> list[Flow]:
    """The flows with their average rates: of the tile's, one packet per service time; of the loop's, one per step of an idle network."""
    step = 1 / (2 * (COLUMNS + 1 + THINK))
    return [Flow(name="there", source=("unit", 0, 0, 0), destinations=(("unit", 0, 5, 0),), rate=step, dynamic=dynamic, window=1),
            Flow(name="back", source=("unit", 0, 5, 0), destinations=(("unit", 0, 0, 0),), rate=step, dynamic=dynamic, window=1),
            Flow(name="tiles", source=("unit", 0, 1, 1), destinations=(("unit", 0, 4, 1),), rate=1 / SERVICE, dynamic=dynamic)]


class Pipeline(wiring.Component):
    """The network of one row and the generators. Members: ``program``, ``sender`` In as of :class:`MeshWithEnds`; ``start`` In, pulse;
    ``steps``, ``taken``, ``cycles`` Out: packets that came back to PCU 0, packets that PCU 4 took, cycles until all was done; ``done``
    Out."""

    def __init__(self, config: RDNConfig):
        self.mesh = MeshWithEnds(1, COLUMNS, config, 1)
        self.mesh.identity = config
        links = COLUMNS * config.local_links
        super().__init__({"program": In(switch_program(config)).array(COLUMNS), "sender": In(sender_program(config, 1)).array(links),
                          "start": In(1), "steps": Out(16), "taken": Out(16), "cycles": Out(32), "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        mesh = self.mesh
        m.submodules.mesh = instantiate(platform, mesh)
        m.d.comb += [inner.eq(outer) for inner, outer in zip([*mesh.program, *mesh.sender], [*self.program, *self.sender], strict=True)]
        links = mesh.config.local_links
        running = Signal()
        with m.If(self.start):
            m.d.sync += running.eq(1)
        for unit, first in ((0, True), (5, False)):
            self._partner(m, mesh.source[unit * links], mesh.sink[unit * links], first)
        self._tiles(m, mesh.source[links + 1], running)
        service, end = Signal(range(SERVICE + 1)), mesh.sink[4 * links + 1]
        m.d.comb += end.ready.eq(service == 0)
        with m.If(end.valid & end.ready):
            m.d.sync += [service.eq(SERVICE - 1), self.taken.eq(self.taken + 1)]
        with m.Elif(service != 0):
            m.d.sync += service.eq(service - 1)
        m.d.comb += self.done.eq((self.steps == STEPS) & (self.taken == TILES * TILE))
        with m.If(running & ~self.done):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        return m

    def _partner(self, m: Module, out, into, first: bool) -> None:
        """Sends a packet ``THINK`` cycles after one came; the first of the two begins, and stops after ``STEPS``."""
        think, waiting = Signal(range(THINK + 1)), Signal()
        m.d.comb += [into.ready.eq(1), out.valid.eq(waiting & (think == 0))]
        with m.If(into.valid | (self.start if first else 0)):
            m.d.sync += [waiting.eq(self.steps != STEPS - 1 if first else 1), think.eq(THINK)]
        with m.Elif(out.valid & out.ready):
            m.d.sync += waiting.eq(0)
        with m.If(think != 0):
            m.d.sync += think.eq(think - 1)
        if first:
            with m.If(into.valid):
                m.d.sync += self.steps.eq(self.steps + 1)

    def _tiles(self, m: Module, out, running) -> None:
        """A tile at the start of each period of as many cycles as its consumer needs for it."""
        phase, left, tiles = Signal(range(TILE * SERVICE)), Signal(16), Signal(16)
        begin = Signal()
        m.d.comb += [begin.eq(running & (phase == 0) & (tiles != TILES)), out.valid.eq(left != 0), out.p[0].eq(left)]
        m.d.sync += left.eq(left + (begin * TILE) - (out.valid & out.ready))
        with m.If(running):
            m.d.sync += phase.eq(phase + 1)
        with m.If(begin):
            m.d.sync += tiles.eq(tiles + 1)


def _execute(bench, routes: Routes, throttles: dict) -> int:
    """Cycles of the kernel with these settings."""
    config = routes.config
    bench.reset()
    for number, point in enumerate(config.grid):
        program = routes.programs.get(point)
        bench.set(f"program[{number}]", program.pack(config.rdn) if program else 0)
    links = config.rdn.local_links
    for unit, fields in sender_fields(config, routes.routes, throttles).items():
        for link in range(links):
            bench.set(f"sender[{unit[2] * links + link}]", _sender(config.rdn, fields, f"vector_link_{link}[0]."))
    bench.pulse("start")
    bench.run(200_000, until={"done": 1}, progress_limit=0)
    return bench.get("cycles")


def _sender(rdn: RDNConfig, fields: dict[str, int], prefix: str):
    values: dict = {}
    for path, value in fields.items():
        if path.startswith(prefix):
            *outer, last = path.removeprefix(prefix).split(".")
            inner = values
            for name in outer:
                inner = inner.setdefault(name, {})
            inner[last] = value
    return sender_program(rdn, 1).const([values])


def _settings(found: dict) -> Iterator[tuple[str, dict]]:
    tiles = ("vector", ("unit", 0, 1, 1))
    yield "off", {}
    yield "automatic", found
    for rate in RATES:
        for burst in BURSTS:
            yield f"rate={rate:g}, burst={burst}", {tiles: Throttle(rate, burst)}


def run(config: RDUConfig, console, *, full: bool = False, labels: str = "1,2,4") -> list[dict]:
    """Cycles of the kernel for each number of labels and each setting of the throttle of the tile's producer."""
    from sim.unit_bench import UnitBench
    parts = labels.split(",")
    if not all(part.isdecimal() and 1 <= int(part) <= 16 for part in parts):
        raise ValueError(f"labels={labels} must be numbers from 1 to 16, with commas between them")
    metrics = []
    with steps(console, "building", len(parts)) as step:
        for count in map(int, parts):
            step(f"{count} labels")
            small = row(count)
            routes = Router(small).route(flows(dynamic=count == 1))
            measured = {}
            with UnitBench(Pipeline(small.rdn), optimize="-O1") as bench:
                for name, throttles in _settings(automatic(routes)):
                    measured[name] = _execute(bench, routes, throttles)
            best = min((name for name in measured if name.startswith("rate")), key=measured.get)
            metrics += [metric("kernel_cycles", f"labels={count}, {name}", cycles, "cycles") for name, cycles in measured.items()]
            metrics.append(metric("kernel_cycles", f"labels={count}, best ({best})", measured[best], "cycles"))
    return metrics
