"""Operands in the manner of TestFloat: every corner value, and random ones weighted to the edges."""

import numpy as np

__all__ = ["SEED", "corners", "pairs", "weighted"]

SEED = 20260


def corners() -> np.ndarray:
    """Both signs of: zeros, smallest and largest subnormals, powers of two and their neighbours, largest numbers, inf, NaNs."""
    exponents = [0, 1, 2, 23, 24, 25, 63, 64, 102, 103, 104, 125, 126, 127, 128, 129, 149, 150, 151, 157, 158, 159, 190, 230,
                 252, 253, 254]
    fractions = [0, 1, 2, 0x3FFFFF, 0x400000, 0x400001, 0x555555, 0x7FFFFE, 0x7FFFFF]
    bits = [e << 23 | f for e in exponents for f in fractions]
    bits += [0x7F800000, 0x7F800001, 0x7FBFFFFF, 0x7FC00000, 0x7FC00001, 0x7FFFFFFF]
    positive = np.array(bits, dtype=np.uint32)
    return np.concatenate([positive, positive | np.uint32(1 << 31)])


def weighted(count: int, rng: np.random.Generator) -> np.ndarray:
    """Random bit patterns: uniform ones, few fraction bits set, long runs of ones, subnormals, exponents near the bias."""
    uniform = rng.integers(0, 1 << 32, count, dtype=np.uint32)
    shift, all_ones = rng.integers(0, 23, count, dtype=np.uint32), np.uint32(0x7FFFFF)
    empty = uniform & ~all_ones
    sparse, runs, holes = empty | np.uint32(1) << shift, empty | all_ones >> shift, empty | all_ones << shift & all_ones
    subnormal = uniform & np.uint32(0x807FFFFF)
    near = (uniform & np.uint32(0x807FFFFF)) | rng.integers(115, 140, count, dtype=np.uint32) << np.uint32(23)
    kinds = np.stack([uniform, sparse, runs, holes, subnormal, near])
    return kinds[rng.choice(6, count, p=[0.2, 0.15, 0.15, 0.15, 0.1, 0.25]), np.arange(count)]


def pairs(count: int, seed: int = SEED) -> tuple[np.ndarray, np.ndarray]:
    """All corners against all corners, then random pairs, a third of which have exponents at most 30 apart or cancel."""
    rng = np.random.default_rng(seed)
    a, b = (grid.ravel() for grid in np.meshgrid(corners(), corners()))
    x, y = weighted(count, rng), weighted(count, rng)
    close = rng.random(count) < 1 / 3
    offset = rng.integers(-30 << 23, 30 << 23, count) >> rng.integers(0, 40, count)
    y = np.where(close, (x.astype(np.int64) + offset & 0x7FFFFFFF | (y & np.uint32(1 << 31))).astype(np.uint32), y)
    return np.concatenate([a, x]), np.concatenate([b, y])
