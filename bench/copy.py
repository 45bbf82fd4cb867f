"""How fast an AGCU copies between the tiers, alone and beside a stream of another AGCU, with the real controllers.

    rdu bench copy [--kib N]

Metric ``share_of_ddr_peak``: beats copied times the cycles that a beat takes on the DDR data bus, over the cycles from
``execute`` to not busy; ``of_limit``: the same over what refresh leaves. Case "shared": another AGCU streams from HBM at the
same time, endlessly;
``stream``: its vectors per cycle beside the copy, ``stream_alone``: without it. Every copy is compared byte for byte.
"""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from hw.agcu.agcu import AGCU
from hw.agcu.layout import agcu_layout
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, Segment, StoreProgram, Tier
from hw.config import RDUConfig
from hw.dram.controller import DRAMController
from hw.dram.timing import dram_timing
from hw.hierarchy import instantiate
from hw.tln.model import Interleave
from hw.tln.port import channel_tag_bits
from hw.tln.tln import TLN
from sim.dram import SOURCES, DRAMDevice, report, storage
from sim.unit_bench import UnitBench

from .common import metric, steps

DESCRIPTION = "share of the DDR peak that a copy between the tiers reaches; --kib N (default 64; with --full 256)"

SEGMENTS = {0: Segment(base=0, size=1 << 23), 1: Segment(base=0, size=1 << 23, tier=Tier.DDR)}


