"""What the tail's functions should give, in double precision, and how far a result is from it."""

import numpy as np
from scipy import special

__all__ = ["FUNCTIONS", "MONOTONIC", "relative_error"]

FUNCTIONS = {
    "EXP": np.exp, "LOG": np.log, "RECIPROCAL": lambda x: 1 / x, "RSQRT": lambda x: 1 / np.sqrt(x), "SQRT": np.sqrt,
    "TANH": np.tanh,
    "SIGMOID": special.expit, "GELU": lambda x: x * special.ndtr(x), "SILU": lambda x: x * special.expit(x),
    "SIN": np.sin, "COS": np.cos,
}
# Functions that nowhere turn, and whether they rise.
MONOTONIC = {"EXP": True, "LOG": True, "RECIPROCAL": False, "RSQRT": False, "SQRT": True, "TANH": True, "SIGMOID": True}
SMALLEST_NORMAL = 2.0 ** -126


def relative_error(name: str, bits: np.ndarray, results: np.ndarray) -> np.ndarray:
    """Relative error of the results (bit patterns) where operand and true value are finite, else 0.

    Below the smallest normal number the error is taken relative to that number, as it cannot be smaller than half a unit of
    the subnormals. Where the true value is not a finite binary32 number the result has to be it exactly: else the error is inf.
    """
    with np.errstate(all="ignore"):
        x = bits.view(np.float32).astype(np.float64)
        true = FUNCTIONS[name](x)
        if name in ("GELU", "SILU"):
            true = np.where(x == -np.inf, -0.0, true)
        value = results.view(np.float32)
        rounded = true.astype(np.float32)
        error = np.abs(value - true) / np.maximum(np.abs(true), SMALLEST_NORMAL)
        exact = ~(np.isfinite(rounded) & np.isfinite(x))
        same = (value == rounded) | (np.isnan(value) & np.isnan(rounded))
        # Just past the largest finite number the result may still be that number.
        same |= exact & np.isfinite(x) & (np.abs(value - true) <= np.abs(true) * 2.0 ** -22)
    return np.where(exact, np.where(same, 0.0, np.inf), error)
