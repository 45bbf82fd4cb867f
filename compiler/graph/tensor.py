"""Typed, named values of a graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from math import prod

import ml_dtypes
import numpy as np

__all__ = ["DType", "GraphError", "Quantised", "Tensor"]


class GraphError(ValueError):
    """A graph whose shapes, types or order contradict each other, or that asks for something the compiler does not have."""


class DType(Enum):
    """Element types. Values are numpy arrays of :attr:`numpy`; a BF16 array's bit patterns are ``value.view(np.uint16)``."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT32 = "int32"        # also truth values, 0 and 1
    INT8 = "int8"          # in memory only: a MAP reads it as an INT32, a MATMUL as weights without their scales
    INT64 = "int64"        # in imported graphs only, as are BOOL and UINT8: lowering makes them INT32
    BOOL = "bool"
    UINT8 = "uint8"

    @property
    def numpy(self) -> np.dtype:
        return np.dtype({DType.FP32: np.float32, DType.BF16: ml_dtypes.bfloat16, DType.INT32: np.int32, DType.INT8: np.int8,
                         DType.INT64: np.int64, DType.BOOL: np.bool_, DType.UINT8: np.uint8}[self])

    @property
    def is_core(self) -> bool:
        """Whether core graphs, and the hardware, have it."""
        return self not in (DType.INT64, DType.BOOL, DType.UINT8)

    @property
    def bytes(self) -> int:
        return self.numpy.itemsize

    @property
    def is_float(self) -> bool:
        return self in (DType.FP32, DType.BF16)

    @classmethod
    def of(cls, array: np.ndarray) -> DType:
        """The type of an array; :class:`GraphError` for arrays of other types."""
        for kind in cls:
            if array.dtype == kind.numpy:
                return kind
        raise GraphError(f"element type {array.dtype} is not there; there are {[kind.value for kind in cls]}")


@dataclass(frozen=True)
class Quantised:
    """What a constant is the product of: INT8 numbers and FP32 scales, both of its shape."""

    whole: np.ndarray
    scale: np.ndarray

    def at(self, indices: np.ndarray) -> Quantised:
        """Those of the elements ``indices`` of the flattened constant."""
        return Quantised(self.whole.reshape(-1)[indices], self.scale.reshape(-1)[indices])


@dataclass(frozen=True)
class Tensor:
    """A named value. ``shape`` is None only between import and shape inference; ``value`` is set for constants, ``quantised`` for those
    that are INT8 times scales."""

    name: str
    shape: tuple[int, ...] | None
    dtype: DType | None
    value: np.ndarray | None = field(default=None, repr=False, compare=False)
    quantised: Quantised | None = field(default=None, repr=False, compare=False)

    @property
    def is_constant(self) -> bool:
        return self.value is not None

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * self.dtype.bytes

    def __str__(self) -> str:
        kind = self.dtype.value if self.dtype else "?"
        return f"{self.name}: {kind}{list(self.shape) if self.shape is not None else '[?]'}"