class CopySystem(wiring.Component):
    """Two AGCUs, the TLN, controllers and devices. The stream of load engine 0 of AGCU 0 turns round into its store engine 0;
    that of AGCU 1 leaves."""

    def __init__(self, config: RDUConfig):
        self.config = config
        super().__init__({
            "program": In(agcu_layout(config.agcu)).array(2), "execute": In(2), "busy": Out(2), "fault": Out(2),
            "vector": Out(stream.Signature(data.ArrayLayout(32, config.lanes))),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.tln = tln = TLN(config)
        for number in range(2):
            agcu = AGCU(config.agcu)
            m.submodules[f"agcu_{number}"] = instantiate(platform, agcu)
            m.d.comb += [agcu.program.eq(self.program[number]), agcu.execute.eq(self.execute[number]),
                         self.busy[number].eq(agcu.busy), self.fault[number].eq(agcu.fault.valid)]
            connect(m, agcu.memory, tln.requesters[number])
            out, back = (agcu.vector_out[0], agcu.vector_in[0]) if number == 0 else (agcu.vector_out[0], None)
            if back is not None:
                m.d.comb += [back.valid.eq(out.valid), back.payload.data.eq(out.payload), out.ready.eq(back.ready)]
            else:
                m.d.comb += [self.vector.valid.eq(out.valid), self.vector.payload.eq(out.payload),
                             out.ready.eq(self.vector.ready)]
        tiers = [config.hbm] * config.hbm.channels + [config.ddr] * config.ddr.channels
        for number, (tier, port) in enumerate(zip(tiers, tln.channels, strict=True)):
            controller = DRAMController(tier, beat_bytes=config.beat_bytes, tag_bits=channel_tag_bits(config))
            m.submodules[f"controller_{number}"] = instantiate(platform, controller)
            m.submodules[f"device_{number}"] = device = DRAMDevice(tier, number, config.beat_bytes)
            connect(m, port, controller.port)
            connect(m, controller.dfi, device.dfi)
        return m


class Copy:
    """The system on a bench."""

    def __init__(self, config: RDUConfig):
        self.config = config
        self.bench = UnitBench(CopySystem(config), sources=SOURCES)
        self.stores = [storage(self.bench.lib, number).reshape(-1, config.beat_bytes)
                       for number in range(config.hbm.channels + config.ddr.channels)]

    def beats(self, tier: Tier, first: int, count: int) -> np.ndarray:
        """Contents of a tier."""
        dram = self.config.ddr if tier == Tier.DDR else self.config.hbm
        channels = self.stores[self.config.hbm.channels:] if tier == Tier.DDR else self.stores[:self.config.hbm.channels]
        return Interleave.of(self.config, dram, granularity=0, hash=True).join(channels, first, count)

    def _program(self, number: int, program: AGCUProgram) -> None:
        words = AGCUProgram(loads=program.loads, stores=program.stores, segments=SEGMENTS).pack(self.config.agcu)
        self.bench.set(f"program[{number}]", sum(word << 32 * index for index, word in enumerate(words)))

    def run(self, source: int, target: int, beats: int, shared: bool = False) -> dict:
        """Copies ``beats`` beats from segment to segment; AGCU 1 streams from HBM meanwhile if ``shared``."""
        bench, beat = self.bench, self.config.beat_bytes
        bench.reset()
        rng = np.random.default_rng(beats)
        for channel in self.stores:
            channel[:beats] = rng.integers(0, 256, (beats, beat), dtype=np.uint8)
        loops = (Loop(64, beat), Loop(beats // 64, 64 * beat))
        self._program(0, AGCUProgram(loads=(LoadProgram(segment=source, loops=loops),),
                                     stores=(StoreProgram(segment=target, loops=loops, base=1 << 22),)))
        self._program(1, AGCUProgram(loads=(LoadProgram(loops=(Loop(4096, beat), Loop(60000)), base=1 << 21),)))
        bench.collect("vector")
        if shared:
            bench.pulse("execute", 2)
            bench.tick(500)
        start, vectors = bench.cycle, bench.transfers("vector")
        bench.pulse("execute", 1)
        bench.run(beats * 40 + 10_000, until={"busy": 2 * shared}, progress_limit=0)
        cycles, vectors = bench.cycle - start, bench.transfers("vector") - vectors
        tiers = {0: Tier.HBM, 1: Tier.DDR}
        copied = self.beats(tiers[target], (1 << 22) // beat, beats)
        assert (copied == self.beats(tiers[source], 0, beats)).all(), "the copy differs"
        broken = [line for number in range(len(self.stores)) for line in report(bench.lib, number)]
        assert not broken and not bench.get("fault"), broken
        timing = dram_timing(self.config.ddr, beat)
        share = beats * timing.beat_cycles / cycles
        limit = 1 - timing.rfc / timing.refi
        return {"cycles": cycles, "share_of_ddr_peak": round(share, 4), "of_limit": round(share / limit, 4),
                **({"stream": round(vectors / cycles, 4)} if shared else {})}

    def stream_alone(self, cycles: int) -> float:
        """Vectors per cycle of AGCU 1 by itself."""
        self.bench.reset()
        self._program(1, AGCUProgram(loads=(LoadProgram(loops=(Loop(4096, self.config.beat_bytes), Loop(60000)), base=1 << 21),)))
        self.bench.collect("vector")
        self.bench.pulse("execute", 2)
        self.bench.tick(500)
        before = self.bench.transfers("vector")
        self.bench.tick(cycles)
        return round((self.bench.transfers("vector") - before) / cycles, 4)


CASES = (("DDR to HBM alone", 1, 0, False), ("HBM to DDR alone", 0, 1, False), ("DDR to HBM shared", 1, 0, True))


def run(config: RDUConfig, console, *, full: bool = False, kib: int = 64) -> list[dict]:
    """Copies of ``kib`` KiB, alone and beside a stream from HBM."""
    kib = 256 if full else kib
    if not 2 <= kib <= 1024 or kib % 2:
        raise ValueError(f"kib={kib} must be even, from 2 to 1024")
    metrics = []
    with steps(console, "building the memory system", len(CASES) + 1) as step:
        copy = Copy(config)
        beats = (kib << 10) // config.beat_bytes
        for name, source, target, shared in CASES:
            step(name)
            result = copy.run(source, target, beats, shared)
            metrics += [metric("share_of_ddr_peak", name, result["share_of_ddr_peak"], "ratio"),
                        metric("share_of_refresh_limit", name, result["of_limit"], "ratio")]
        step("stream alone")
        metrics += [metric("stream_vectors_per_cycle", "shared", result["stream"], "vectors/cycle"),
                    metric("stream_vectors_per_cycle", "alone", copy.stream_alone(result["cycles"]), "vectors/cycle")]
    return metrics
