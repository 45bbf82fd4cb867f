"""Products of quantised numbers, written out with other operators of ONNX: MatMulInteger, ConvInteger, QLinearMatMul, QLinearConv.

A number less its zero point is a whole number of at most 255; sums of products of such numbers are exact in FP32 as long as they stay
within 2^24. So the inner axis is cut into parts that do, and their sums are added as INT32: every sum is the one that ONNX defines.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx

from ..graph.ir import DType, GraphError, Node, Tensor

__all__ = ["QUANTISED", "nodes_of"]

EXACT, LARGEST = 1 << 24, 255
QUANTISED = ("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul")
FLOAT, INT32 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT32


class _Writer:
    """Collects ONNX nodes; constants join the tensors."""

    def __init__(self, node: Node, tensors: dict[str, Tensor]) -> None:
        self.node, self.tensors, self.nodes = node, tensors, []

    def has(self, number: int) -> bool:
        return number < len(self.node.inputs) and bool(self.node.inputs[number])

    def op(self, op: str, *inputs: str, output: str = "", **attributes) -> str:
        output = output or f"{self.node.name}/{op}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def constant(self, value: Sequence[int], what: str) -> str:
        name = f"{self.node.name}/{what}_{len(self.nodes)}"
        array = np.array(value, dtype=np.int64)
        self.tensors[name] = Tensor(name, array.shape, DType.INT64, array)
        return name

    def less_zero(self, number: int, zero: int, axis: int | None) -> str:
        """Input ``number`` less its zero point, as FP32; a zero point per place runs along ``axis``, counted from the end."""
        wide = self.op("Cast", self.node.inputs[number], to=FLOAT)
        if not self.has(zero):
            return wide
        return self.op("Sub", wide, self.placed(self.op("Cast", self.node.inputs[zero], to=FLOAT), zero, axis))

    def placed(self, name: str, number: int, axis: int | None) -> str:
        """A value per place of ``axis``, counted from the end, so shaped that it broadcasts; one value is a scalar."""
        size = prod(self.tensors[self.node.inputs[number]].shape)
        if size > 1 and axis is None:
            raise GraphError(f"operator {self.node.op} of node {self.node.name!r}: input {number} has {size} values; one is there")
        return self.op("Reshape", name, self.constant([] if size == 1 else [-1, *(1,) * (axis - 1)], "shape"))

    def part(self, name: str, first: int, last: int, axis: int) -> str:
        return self.op("Slice", name, *(self.constant([value], what) for value, what in
                                        ((first, "first"), (last, "last"), (axis, "axis"))))

    def summed(self, parts: list[str]) -> str:
        """The exact parts as INT32, added."""
        total = self.op("Cast", parts[0], to=INT32)
        for part in parts[1:]:
            total = self.op("Add", total, self.op("Cast", part, to=INT32))
        return total

    def scaled(self, total: str, scales: Sequence[tuple[int, int | None]], last: int) -> None:
        """``total`` times the scales (input, its axis), quantised by scale and zero point ``last`` and ``last`` + 1."""
        wide = self.op("Cast", total, to=FLOAT)
        factor = self.op("Mul", *(self.placed(self.node.inputs[number], number, axis) for number, axis in scales))
        self.op("QuantizeLinear", self.op("Mul", wide, factor), *self.node.inputs[last:last + 2], output=self.node.outputs[0])


def nodes_of(node: Node, tensors: dict[str, Tensor]) -> list[onnx.NodeProto]:
    """The nodes that ``node`` (one of :data:`QUANTISED`) stands for; constants that they need are put into ``tensors``."""
    w = _Writer(node, tensors)
    match node.op:
        case "MatMulInteger":
            w.op("Identity", w.summed(_matmul(w, 0, 1, 2, 3)), output=node.outputs[0])
        case "QLinearMatMul":
            w.scaled(w.summed(_matmul(w, 0, 3, 2, 5)), ((1, 2), (4, 1)), 6)
        case "ConvInteger":
            w.op("Identity", w.summed(_conv(w, 0, 1, 2, 3)), output=node.outputs[0])
        case "QLinearConv":
            rank = len(tensors[node.inputs[0]].shape)
            total = w.summed(_conv(w, 0, 3, 2, 5))
            if w.has(8):
                total = w.op("Add", total, w.placed(node.inputs[8], 8, rank - 1))
            w.scaled(total, ((1, None), (4, rank - 1)), 6)
    return w.nodes


def _parts(w: _Writer, weights: int, zero: int, count: int, each: int = 1) -> list[tuple[int, int]]:
    """Runs of ``count`` places, each of ``each`` products, whose sums are exact."""
    value, largest = w.tensors[w.node.inputs[weights]].value, LARGEST
    if value is not None and (not w.has(zero) or w.tensors[w.node.inputs[zero]].value is not None):
        low = w.tensors[w.node.inputs[zero]].value.astype(np.int64) if w.has(zero) else np.zeros(1, np.int64)
        largest = max(int(value.max()) - int(low.min()), int(low.max()) - int(value.min()), 1)
    step = EXACT // (LARGEST * largest * each)
    if not step:
        raise GraphError(f"operator {w.node.op} of node {w.node.name!r}: a sum of {each} products is not exact in FP32; "
                         f"at most {EXACT // (LARGEST * largest)}: dequantise the weights")
    return [(first, min(first + step, count)) for first in range(0, count, step)]


def _matmul(w: _Writer, a: int, b: int, a_zero: int, b_zero: int) -> list[str]:
    left, right = w.less_zero(a, a_zero, 2), w.less_zero(b, b_zero, 1)
    runs = _parts(w, b, b_zero, w.tensors[w.node.inputs[a]].shape[-1])
    if len(runs) == 1:
        return [w.op("MatMul", left, right)]
    rows = -2 if len(w.tensors[w.node.inputs[b]].shape) > 1 else -1
    return [w.op("MatMul", w.part(left, *run, -1), w.part(right, *run, rows)) for run in runs]


def _conv(w: _Writer, x: int, kernel: int, x_zero: int, kernel_zero: int) -> list[str]:
    attributes = {name: value for name, value in w.node.attributes.values.items() if name != "opset"}
    shape = w.tensors[w.node.inputs[kernel]].shape
    left, right = w.less_zero(x, x_zero, None), w.less_zero(kernel, kernel_zero, len(shape))
    runs = _parts(w, kernel, kernel_zero, shape[1], prod(shape[2:]))
    if len(runs) == 1:
        return [w.op("Conv", left, right, **attributes)]
    if attributes.get("group", 1) > 1:
        raise GraphError(f"operator {w.node.op} of node {w.node.name!r}: groups of {prod(shape[1:])} products are not exact in FP32; "
                         "dequantise the weights")
    return [w.op("Conv", w.part(left, *run, 1), w.part(right, *run, 1), **attributes) for run in runs]
