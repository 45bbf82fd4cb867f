"""What waveforms cost: speed without the feature, with it switched off, with it on, and a window of 10,000 cycles.

    rdu bench trace [--repeats N] [--window CYCLES] [--format fst|vcd]

Two models of the same device run in turn, ``--repeats`` times: one built without tracing ("compiled out", what everything uses
unless waves are asked for) and one built with it. Their speed is CPU time of this process in the same copy from DDR to HBM. "off
against compiled out": median of the ratios of neighbouring runs; the lowest and the highest tell the noise, as does "compiled out
against itself", the same for pairs of runs of one model. The window: seconds it adds to the run, and the file's size.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from coe_app.kernels import copy_kernel
from hw.config import RDUConfig
from sw_driver.device import DDR, HBM, Device

from .common import metric, steps

__all__ = ["DESCRIPTION", "run"]

DESCRIPTION = "speed with waveforms off, on and compiled out, and the cost of a window; --repeats N (7; --full 21) --window CYCLES (10000)"

COPIES = 4                       # in a run of one model


class Copier:
    """A device that copies the same bytes again and again."""

    def __init__(self, config: RDUConfig, trace: str | None):
        from sim.device import VerilatedBackend

        self.device = Device(VerilatedBackend(config, trace=trace))
        self.values = np.random.default_rng(1).integers(0, 256, min(config.ddr.bytes // 4, 128 << 10), np.uint8)
        self.source, self.target = self.device.upload(DDR, self.values), self.device.allocate(HBM, self.values.nbytes)
        self.kernel = copy_kernel(config)
        self.copy()

    def copy(self) -> None:
        self.device.launch(self.kernel, source=self.source.address, destination=self.target.address,
                           vectors=self.values.nbytes // self.device.config.beat_bytes)

    def run(self) -> tuple[int, float]:
        """Cycles and CPU seconds of some copies."""
        first, begin = self.device.backend.cycles, time.process_time()
        for _ in range(COPIES):
            self.copy()
        return self.device.backend.cycles - first, time.process_time() - begin

    def speed(self) -> float:
        cycles, seconds = self.run()
        return cycles / seconds


def run(config: RDUConfig, console, *, full: bool = False, repeats: int = 7, window: int = 10_000, format: str = "fst") -> list[dict]:
    """All cases."""
    repeats = 21 if full else repeats
    if repeats < 3 or window < 1 or format not in ("fst", "vcd"):
        raise ValueError(f"repeats={repeats} must be at least 3, window={window} positive, format={format} fst or vcd")
    with steps(console, f"building {config.name} twice (once; some minutes)", repeats + 1) as step, tempfile.TemporaryDirectory() as folder:
        out, able = Copier(config, None), Copier(config, format)
        with out.device, able.device:
            pairs = []
            for number in range(repeats):
                step(f"pair {number + 1} of {repeats}")
                first, off, second = out.speed(), able.speed(), out.speed()
                pairs.append((off / ((first + second) / 2), second / first, (first + second) / 2, off))
            step(f"a window of {window} cycles")
            file = Path(folder) / f"window.{format}"
            backend, (cycles, plain) = able.device.backend, able.run()
            backend.waves(file, backend.cycles, backend.cycles + window)
            _, traced = able.run()
            backend.end_waves()
            size = file.stat().st_size
    ratios, same = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    cases = {"compiled out": statistics.median(pair[2] for pair in pairs), "off": statistics.median(pair[3] for pair in pairs)}
    metrics = [metric("cycles_per_cpu_second", case, speed, "cycles/s") for case, speed in cases.items()]
    for name, values in (("off against compiled out", ratios), ("compiled out against itself", same)):
        for part, value in (("median", statistics.median(values)), ("lowest", min(values)), ("highest", max(values))):
            metrics.append(metric("ratio_of_speeds", f"{name}, {part}", value, ""))
    added = traced - plain
    metrics += [metric("window_cpu_seconds", f"{window} cycles, {format}", added, "s"),
                metric("window_slowdown", f"{window} cycles, {format}", 1 + added / (plain * window / cycles), "times"),
                metric("window_bytes", f"{window} cycles, {format}", size, "bytes")]
    return metrics
