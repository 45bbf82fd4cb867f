"""Convolution as a product over an access pattern (im2col without the copy), and pooling as a reduction over one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod

import numpy as np

from ..graph.emit import Emitter
from ..graph.ir import Reduction
from ..graph.scalar import Scalar
from .operators import Call, lowers

__all__ = ["product"]

FEW = 9          # windows of as many places are folded place by place, element by element


@dataclass(frozen=True)
class _Geometry:
    """Kernel, strides, dilations and padding of the spatial axes."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, call: Call, kernel: tuple[int, ...]) -> _Geometry:
        rank, spatial = len(kernel), call.shape(0)[2:]
        strides, dilations = tuple(call.get("strides", (1,) * rank)), tuple(call.get("dilations", (1,) * rank))
        pads, auto = tuple(call.get("pads", (0,) * 2 * rank)), call.get("auto_pad", "NOTSET")
        spans = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
        wanted = call.output().shape[2:]
        total = [max((out - 1) * step + span - size, 0) for out, step, span, size in zip(wanted, strides, spans, spatial, strict=True)]
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            before = tuple(count // 2 if auto == "SAME_UPPER" else count - count // 2 for count in total)
        else:
            before = (0,) * rank if auto == "VALID" else pads[:rank]
        # The end is padded, or cut off, to what the last window needs: that covers ceil_mode.
        after = tuple((out - 1) * step + span - size - low
                      for out, step, span, size, low in zip(wanted, strides, spans, spatial, before, strict=True))
        return cls(kernel, strides, dilations, before, after)

    def windows(self, e: Emitter, x: str, fill: float = 0.0) -> str:
        """x[B, C, *S] -> [B, C, *positions, *kernel]."""
        padded = e.pad(x, (0, 0, *self.before), (0, 0, *self.after), fill)
        return e.windows(padded, self.kernel, self.strides, self.dilations)


@lowers("Conv")
def _conv(e: Emitter, call: Call) -> str:
    features, channels, *kernel = call.shape(1)
    groups = call.get("group", 1)
    with e.composite("conv"):
        taken = _Geometry.of(call, tuple(kernel)).windows(e, call[0])
        bias = call[2] if call.has(2) else None
        if channels == 1 and features == groups:
            return _depthwise(e, call, taken, bias)
        parts = []
        for group in range(groups):
            size = features // groups
            chosen = e.slice(bias, 0, group * size, size) if bias else None
            parts.append(product(e, e.slice(taken, 1, group * channels, channels), e.slice(call[1], 0, group * size, size), chosen))
        return e.concat(parts, 1)


def product(e: Emitter, taken: str, weights: str, bias: str | None) -> str:
    """windows[B, C, *positions, *kernel] and weights[F, C, *kernel] -> [B, F, *positions].

    Rows are batch and positions; the sum runs over channels and kernel in the order in which they lie in memory.
    """
    features, channels, *kernel = e.shape(weights)
    rank, batch = len(kernel), e.shape(taken)[0]
    positions = e.shape(taken)[2:2 + rank]
    inner = channels * prod(kernel)
    inside = _in_memory_order(e, taken, (1, *range(2 + rank, 2 + 2 * rank)))
    columns = e.reshape(e.transpose(taken, (0, *range(2, 2 + rank), *inside)), (batch * prod(positions), inner))
    # The weights' axes are features, channels, *kernel.
    turned = e.transpose(weights, (0, *(1 if axis == 1 else axis - rank for axis in inside)))
    product = e.matmul(columns, e.swap(e.reshape(turned, (features, inner))), bias)
    return e.transpose(e.reshape(product, (batch, *positions, features)), (0, 1 + rank, *range(1, 1 + rank)))


def _in_memory_order(e: Emitter, x: str, axes: Sequence[int]) -> list[int]:
    """These axes of a view, the one with the largest steps first: neighbours in memory are then neighbours in a row."""
    strides = e.source(x)[1].strides
    return sorted(axes, key=lambda axis: -strides[axis]) if strides else list(axes)


def _depthwise(e: Emitter, call: Call, taken: str, bias: str | None) -> str:
    """One channel each: the windows' taps, shifted views of the picture, are added up one after the other."""
    features, _, *kernel = call.shape(1)
    rank, total = len(kernel), None
    per_channel = (features, *(1,) * rank)
    weights = e.reshape(call[1], (features, prod(kernel)))
    if bias:
        total = e.expand(e.reshape(bias, (1, *per_channel)), call.output().shape)
    for number, tap in enumerate(np.ndindex(*kernel)):
        shifted = _tap(e, taken, tap)
        weight = e.reshape(e.slice(weights, 1, number, 1), per_channel)
        if total is None:
            total = e.map(lambda x, w: x * w, shifted, weight, dtype=call.output_dtype())
        else:
            total = e.map(lambda x, w, y: x.mac(w, y), shifted, weight, total, dtype=call.output_dtype())
    return total


@lowers("MaxPool", "AveragePool")
def _pool(e: Emitter, call: Call) -> str:
    average = call.node.op == "AveragePool"
    if len(call.node.outputs) > 1:
        raise call.error("the indices of the maxima are not there")
    kernel = tuple(call.get("kernel_shape"))
    geometry, rank = _Geometry.of(call, kernel), len(kernel)
    with e.composite("pool"):
        taken = geometry.windows(e, call[0], 0.0 if average else -np.inf)
        if prod(kernel) <= FEW:
            result = _folded(e, [_tap(e, taken, tap) for tap in np.ndindex(*kernel)], average)
        else:
            result = e.reduce(Reduction.SUM if average else Reduction.MAX, taken, range(2 + rank, 2 + 2 * rank), keepdims=False)
        if not average:
            return result
        counts = _counts(call, geometry)
        if (counts == counts.flat[0]).all():
            factor = float(np.float32(1 / counts.flat[0]))
            return e.map(lambda x: x * factor, result, dtype=call.output_dtype())
        return e.map(lambda x, y: x * y, result, e.floats(1 / counts), dtype=call.output_dtype())


def _tap(e: Emitter, taken: str, tap: Sequence[int]) -> str:
    """One place of every window: windows[B, C, *positions, *kernel] -> [B, C, *positions], a shifted view."""
    rank = len(tap)
    for axis, place in enumerate(tap):
        taken = e.slice(taken, 2 + rank + axis, place, 1)
    return e.reshape(taken, e.shape(taken)[:2 + rank])


def _folded(e: Emitter, parts: list[str], add: bool) -> str:
    """The sum or the maximum of tensors, three at a time."""
    step = Scalar.__add__ if add else Scalar.maximum
    total = parts[0]
    for start in range(1, len(parts), 2):
        total = e.map(lambda x, *others: reduce(step, others, x), total, *parts[start:start + 2], dtype=e.dtype(total))
    return total


def _counts(call: Call, geometry: _Geometry) -> np.ndarray:
    """How many elements each window averages over, [*positions]."""
    result, pads = np.ones(()), call.get("pads", (0,) * 2 * len(geometry.kernel))
    for axis, (kernel, step, dilation, low) in enumerate(zip(geometry.kernel, geometry.strides, geometry.dilations, geometry.before,
                                                             strict=True)):
        size, positions = call.shape(0)[2 + axis], call.output().shape[2 + axis]
        first, last = 0, size
        if call.get("count_include_pad", 0):
            first, last = -low, size + (pads[len(geometry.kernel) + axis] if call.get("auto_pad", "NOTSET") == "NOTSET"
                                        else geometry.after[axis])
        taps = np.arange(positions)[:, None] * step - low + np.arange(kernel) * dilation
        result = result[..., None] * ((taps >= first) & (taps < last)).sum(axis=1)
    return result


@lowers("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(e: Emitter, call: Call) -> str:
    shape = call.shape(0)
    average = call.node.op == "GlobalAveragePool"
    result = e.reduce(Reduction.SUM if average else Reduction.MAX, call[0], range(2, len(shape)))
    factor = float(np.float32(1 / prod(shape[2:])))
    return e.map(lambda x: x * factor, result, dtype=call.output_dtype()) if average else result
