"""What the router sees of a prompt: counts of bytes and of hashed byte pairs."""

from __future__ import annotations

import numpy as np

__all__ = ["FEATURES", "WINDOW", "features"]

FEATURES = 256
WINDOW = 96              # bytes of the prompt that count (its last ones)
BYTES = 128              # features of single bytes (the upper half of the byte values folded onto the control codes)


def features(prompt: bytes | np.ndarray) -> np.ndarray:
    """float32 [FEATURES], each a BF16 value: square roots of counts over the root of the length, rounded to 1/64.

    The first 128 are byte values modulo 128; the others are pairs of neighbours, hashed.
    """
    data = np.frombuffer(bytes(prompt), dtype=np.uint8).astype(np.int64)[-WINDOW:]
    counts = np.bincount(data % BYTES, minlength=FEATURES).astype(np.float64)
    pairs = (data[:-1] * 31 + data[1:] * 17 + (data[:-1] >> 5) * 7) % (FEATURES - BYTES)
    counts += np.bincount(BYTES + pairs, minlength=FEATURES)
    return (np.rint(64 * np.sqrt(counts / max(1, len(data)))) / 64).astype(np.float32)
