"""Share of a memory channel's peak that the controller reaches, for each timing and pattern.

    rdu bench dram [--timing NAME,...] [--pattern NAME,...] [--requests N] [--trace FILE] [--policy JSON]

Metric ``share_of_peak``: beats moved, times the cycles a beat takes on the data bus, over the cycles from the first request to
the last answer. ``of_limit``: the same over what all-bank refresh leaves. Requests are offered as fast as they are taken. A trace
has one access a line, "LD address" or "ST address" (bytes, as Ramulator's load/store trace), run as two beats of 32 bytes each.

Short runs flatter: a controller may put refreshes off, so some thousand requests can exceed what refresh leaves in the long run.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hw.config import RDUConfig
from hw.dram.controller import ControllerPolicy
from hw.dram.timing import DEVICES
from tests.dram.harness import Memory

from .common import chosen, metric, steps

DESCRIPTION = "share of a memory channel's peak; --timing NAME,... --pattern NAME,... --trace FILE --requests N (30000)"
BEAT_BYTES = 32


def _pieces(random, beats: int, count: int, size: int) -> np.ndarray:
    """Random pieces of ``size`` consecutive beats."""
    return (random.integers(0, beats // size, count // size)[:, None] * size + np.arange(size)).ravel()


PATTERNS = {
    "sequential read": lambda r, beats, n: (np.arange(n), np.zeros(n)),
    "sequential write": lambda r, beats, n: (np.arange(n), np.ones(n)),
    # A copy: one stream read, one written, beat by beat.
    "copy": lambda r, beats, n: (np.arange(n) // 2 + np.arange(n) % 2 * (beats // 2), np.arange(n) % 2),
    "sequential 50/50": lambda r, beats, n: (np.arange(n), r.integers(0, 2, n)),
    "sequential 67/33": lambda r, beats, n: (np.arange(n), r.random(n) > 2 / 3),
    "strided 256 B": lambda r, beats, n: (np.arange(n) * 8 % beats + np.arange(n) * 8 // beats, np.zeros(n)),
    "strided 4 KiB": lambda r, beats, n: (np.arange(n) * 128 % beats + np.arange(n) * 128 // beats, np.zeros(n)),
    "random 64 B": lambda r, beats, n: (_pieces(r, beats, n, 2), np.zeros(n - n % 2)),
    "random 64 B 50/50": lambda r, beats, n: (_pieces(r, beats, n, 2), np.repeat(r.integers(0, 2, n // 2), 2)),
    "random 256 B": lambda r, beats, n: (_pieces(r, beats, n, 8), np.zeros(n - n % 8)),
    "gather 32 B": lambda r, beats, n: (r.integers(0, beats, n), np.zeros(n)),
    "4 streams": lambda r, beats, n: (np.arange(n) // 4 + np.arange(n) % 4 * (beats // 4), np.zeros(n)),
}


def read_trace(path: Path, beats: int) -> tuple[np.ndarray, np.ndarray]:
    """Beats and directions of a load/store trace; addresses wrap around at the size of the channel."""
    lines, addresses = [line.split() for line in path.read_text().splitlines() if line.strip()], []
    for number, line in enumerate(lines, 1):
        if len(line) != 2 or line[0] not in ("LD", "ST"):
            raise ValueError(f"{path}: entry {number} is {' '.join(line)!r}, not 'LD address' or 'ST address'")
        addresses.append(int(line[1], 0))
    if not lines:
        raise ValueError(f"{path}: the trace is empty")
    first = np.array(addresses) // 64 * (64 // BEAT_BYTES)
    address = (first[:, None] + np.arange(64 // BEAT_BYTES)).ravel() % beats
    return address, np.repeat([kind == "ST" for kind, _ in lines], 64 // BEAT_BYTES)


def measure(memory: Memory, address: np.ndarray, write: np.ndarray) -> dict:
    """One run: shares, and the longest latency in cycles."""
    result = memory.run(address, write, check=False)
    if memory.violations:
        raise AssertionError(memory.violations[0])
    share = len(address) * memory.timing.ccd_s / result["duration"]
    return {"share_of_peak": round(share, 4), "of_limit": round(share / memory.timing.refresh_limit, 4),
            "longest_latency": int(result["latency"].max()), "median_latency": int(np.median(result["latency"]))}


def run(config: RDUConfig, console, *, full: bool = False, timing: str | None = None, pattern: str | None = None,
        trace: str | None = None, requests: int = 30_000, policy: str | None = None) -> list[dict]:
    """Every pattern (or the trace) on every timing, whatever the preset. ``policy``: changes of ControllerPolicy."""
    timings, patterns = chosen("timing", timing, DEVICES), chosen("pattern", pattern, PATTERNS)
    requests = 120_000 if full else requests
    if not 64 <= requests <= 10_000_000:
        raise ValueError(f"requests={requests} must be from 64 to 10000000")
    metrics, names = [], [Path(trace).name] if trace else patterns
    with steps(console, "building the controller", len(timings) * len(names)) as step:
        for device in timings:
            memory = Memory(device, BEAT_BYTES, 16, policy=ControllerPolicy(**json.loads(policy or "{}")))
            for name in names:
                step(f"{device} {name}")
                beats = len(memory.beats)
                address, write = (read_trace(Path(trace), beats) if trace else
                                  PATTERNS[name](np.random.default_rng(1), beats, requests))
                result, case = measure(memory, address, write), f"{device} {name}"
                metrics += [metric("share_of_peak", case, result["share_of_peak"], "ratio"),
                            metric("share_of_refresh_limit", case, result["of_limit"], "ratio"),
                            metric("median_latency", case, result["median_latency"], "cycles"),
                            metric("longest_latency", case, result["longest_latency"], "cycles")]
    return metrics
