"""Bit-exact numpy models of this folder, on arrays of binary32 bit patterns (uint32). No HDL is imported."""

import numpy as np

__all__ = ["CANONICAL_NAN", "as_float", "bf16_to_fp32", "canonical", "fp32_add", "fp32_mul", "fp32_sub", "fp32_to_bf16",
           "mac", "to_bits"]

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
