"""How fast AGCUs copy between the tiers, alone and beside compute kernels that stream from HBM, with the real controllers.

    rdu bench copy [--kib N] [--seed N]

Metrics: ``share_of_ddr_peak``, beats copied (or filled) times the cycles that a beat takes on the DDR data bus, over the cycles from
``execute`` to not busy; ``share_of_refresh_limit``, the same over what refresh leaves. Cases "alone" and "shared, R": meanwhile
another AGCU streams from HBM into a kernel that takes R vectors a cycle from a buffer; "shared, 2 x R": two of them do.
``stream_vectors_per_cycle``: what these kernels got, alone and shared; ``kept_of_alone``: both sides' shared rate over their rate
alone. ``share_of_hbm_peak``: several AGCUs stream at once from random places, each as fast as it can, over the peak of all HBM
channels; "two engines": what two load engines of one AGCU get together, in vectors a cycle, alone and beside streams of other
AGCUs. Every copy is compared.
"""

from __future__ import annotations

import numpy as np

from hw.agcu.program import Access, AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import RDUConfig
from hw.dram.timing import dram_timing

from .common import metric, steps
from .memory_system import MemoryBench

DESCRIPTION = "share of the DDR peak that a copy between the tiers reaches; --kib N (default 128; with --full 512) --seed N"

HBM, DDR = 0, 1
PACES = {"1.00": (1, [0]), "0.75": (1, [0, 0, 0, 1]), "0.50": (1, [0, 1]),                 # streams, pattern of their stalls
         "2 x 0.75": (2, [0, 0, 0, 1]), "2 x 0.67": (2, [0, 0, 1]), "2 x 0.50": (2, [0, 1])}
STREAM = 60_000              # beats of a stream, then it begins again
WARM = 1000                  # cycles before a stream is measured


