"""The traces on which the controller is compared with other simulators: 12 000 accesses of 64 bytes within 16 MB.

    python -m bench.dram_traces DIRECTORY        writes NAME.trace files for rdu bench dram --trace and for Ramulator's load/store trace
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ACCESSES, BYTES, LINE = 12_000, 16 << 20, 64


def traces(seed: int = 1) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Addresses and directions (1: store) by name."""
    random, step = np.random.default_rng(seed), np.arange(ACCESSES)
    reads, half, third = np.zeros(ACCESSES, int), random.integers(0, 2, ACCESSES), random.random(ACCESSES) > 2 / 3
    anywhere, stride = random.integers(0, BYTES // LINE, ACCESSES) * LINE, 4096
    return {
        "sequential_read": (step * LINE, reads), "sequential_write": (step * LINE, reads + 1),
        "copy": (step // 2 * LINE + step % 2 * (BYTES // 2), step % 2),
        "sequential_50-50": (step * LINE, half), "sequential_67-33": (step * LINE, third),
        "strided_256_B": (step * 256, reads), "strided_4_KiB": (step * stride % BYTES + step * stride // BYTES * LINE, reads),
        "random": (anywhere, reads), "random_67-33": (anywhere, random.random(ACCESSES) > 2 / 3),
        "random_50-50": (anywhere, random.integers(0, 2, ACCESSES)),
        # Four streams that take turns, a quarter of the memory and 37 lines apart.
        "4_streams": (step // 4 * LINE + step % 4 * (BYTES // 4 + 37 * LINE), reads),
    }


def main() -> None:
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for name, (addresses, stores) in traces().items():
        lines = (f"{'ST' if store else 'LD'} {address}\n" for address, store in zip(addresses, stores, strict=True))
        (target / f"{name}.trace").write_text("".join(lines))


if __name__ == "__main__":
    main()
