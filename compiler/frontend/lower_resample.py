"""Pad in all its modes, Resize, and transposed convolution: what puts elements further apart, or more of them beside each other."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from ..graph.emit import Emitter
from .operators import Call, lowers

__all__: list[str] = []

RESIZE = ("antialias", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "mode", "nearest_mode")


@lowers("Pad")
def _pad(e: Emitter, call: Call) -> str:
    mode, rank, pads = call.get("mode", "constant"), len(call.shape(0)), call.integers(1)
    axes = [axis % rank for axis in call.integers(3, list(range(rank)))]
    before, after = [0] * rank, [0] * rank
    for number, axis in enumerate(axes):
        before[axis], after[axis] = pads[number], pads[len(axes) + number]
    if mode == "constant":
        fill = call.constant(2)
        return e.pad(call[0], before, after, 0.0 if fill is None else fill.item())
    x = e.pad(call[0], [min(low, 0) for low in before], [min(high, 0) for high in after])
    for axis, (low, high) in enumerate(zip(before, after, strict=True)):
        size = e.shape(x)[axis]
        if mode != "edge" and max(low, high) > size - (mode == "reflect"):
            raise call.error(f"axis {axis} of {size} elements padded by {max(low, high)} in mode {mode!r}")
        parts = [_beside(e, x, axis, mode, low, True)] if low > 0 else []
        parts += [x, _beside(e, x, axis, mode, high, False)] if high > 0 else [x]
        x = e.concat(parts, axis)
    return x


def _beside(e: Emitter, x: str, axis: int, mode: str, count: int, first: bool) -> str:
    """What lies before (``first``) or behind the elements of an axis."""
    size = e.shape(x)[axis]
    if mode == "edge":
        return e.repeat(e.slice(x, axis, 0 if first else size - 1, 1), axis, count)
    if mode == "wrap":
        return e.slice(x, axis, size - count if first else 0, count)
    return e.slice(x, axis, count if first else size - 2, count, -1)


@lowers("Resize")
def _resize(e: Emitter, call: Call) -> str:
    """Axis by axis: each element a whole number of times is an access pattern; else a product with the weights that ONNX's own
    reference gives the unit vectors."""
    if call.get("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise call.error("tf_crop_and_resize is not there")
    rounding = call.get("coordinate_transformation_mode", "half_pixel"), call.get("nearest_mode", "round_prefer_floor")
    whole = call.get("mode", "nearest") == "nearest" and rounding in (("half_pixel", "round_prefer_floor"), ("asymmetric", "floor"))
    before, after, x = call.shape(0), call.output().shape, call[0]
    scales = _scales(call)
    if rounding[0] == "pytorch_half_pixel":
        scales = [None if new == 1 else scale for scale, new in zip(scales, after, strict=True)]
    for axis, (old, new) in enumerate(zip(before, after, strict=True)):
        if new == old and scales[axis] in (None, 1.0):
            continue
        if whole and new % old == 0:
            x = e.repeat(x, axis, new // old)
            continue
        moved = e.move_last(x, axis)
        rows = e.reshape(moved, (prod(e.shape(moved)[:-1]), old))
        weights = e.constant(_weights(call, old, new, scales[axis]).astype(e.dtype(x).numpy))
        x = e.move_from_last(e.reshape(e.matmul(rows, weights), (*e.shape(moved)[:-1], new)), axis)
    return x


def _scales(call: Call) -> list[float | None]:
    """A scale for each axis, None where the sizes tell it; attribute ``axes`` says which axes are given."""
    given, rank = call.constant(2), len(call.shape(0))
    scales: list[float | None] = [None] * rank
    if given is None or not given.size or call.get("coordinate_transformation_mode", "half_pixel") == "align_corners":
        return scales
    for axis, scale in zip(call.get("axes", range(rank)), given, strict=True):
        scales[axis % rank] = float(str(scale))                # 0.7, not the FP32 next to it
    return scales


def _weights(call: Call, size: int, new: int, scale: float | None) -> np.ndarray:
    """[size, new]: what one axis is multiplied with."""
    attributes = {name: call.get(name) for name in RESIZE if call.get(name) is not None}
    inputs = ["x", "", "", "sizes"] if scale is None else ["x", "", "scales"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Resize", inputs, ["y"], **attributes)], "axis",
                                   [onnx.helper.make_empty_tensor_value_info(name) for name in (inputs[0], inputs[-1])],
                                   [onnx.helper.make_empty_tensor_value_info("y")])
    opset = onnx.helper.make_opsetid("", max(call.get("opset"), 18))
    [weights] = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=[opset])).run(
        None, {"x": np.eye(size), inputs[-1]: np.array([size, new] if scale is None else [1.0, scale])})
    if weights.shape != (size, new):
        raise call.error(f"{size} elements times {scale} make {weights.shape[1]}, not {new}")
    return weights


@lowers("ConvTranspose")
def _conv_transpose(e: Emitter, call: Call) -> str:
    """Windows that meet without overlap are one product; else a convolution of the elements put ``strides`` apart."""
    channels, features, *kernel = call.shape(1)
    rank, groups, spatial = len(kernel), call.get("group", 1), call.shape(0)[2:]
    strides, dilations = tuple(call.get("strides", (1,) * rank)), tuple(call.get("dilations", (1,) * rank))
    wanted, span = call.output().shape[2:], [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    low = _cut(call, spatial, strides, span)
    parts = []
    with e.composite("conv"):
        bias = call[2] if call.has(2) else None
        for group in range(groups):
            size = channels // groups
            x, w = (e.slice(call[place], axis, group * size, size) for place, axis in ((0, 1), (1, 0)))
            own = e.slice(bias, 0, group * features, features) if bias else None
            apart = strides == tuple(kernel) and not any(low) and set(dilations) == {1} and \
                all(out == size * step for out, size, step in zip(wanted, spatial, strides, strict=True))
            parts.append(_apart(e, x, w, own, strides) if apart else _overlapping(e, x, w, own, strides, dilations, span, low, wanted))
        return e.concat(parts, 1)


def _cut(call: Call, spatial, strides, span) -> list[int]:
    """How many of the first outputs of each axis are cut off."""
    rank, auto = len(spatial), call.get("auto_pad", "NOTSET")
    if auto == "VALID":
        return [0] * rank
    if auto == "NOTSET" and call.get("output_shape") is None:
        return list(call.get("pads", (0,) * 2 * rank))[:rank]
    extra = call.get("output_padding", (0,) * rank)
    total = [(size - 1) * step + more + width - out
             for size, step, more, width, out in zip(spatial, strides, extra, span, call.output().shape[2:], strict=True)]
    return [count // 2 if auto == "SAME_UPPER" else count - count // 2 for count in total]


def _apart(e: Emitter, x: str, w: str, bias: str | None, strides) -> str:
    """x[B, C, *S] and w[C, F, *K], K = strides: every element becomes a block."""
    (batch, channels, *spatial), features, rank = e.shape(x), e.shape(w)[1], len(strides)
    rows = e.reshape(e.transpose(x, (0, *range(2, 2 + rank), 1)), (batch * prod(spatial), channels))
    columns = e.reshape(w, (channels, features * prod(strides)))
    if bias:
        bias = e.reshape(e.expand(e.reshape(bias, (features, 1)), (features, prod(strides))), (features * prod(strides),))
        bias = bias if e.tensors[bias].is_constant else e.copied(bias)
    made = e.reshape(e.matmul(rows, columns, bias), (batch, *spatial, features, *strides))
    order = [0, 1 + rank]
    for axis in range(rank):
        order += [1 + axis, 2 + rank + axis]
    whole = [size * step for size, step in zip(spatial, strides, strict=True)]
    return e.reshape(e.transpose(made, order), (batch, features, *whole))


def _overlapping(e: Emitter, x: str, w: str, bias: str | None, strides, dilations, span, low, wanted) -> str:
    """The convolution with the kernel turned round."""
    from .lower_conv import product

    rank = len(strides)
    before = [width - 1 - cut for width, cut in zip(span, low, strict=True)]
    stuffed = [(size - 1) * step + 1 for size, step in zip(e.shape(x)[2:], strides, strict=True)]
    after = [out + width - 1 - first - size for out, width, first, size in zip(wanted, span, before, stuffed, strict=True)]
    spread = e.spread(x, (1, 1, *strides), (0, 0, *before), (0, 0, *after))
    taken = e.windows(spread, e.shape(w)[2:], (1,) * rank, dilations)
    for axis in range(2, 2 + rank):
        w = e.slice(w, axis, e.shape(w)[axis] - 1, e.shape(w)[axis], -1)
    return product(e, taken, e.transpose(w, (1, 0, *range(2, 2 + rank))), bias)