class Copies:
    """Copies by the last AGCU, streams by the others."""

    def __init__(self, config: RDUConfig, seed: int):
        self.config, self.system = config, MemoryBench(config)
        self.bench, self.copier = self.system.bench, self.system.agcus - 1
        self.random = np.random.default_rng(seed)

    def _place(self, beats: int) -> int:
        """A random place in HBM with room for ``beats``, above where copies go and below their sources."""
        beat = self.config.beat_bytes
        return int(self.random.integers(self.config.hbm.bytes // 4 // beat, self.config.hbm.bytes // 2 // beat - beats)) * beat

    def _streams(self, agcus, engines: int = 1) -> None:
        """``engines``: load engines of the first one, each with a stream of its own; the others use one."""
        loops = (Loop(STREAM, self.config.beat_bytes), Loop(60_000))
        for number, agcu in enumerate(agcus):
            loads = [LoadProgram(loops=loops, base=self._place(STREAM)) for _ in range(1 if number else engines)]
            self.system.program(agcu, AGCUProgram(loads=tuple(loads)))
        self.bench.pulse("execute", sum(1 << agcu for agcu in agcus))
        self.bench.tick(WARM)

    def stream(self, agcus, pace, cycles: int) -> float:
        """Vectors a cycle of streams by themselves."""
        self.system.start(take=tuple(agcus), paces={agcu: pace for agcu in agcus})
        self._streams(agcus)
        before = [self.system.vectors(agcu) for agcu in agcus]
        self.bench.tick(cycles)
        self.system.check()
        return (sum(self.system.vectors(agcu) for agcu in agcus) - sum(before)) / cycles

    def two_engines(self, streams: int, cycles: int) -> tuple[float, float]:
        """Vectors a cycle of two load engines of the first AGCU, and of each of ``streams`` other AGCUs. The engines' are what the devices
        have read and the others have not been given (to one per cent: some beats are on their way)."""
        agcus = range(1 + streams)
        self.system.start(take=tuple(agcus), paces={agcu: [0] for agcu in agcus})
        self._streams(agcus, engines=2)
        before, read = [self.system.vectors(agcu) for agcu in agcus[1:]], self.system.memory_beats()
        self.bench.tick(cycles)
        self.system.check()
        others = sum(self.system.vectors(agcu) for agcu in agcus[1:]) - sum(before)
        return (self.system.memory_beats() - read - others) / cycles, others / cycles / max(1, streams)

    def copy(self, source: int | None, target: int, beats: int, streams: int = 0, pace=None) -> tuple[float, float]:
        """Copies from tier to tier (None: a fill), beside the streams of the first AGCUs. Returns (share of the DDR peak, vectors of
        the streams a cycle)."""
        system, bench, beat, copier = self.system, self.bench, self.config.beat_bytes, self.copier
        streaming = range(streams)
        system.start(loop=1 << copier, take=tuple(streaming), paces={agcu: pace for agcu in streaming})
        image = np.random.default_rng(beats).integers(0, 256, (beats, beat), dtype=np.uint8)
        first = ((self.config.hbm.bytes, self.config.ddr.bytes)[source or 0] * 3 // 4) // beat
        if source is not None:
            system.fill(source, first, image)
        if streams:
            self._streams(streaming)
        loops = (Loop(64, beat), Loop(beats // 64, 64 * beat))
        load = (LoadProgram(base=0x3F800000, loops=loops, access=Access.FILL) if source is None else
                LoadProgram(segment=source, base=first * beat, loops=loops))
        system.program(copier, AGCUProgram(loads=(load,), stores=(StoreProgram(segment=target, loops=loops),)))
        start, before = bench.cycle, sum(map(system.vectors, streaming))
        bench.pulse("execute", 1 << copier)
        bench.run(beats * 40 + 10_000, until={"busy": (1 << streams) - 1}, progress_limit=0)
        cycles, vectors = bench.cycle - start, sum(map(system.vectors, streaming)) - before
        expected = image if source is not None else np.full((beats, beat // 4), 0x3F800000, "<u4").view(np.uint8)
        assert (system.beats(target, 0, beats) == expected).all(), "the copy differs"
        system.check()
        return beats * dram_timing(self.config.ddr, beat).ccd_s / self.config.ddr.channels / cycles, vectors / cycles


def run(config: RDUConfig, console, *, full: bool = False, kib: int = 128, seed: int = 1) -> list[dict]:
    """Copies of ``kib`` KiB, alone and beside a stream from HBM, then several streams."""
    kib = 512 if full else kib
    if not 2 <= kib <= 1024 or kib % 2:
        raise ValueError(f"kib={kib} must be even, from 2 to 1024")
    metrics, beats = [], (kib << 10) // config.beat_bytes
    agcus = len(config.agcu_ports) - 1
    with steps(console, "building the memory system", 3 + 3 * len(PACES) + 5) as step:
        copies = Copies(config, seed)
        limit = dram_timing(config.ddr, config.beat_bytes).refresh_limit
        alone = {}
        for name, source, target in (("DDR to HBM", DDR, HBM), ("HBM to DDR", HBM, DDR), ("fill DDR", None, DDR)):
            step(f"{name} alone")
            alone[name] = copies.copy(source, target, beats)[0]
            metrics += [metric("share_of_ddr_peak", f"{name} alone", alone[name], "ratio"),
                        metric("share_of_refresh_limit", f"{name} alone", alone[name] / limit, "ratio")]
        for rate, (count, pace) in PACES.items():
            step(f"stream {rate}")
            if count > agcus:
                continue
            stream = copies.stream(range(count), pace, 20_000)
            metrics.append(metric("stream_vectors_per_cycle", f"alone, {rate}", stream, "vectors/cycle"))
            for name, source, target in (("DDR to HBM", DDR, HBM), ("HBM to DDR", HBM, DDR)):
                step(f"{name} beside {rate}")
                share, beside = copies.copy(source, target, beats, count, pace)
                case = f"{name} shared, {rate}"
                metrics += [metric("share_of_ddr_peak", case, share, "ratio"),
                            metric("stream_vectors_per_cycle", case, beside, "vectors/cycle"),
                            metric("kept_of_alone", f"{case}: copy", share / alone[name], "ratio"),
                            metric("kept_of_alone", f"{case}: stream", beside / stream, "ratio")]
        for count in sorted({min(2, agcus + 1), agcus + 1}):
            step(f"{count} streams")
            rates = [copies.stream(range(count), [0], 32_000) / config.hbm.channels for _ in range(4)]
            metrics += [metric("share_of_hbm_peak", f"{count} streams, mean of 4 places", float(np.mean(rates)), "ratio"),
                        metric("share_of_hbm_peak", f"{count} streams, least of 4 places", min(rates), "ratio")]
        for count, case in zip(range(agcus + 1), ("two engines alone", "two engines beside a stream", "two engines beside two streams"),
                               strict=False):
            step(case)
            rates = np.mean([copies.two_engines(count, 20_000) for _ in range(4)], axis=0)
            metrics.append(metric("stream_vectors_per_cycle", case, float(rates[0]), "vectors/cycle"))
            if count:
                metrics.append(metric("stream_vectors_per_cycle", f"{case}: each stream", float(rates[1]), "vectors/cycle"))
    return metrics
