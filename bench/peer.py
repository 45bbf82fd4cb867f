"""Streams between two sockets over a peer link, beside the same data through memory.

    rdu bench peer [--beats N] [--link-cycles N] [--tokens N,N] [--sockets N,N]

Cases "layer of N tokens": two whole sockets, driven by the driver, compute a tensor-parallel MLP layer whose partial sums are exchanged
and added by PCUs (:mod:`bench.peer_layer`): over the link ("on"), through memory by a copy kernel over the link ("off, copied") or
by the host ("off, host").

The other cases are streams alone: two sockets without their tiles (AGCUs, TLN, peer ports, controllers, devices), joined by one link
each way that is ``link_cycles`` long and carries a beat every ``config.peer.beat_cycles`` cycles. "on": a store engine writes to a
peer segment, a load engine of the other socket reads it. "off": the producer stores to its HBM, a copy kernel brings it over the
link into the other HBM, the consumer loads it from there; each step is a kernel that begins when the one before has finished.

Metrics: ``cycles`` from the producer's ``execute`` to the last vector at the consumer; ``memory_bytes`` that all DRAM devices moved;
``link_share``: beats times ``beat_cycles`` over cycles. Cases: "transfer" (one stream), "exchange" (both directions at once, the
step of a ring all-reduce), "pipeline" (two layers, one on each socket: the first loads its operand from HBM, the second stores
its result to HBM; what lies between goes over the link). Every vector is compared.

``--sockets 3,4`` (default: none; with ``--full`` these): rings of so many whole sockets that all-reduce a vector (:mod:`bench.peer_ring`);
``link_share`` is the least that a link must move over what it could have moved.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.agcu.program import AGCUProgram, LoadProgram, Loop, Segment, StoreProgram, Tier
from hw.config import RDUConfig
from hw.peer.link import PeerLink, peer_address
from sim.dram import SOURCES
from sim.unit_bench import UnitBench
from sw_driver.cluster import Cluster

from .common import metric, numbers, steps
from .memory_system import MemoryBench, MemorySystem
from .peer_layer import Layer, Placed, run_off, run_on
from .peer_ring import Ring, all_reduce

DESCRIPTION = ("streams and a layer on two sockets, over the peer link and through memory; --beats N (2048) --link-cycles N (20) "
               "--tokens N,N (4,32) --sockets N,N (none; with --full 3,4)")

PEER = 2                 # the segment that points to AGCU 0 of the other socket
STREAM, MOVER = 0, 1     # AGCUs: 0 produces and consumes, 1 runs the copies of the "off" case
RING_VECTORS = 256       # of a chunk
STEP_LIMIT = 200         # cycles for a beat, after which a run has failed


class Wire(wiring.Component):
    """One direction of a link, ``cycles`` registers long. Members: ``i``, its sender's end; ``o``, its receiver's."""

    def __init__(self, beat_bytes: int, cycles: int):
        self.cycles = cycles
        super().__init__({"i": In(PeerLink(beat_bytes)), "o": Out(PeerLink(beat_bytes))})

    def elaborate(self, platform):
        m = Module()
        for name, source, target in (
                ("forward", Cat(self.i.valid, self.i.beat.as_value()), Cat(self.o.valid, self.o.beat.as_value())),
                ("back", Cat(self.o.credit, self.o.credit_agcu), Cat(self.i.credit, self.i.credit_agcu))):
            line = Signal(len(source) * self.cycles, name=name)
            m.d.sync += line.eq(Cat(source, line))
            m.d.comb += target.eq(line[-len(source):])
        return m


class TwoSockets(wiring.Component):
    """Two memory systems and the link between them: ``socket[s]`` has the ports of :class:`MemorySystem`; ``noise``: bits of a beat
    to flip on its way from socket 0 to socket 1."""

    def __init__(self, config: RDUConfig, link_cycles: int):
        self.config, self.link_cycles = config, link_cycles
        channels = config.hbm.channels + config.ddr.channels
        self.systems = [MemorySystem(config, first_channel=channels * number) for number in (0, 1)]
        self.outside = wiring.Signature({name: member for name, member in self.systems[0].signature.members.items()
                                         if not name.startswith("peer_")})
        super().__init__({"socket": Out(self.outside).array(2), "noise": In(8 * config.beat_bytes)})

    def elaborate(self, platform):
        m = Module()
        for number, system in enumerate(self.systems):
            m.submodules[f"socket_{number}"] = system
            m.submodules[f"wire_{number}"] = wire = Wire(self.config.beat_bytes, self.link_cycles)
            connect(m, system.peer_tx[0], wire.i)
            connect(m, wire.o, self.systems[1 - number].peer_rx[0])
            if number == 0:
                m.d.comb += self.systems[1].peer_rx[0].beat.data.eq(wire.o.beat.data ^ self.noise)
            for name, member in self.outside.members.items():
                pairs = [(getattr(self.socket[number], name), getattr(system, name))]
                if member.dimensions:
                    pairs = zip(*pairs[0], strict=True)
                for outer, inner in pairs:
                    if member.is_signature:
                        connect(m, flipped(outer), inner)
                    else:
                        m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        return m


class Pair:
    """Two sockets on a bench."""

    def __init__(self, config: RDUConfig, link_cycles: int = 20, optimize: str = "-O2"):
        self.config = dataclasses.replace(config, agcus_per_edge=1, peer=dataclasses.replace(config.peer, links=1))
        self.bench = UnitBench(TwoSockets(self.config, link_cycles), sources=SOURCES, optimize=optimize)
        count = self.config.hbm.channels + self.config.ddr.channels
        self.sockets = [MemoryBench(self.config, self.bench, f"socket[{number}].", number * count) for number in (0, 1)]
        for socket in self.sockets:
            for agcu in (STREAM, MOVER):
                socket.segments[PEER + agcu] = Segment(base=peer_address(link=0, agcu=agcu), size=1 << 32, tier=Tier.PEER)

    def vectors(self, beats: int, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 1 << 32, (beats, self.config.lanes), dtype=np.uint32)

    def loops(self, beats: int) -> tuple[Loop, ...]:
        return (Loop(beats, self.config.beat_bytes),)

    def step(self, beats: int, senders, *, agcu: int, source: int | None, over: int, target: int | None) -> None:
        """One kernel on both sockets: what each of ``senders`` has in segment ``source`` (None: what it is given) goes over segment
        ``over`` into segment ``target`` of the other socket (None: it is taken there). Waits for the end."""
        loops = self.loops(beats)
        for sender in senders:
            here, there = self.sockets[sender], self.sockets[1 - sender]
            both = len(senders) == 2
            loads = (LoadProgram(segment=source, loops=loops),) if source is not None else ()
            takes = (LoadProgram(segment=over, loops=loops),)
            stores = (StoreProgram(segment=over, loops=loops),)
            keeps = (StoreProgram(segment=target, loops=loops, base=1 << 19),) if target is not None else ()
            here.program(agcu, AGCUProgram(loads=takes if both else loads, stores=stores))
            if not both:
                there.program(agcu, AGCUProgram(loads=takes, stores=keeps))
                here.set("loop", (source is not None) << agcu)
                there.set("loop", (target is not None) << agcu)
        self._run(agcu, beats)

    def local(self, beats: int, who, program: AGCUProgram, loop: int = 0) -> None:
        """One kernel on AGCU STREAM of some sockets. Waits for the end."""
        for number in who:
            self.sockets[number].program(STREAM, program)
            self.sockets[number].set("loop", loop)
        self._run(STREAM, beats, who)

    def _run(self, agcu: int, beats: int, who=(0, 1)) -> None:
        for number in who:
            self.sockets[number].set("execute", 1 << agcu)
        self.bench.tick()
        for number in who:
            self.sockets[number].set("execute", 0)
        self.bench.tick(4)
        self.bench.run(STEP_LIMIT * beats + 10_000, until={f"socket[{number}].busy": 0 for number in who}, progress_limit=0)
        for number in who:                     # nothing starts again at the next execute
            self.sockets[number].set(f"program[{agcu}]", 0)


def transfer(pair: Pair, beats: int, senders, through_memory: bool) -> tuple[int, int]:
    """Streams from each sender's tile to the other's. Returns (cycles, bytes that memory moved)."""
    bench, data = pair.bench, {sender: pair.vectors(beats, sender) for sender in senders}
    bench.reset()
    before = sum(socket.memory_beats() for socket in pair.sockets)
    taken = {sender: bench.collect(f"socket[{1 - sender}].vector[{STREAM}]") for sender in senders}
    for sender in senders:
        bench.feed(f"socket[{sender}].given[{STREAM}]", data[sender])
    start, loops = bench.cycle, pair.loops(beats)
    if not through_memory:
        pair.step(beats, senders, agcu=STREAM, source=None, over=PEER + STREAM, target=None)
    else:
        pair.local(beats, senders, AGCUProgram(stores=(StoreProgram(loops=loops),)))
        for sender in senders:                 # one direction after the other: the mover's stream turns round in its AGCU
            pair.step(beats, (sender,), agcu=MOVER, source=0, over=PEER + MOVER, target=0)
        pair.local(beats, [1 - sender for sender in senders], AGCUProgram(loads=(LoadProgram(loops=loops, base=1 << 19),)))
    bench.run(1000, until={f"socket[{1 - sender}].vector[{STREAM}]": beats for sender in senders})
    for sender in senders:
        assert (taken[sender].words == data[sender]).all(), "the streams differ"
    return _result(pair, start, before)


def pipeline(pair: Pair, beats: int, through_memory: bool) -> tuple[int, int]:
    """Operand from HBM of socket 0, result into HBM of socket 1. Returns (cycles, bytes that memory moved)."""
    bench, loops = pair.bench, pair.loops(beats)
    bench.reset()
    data = pair.vectors(beats, 7).view(np.uint8)
    pair.sockets[0].fill(0, 0, data)
    before, start = sum(socket.memory_beats() for socket in pair.sockets), bench.cycle
    if not through_memory:
        pair.step(beats, (0,), agcu=STREAM, source=0, over=PEER + STREAM, target=0)
    else:
        layer = AGCUProgram(loads=(LoadProgram(loops=loops),), stores=(StoreProgram(loops=loops),))
        pair.local(beats, (0,), layer, loop=1 << STREAM)
        pair.step(beats, (0,), agcu=MOVER, source=0, over=PEER + MOVER, target=0)
        pair.local(beats, (1,), dataclasses.replace(layer, loads=(LoadProgram(loops=loops, base=1 << 19),), stores=(
            StoreProgram(loops=loops, base=1 << 19),)), loop=1 << STREAM)
    assert (pair.sockets[1].beats(0, (1 << 19) // pair.config.beat_bytes, beats) == data).all(), "the result differs"
    return _result(pair, start, before)


def _result(pair: Pair, start: int, before: int) -> tuple[int, int]:
    for socket in pair.sockets:
        socket.check()
    cycles = pair.bench.cycle - start
    pair.bench.tick(500)                       # writes that were answered may still be on their way
    return cycles, (sum(socket.memory_beats() for socket in pair.sockets) - before) * pair.config.beat_bytes


def layers(config: RDUConfig, tokens: list[int], link_cycles: int, step) -> list[dict]:
    """The layer on two whole sockets, for each number of tokens, over the link and through memory both ways."""
    config, metrics = dataclasses.replace(config, peer=dataclasses.replace(config.peer, links=1)), []
    sizes = {count: Layer(config, tokens=count, width=8 * config.lanes, hidden=16 * config.lanes) for count in tokens}
    with Cluster.open(config, link_cycles=link_cycles) as cluster:
        for count, layer in sizes.items():
            placed = Placed(cluster, layer)
            for text, way in (("on", run_on), ("off, copied", run_off), ("off, host", lambda placed: run_off(placed, host=True))):
                step(f"layer of {count} tokens {text}")
                cycles, moved = way(placed)
                metrics += [metric("cycles", f"layer of {count} tokens {text}", cycles, "cycles"),
                            metric("memory_bytes", f"layer of {count} tokens {text}", moved, "bytes")]
    return metrics


def rings(config: RDUConfig, sockets: list[int], link_cycles: int, step) -> list[dict]:
    """An all-reduce over a ring of each size."""
    config, metrics = dataclasses.replace(config, peer=dataclasses.replace(config.peer, links=2)), []
    for count in sockets:
        step(f"ring of {count} sockets")
        with Cluster.open(config, count, link_cycles=link_cycles) as cluster:
            ring = Ring(config, count, RING_VECTORS)
            cycles, least = all_reduce(cluster, ring), (2 * count - 2) * RING_VECTORS * config.peer.beat_cycles
        case = f"all-reduce of {count * RING_VECTORS * config.beat_bytes} bytes, {count} sockets"
        metrics += [metric("cycles", case, cycles, "cycles"), metric("link_share", case, least / cycles, "ratio")]
    return metrics


def run(config: RDUConfig, console, *, full: bool = False, beats: int = 2048, link_cycles: int = 20, tokens: str = "4,32",
        sockets: str = "") -> list[dict]:
    """The layer, then transfer, exchange and pipeline, over the link and through memory; then rings."""
    beats, sockets = 16_384 if full else beats, sockets or ("3,4" if full else "")
    if not 16 <= beats <= 16_384 or not 1 <= link_cycles <= 200:
        raise ValueError(f"beats={beats} must be from 16 to 16384, link_cycles={link_cycles} from 1 to 200")
    counts, sizes = numbers("tokens", tokens, 1, 256), numbers("sockets", sockets, 3, 16)
    cases = {"transfer": lambda pair, off: transfer(pair, beats, (0,), off),
             "exchange": lambda pair, off: transfer(pair, beats, (0, 1), off),
             "pipeline": lambda pair, off: pipeline(pair, beats, off)}
    with steps(console, "building two sockets", 2 * len(cases) + 3 * len(counts) + len(sizes)) as step:
        metrics = layers(config, counts, link_cycles, step) + rings(config, sizes, link_cycles, step)
        pair = Pair(config, link_cycles)
        for name, case in cases.items():
            for text, off in (("on", False), ("off", True)):
                step(f"{name} {text}")
                cycles, moved = case(pair, off)
                share = beats * pair.config.peer.beat_cycles / cycles
                metrics += [metric("cycles", f"{name} {text}", cycles, "cycles"),
                            metric("memory_bytes", f"{name} {text}", moved, "bytes"),
                            metric("link_share", f"{name} {text}", share, "ratio")]
    return metrics
