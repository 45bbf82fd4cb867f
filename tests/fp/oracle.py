"""Independent references: Berkeley SoftFloat, and MPFR. One call per operand; NaN results are made canonical."""

import gmpy2
import numpy as np
import softfloatpy as sf

from hw.fp.model import canonical

__all__ = ["mpfr_binary", "mpfr_round", "softfloat_binary", "softfloat_unary"]


def _float32(bits) -> list:
    return [sf.Float32.from_bytes(int(b).to_bytes(4, "big")) for b in bits]


def _integer(value) -> int:
    return int.from_bytes(value.to_bytes(), "big")


def softfloat_binary(name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``name`` is a function of softfloatpy on two binary32 numbers, round to nearest even."""
    function = getattr(sf, name)
    return canonical(np.array([_integer(function(x, y)) for x, y in zip(_float32(a), _float32(b), strict=True)], dtype=np.uint32))


def softfloat_unary(name: str, a: np.ndarray) -> np.ndarray:
    function = getattr(sf, name)
    return canonical(np.array([_integer(function(x)) for x in _float32(a)], dtype=np.uint32))


def mpfr_round(value) -> int:
    """A number as binary32, rounded once from whatever precision it has."""
    with gmpy2.context(gmpy2.ieee(32), subnormalize=True) as context:
        context.clear_flags()
        rounded = gmpy2.mpfr(value)
    return int(np.float32(float(rounded)).view(np.uint32))


def mpfr_binary(operator, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``operator`` on gmpy2 numbers under binary32's precision and exponent range with subnormals."""
    results = []
    with gmpy2.context(gmpy2.ieee(32), subnormalize=True):
        for x, y in zip(a.view(np.float32).tolist(), b.view(np.float32).tolist(), strict=True):
            results.append(float(operator(gmpy2.mpfr(x), gmpy2.mpfr(y))))
    return canonical(np.array(results, dtype=np.float32))
