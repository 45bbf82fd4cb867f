"""What the SIMD programs of this folder have in common."""

from __future__ import annotations

import numpy as np

from hw.config import PCUConfig
from hw.pcu.layout import Reduce
from hw.pcu.program import Mask

__all__ = ["float_word", "reducing", "row_loops"]


def row_loops(config: PCUConfig, rows: int, n: int) -> dict:
    """Loops and mask of a program over x[rows, n]."""
    return {"loops": (-(-n // config.lanes), rows), "mask": Mask(level=0, bound=n)}


def reducing(kind: Reduce, to_vector: bool = False) -> dict:
    """One result for each row: a scalar, or a vector with it in all lanes."""
    return {"reduce": kind, "produce": 1, "to_vector": to_vector, "to_scalar": not to_vector}


def float_word(value: float) -> int:
    """The FP32 bit pattern of ``value``, as a program's constant."""
    return int(np.float32(value).view(np.uint32))
