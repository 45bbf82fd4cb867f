"""Share of a memory channel's peak that the controller reaches, for each timing and pattern.

    python -m bench.dram [--timing NAME ...] [--pattern NAME ...] [--requests N] [--trace FILE] [--json FILE]

Metric ``share_of_peak``: beats moved, times the cycles a beat takes on the data bus, over the cycles from the first request to
the last answer. ``of_limit``: the same over what all-bank refresh leaves. Requests are offered as fast as they are taken. A trace
has one access a line, "LD address" or "ST address" (bytes, as Ramulator's load/store trace), run as two beats of 32 bytes each.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np

from hw.dram.controller import ControllerPolicy
from hw.dram.timing import DEVICES
from tests.dram.harness import Memory

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


def trace(path: Path, beats: int) -> tuple[np.ndarray, np.ndarray]:
    """Beats and directions of a load/store trace; addresses wrap around at the size of the channel."""
    lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
    first = np.array([int(address, 0) for _, address in lines]) // 64 * (64 // BEAT_BYTES)
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


def activate_limit(memory: Memory, beats_per_activate: int) -> float:
    """Share of peak that tFAW and tRRD leave when every activate serves so many beats."""
    t = memory.timing
    return min(1.0, beats_per_activate * t.ccd_s / max(t.rrd_s, math.ceil(t.faw / t.faw_activates))) * t.refresh_limit


def main(arguments: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(prog="bench.dram", description=__doc__.splitlines()[0])
    parser.add_argument("--timing", nargs="+", choices=DEVICES, default=[*DEVICES])
    parser.add_argument("--pattern", nargs="+", choices=PATTERNS, default=[*PATTERNS])
    parser.add_argument("--requests", type=int, default=60_000)
    parser.add_argument("--trace", type=Path, help="a load/store trace instead of the patterns")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--policy", type=json.loads, default={}, help='changes of ControllerPolicy, e.g. \'{"reads": 16}\'')
    options = parser.parse_args(arguments)
    results = []
    for timing in options.timing:
        memory = Memory(timing, BEAT_BYTES, 16, policy=ControllerPolicy(**options.policy))
        cases = {options.trace.name: None} if options.trace else {name: PATTERNS[name] for name in options.pattern}
        for name, pattern in cases.items():
            random, beats = np.random.default_rng(1), len(memory.beats)
            address, write = trace(options.trace, beats) if pattern is None else pattern(random, beats, options.requests)
            results.append({"metric": "share_of_peak", "case": f"{timing} {name}", **measure(memory, address, write)})
            print(json.dumps(results[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return results


if __name__ == "__main__":
    main(sys.argv[1:])
