"""Bit-exact numpy models of this folder, on arrays of binary32 bit patterns (uint32). No HDL is imported."""

import numpy as np

__all__ = ["CANONICAL_NAN", "as_float", "bf16_to_fp32", "canonical", "counter_random", "fp32_add", "fp32_less", "fp32_max",
           "fp32_min", "fp32_mul", "fp32_sub", "fp32_to_bf16", "fp32_to_bf16_stochastic", "fp32_to_int32", "int32_to_fp32",
           "mac", "matmul", "rounded_to_bf16", "to_bits"]

CANONICAL_NAN = np.uint32(0x7FC00000)


def to_bits(values) -> np.ndarray:
    """uint32 bit patterns of float32 values; uint32 arrays pass unchanged."""
    values = np.asarray(values)
    if values.dtype == np.uint32:
        return values
    return np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)


def as_float(bits) -> np.ndarray:
    """float32 values of bit patterns; float32 arrays pass unchanged."""
    bits = np.asarray(bits)
    if bits.dtype == np.float32:
        return bits
    return np.ascontiguousarray(bits, dtype=np.uint32).view(np.float32)


def canonical(values) -> np.ndarray:
    """Bit patterns with every NaN replaced by the canonical one."""
    bits = to_bits(values)
    return np.where((bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000), CANONICAL_NAN, bits)


def fp32_add(a, b) -> np.ndarray:
    """``a + b`` in one rounding, as ``FpAdd``."""
    with np.errstate(all="ignore"):
        return canonical(as_float(a) + as_float(b))


def fp32_sub(a, b) -> np.ndarray:
    """``a - b`` in one rounding: ``FpAdd`` with the sign of ``b`` flipped."""
    with np.errstate(all="ignore"):
        return canonical(as_float(a) - as_float(b))


def fp32_mul(a, b) -> np.ndarray:
    """``a * b`` in one rounding, as ``FpMul``."""
    with np.errstate(all="ignore"):
        return canonical(as_float(a) * as_float(b))


def mac(accumulator, a, b) -> np.ndarray:
    """``accumulator + a * b`` in two roundings: an ``FpMul`` into an ``FpAdd``."""
    return fp32_add(accumulator, fp32_mul(a, b))


def bf16_to_fp32(values) -> np.ndarray:
    """FP32 bit patterns of BF16 bit patterns (uint16); exact, NaN canonical."""
    return canonical(np.asarray(values, dtype=np.uint16).astype(np.uint32) << np.uint32(16))


def fp32_to_bf16(values) -> np.ndarray:
    """BF16 bit patterns (uint16) by round to nearest even; NaN becomes 0x7FC0."""
    bits = canonical(values)
    lsb = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = ((bits.astype(np.uint64) + np.uint64(0x7FFF) + lsb) >> np.uint64(16)).astype(np.uint16)
    return np.where(bits == CANONICAL_NAN, np.uint16(0x7FC0), rounded)


def matmul(x, w) -> np.ndarray:
    """x[rows, k] @ w[k, features], float32, as a systolic PCU sums: from zero, one k after the other, product and sum rounded."""
    sums = np.zeros((len(x), w.shape[1]), np.float32)
    for k in range(len(w)):
        sums = sums + x[:, k:k + 1] * w[k]
    return sums


def rounded_to_bf16(values) -> np.ndarray:
    """float32 ``values`` rounded to what BF16 holds (nearest even), as float32."""
    return as_float(bf16_to_fp32(fp32_to_bf16(np.asarray(values, np.float32))))


def fp32_to_bf16_stochastic(values, random) -> np.ndarray:
    """BF16 bit patterns: the low 16 bits of ``random`` are added below the cut. As :func:`hw.fp.stochastic.round_stochastic`."""
    bits = canonical(values)
    magnitude, sign = bits & np.uint32(0x7FFFFFFF), bits & np.uint32(1 << 31)
    rounded = magnitude + (np.asarray(random, dtype=np.uint32) & np.uint32(0xFFFF)) | sign
    finite = magnitude < np.uint32(0x7F800000)
    return (np.where(finite, rounded, bits) >> np.uint32(16)).astype(np.uint16)


def counter_random(seed, stream, count) -> np.ndarray:
    """The 32-bit random word of :class:`hw.fp.stochastic.CounterRandom`."""
    seed, stream, count = (np.atleast_1d(np.asarray(x, dtype=np.uint32)) for x in (seed, stream, count))
    x = (count + (stream & np.uint32(0xFFFF)) * np.uint32(0x9E3779B9)) ^ seed
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def _ordered(bits: np.ndarray) -> np.ndarray:
    """Integers in the order of the numbers, -0 below +0."""
    signed = bits.astype(np.int64)
    return np.where(bits >> np.uint32(31), -(signed & 0x7FFFFFFF) - 1, signed)


def _least(a, b, larger: bool) -> np.ndarray:
    a, b = np.broadcast_arrays(canonical(a), canonical(b))
    first = (_ordered(a) > _ordered(b)) if larger else (_ordered(a) < _ordered(b))
    return np.where((a == CANONICAL_NAN) | (b == CANONICAL_NAN), CANONICAL_NAN, np.where(first, a, b))


def fp32_min(a, b) -> np.ndarray:
    """The smaller number, -0 below +0; NaN when either is NaN (IEEE 754-2019 ``minimum``)."""
    return _least(a, b, larger=False)


def fp32_max(a, b) -> np.ndarray:
    """The larger number, +0 above -0; NaN when either is NaN (IEEE 754-2019 ``maximum``)."""
    return _least(a, b, larger=True)


def fp32_less(a, b) -> np.ndarray:
    """``a < b`` as bool: false with NaN, -0 equals +0."""
    return as_float(a) < as_float(b)


def fp32_to_int32(values) -> np.ndarray:
    """Two's complement bit patterns, cut towards zero; saturating; NaN gives 0."""
    with np.errstate(invalid="ignore"):
        number = np.nan_to_num(as_float(values).astype(np.float64), nan=0.0, posinf=2.0 ** 31, neginf=-2.0 ** 31)
        return np.clip(np.trunc(number), -2 ** 31, 2 ** 31 - 1).astype(np.int64).astype(np.uint32)


def int32_to_fp32(values) -> np.ndarray:
    """FP32 bit patterns of two's complement integers, round to nearest even."""
    return to_bits(np.asarray(values, dtype=np.uint32).view(np.int32).astype(np.float32))
