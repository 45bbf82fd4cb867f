"""What both kinds of simulation do to the example device; it returns everything that must be the same on both."""

import numpy as np

__all__ = ["scenario"]


def scenario(host) -> dict:
    """Registers, window traffic of all alignments, an interrupt; blocking calls only."""
    rng = np.random.default_rng(11)
    for index in range(2, 16):
        host.reg_write(4 * index, 77777 * index)
    registers = [host.reg_read(4 * index) for index in range(2, 16)]
    host.window_write(0, np.zeros(8192, np.uint8))
    for _ in range(12):
        values = rng.integers(0, 256, int(rng.integers(1, 700)), np.uint8)
        host.window_write(int(rng.integers(0, 7400)), values)
    host.reg_write(0, 2_000)
    early = host.run_until_interrupt(100)
    start = host.cycles
    late = host.run_until_interrupt(5_000)
    waited = 1_800 < host.cycles - start < 1_905
    return {"registers": registers, "memory": host.window_read(0, 8192).tobytes().hex(), "early": early, "late": late,
            "waited": waited}
