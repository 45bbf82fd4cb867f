"""What every ALU operation computes, on arrays of uint32; no HDL is imported."""

import numpy as np

from hw.fp.model import as_float, canonical, fp32_to_bf16, mac, to_bits

from .layout import Op

__all__ = ["PARTIALS", "evaluate"]

PARTIALS = 4       # interleaved partial sums of a reduction over time


def _ordered(bits: np.ndarray) -> np.ndarray:
    """Integers in the total order of FP32: -0 below +0."""
    signed = bits.astype(np.int32).astype(np.int64)
    return np.where(signed < 0, signed ^ 0x7FFFFFFF, signed)


def _to_int(bits: np.ndarray) -> np.ndarray:
    value = as_float(bits).astype(np.float64)
    value = np.clip(np.trunc(np.nan_to_num(value, nan=0.0, posinf=2.0**40, neginf=-2.0**40)), -2.0**31, 2.0**31 - 1)
    return value.astype(np.int64).astype(np.uint32)


def evaluate(op: Op, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The result of ``op`` on uint32 operands."""
    sa, sb = a.astype(np.int32), b.astype(np.int32)
    shift = b & np.uint32(31)
    nan = np.isnan(as_float(a)) | np.isnan(as_float(b))
    quiet = np.uint32(0x7FC00000)
    with np.errstate(all="ignore"):
        match op:
            case Op.MAC:
                result = mac(c, a, b)
            case Op.ADD:
                result = a + b
            case Op.SUB:
                result = a - b
            case Op.MUL:
                result = a * b
            case Op.AND:
                result = a & b
            case Op.OR:
                result = a | b
            case Op.XOR:
                result = a ^ b
            case Op.SHL:
                result = a << shift
            case Op.SHR:
                result = a >> shift
            case Op.SAR:
                result = sa >> shift.astype(np.int32)
            case Op.MIN:
                result = np.minimum(sa, sb)
            case Op.MAX:
                result = np.maximum(sa, sb)
            case Op.FMIN:
                result = np.where(nan, quiet, np.where(_ordered(a) < _ordered(b), a, b))
            case Op.FMAX:
                result = np.where(nan, quiet, np.where(_ordered(a) < _ordered(b), b, a))
            case Op.EQ:
                result = a == b
            case Op.LT:
                result = sa < sb
            case Op.LE:
                result = sa <= sb
            case Op.FEQ:
                result = as_float(a) == as_float(b)
            case Op.FLT:
                result = as_float(a) < as_float(b)
            case Op.FLE:
                result = as_float(a) <= as_float(b)
            case Op.SELECT:
                result = np.where(c != 0, a, b)
            case Op.TO_INT:
                result = _to_int(a)
            case Op.TO_FP:
                result = to_bits(sa.astype(np.float32))
            case Op.TO_BF16:
                result = canonical(fp32_to_bf16(a).astype(np.uint32) << np.uint32(16))
            case _:
                raise ValueError(f"op={op} has no result")
    return result.astype(np.uint32)
