"""Graphs written by hand, numpy-like; they are ONNX models underneath, so they can be saved and run elsewhere too.

    b = Builder("mlp")
    x = b.input("x", (8, 64))
    y = (x @ b.constant(w1) + b.constant(b1)).relu() @ b.constant(w2)
    b.output("y", y.softmax())
    graph = b.graph()                # for compiler.front
    onnx.save(b.model(), "mlp.onnx")
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..frontend.import_onnx import import_model, onnx_type
from ..frontend.operators import missing, supported
from .ir import DType, Graph, GraphError

__all__ = ["Builder", "Value"]


class Builder:
    """Collects the nodes of a model. ``dtype`` is the element type of inputs and constants made of Python floats."""

    def __init__(self, name: str, *, dtype: DType = DType.FP32, opset: int = 23) -> None:
        self.name, self.dtype, self.opset = name, dtype, opset
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[str, np.ndarray] = {}
        self._names: set[str] = set()
        self._automatic: dict[str, Value] = {}         # by a name that nobody asked for
        self._scope: list[str] = []
        self._next_scope = ""

    def input(self, name: str, shape: Sequence[int], dtype: DType | None = None) -> Value:
        """An input of the graph."""
        self._inputs.append(helper.make_tensor_value_info(self._claim(name), onnx_type(dtype or self.dtype), shape))
        return Value(self, name)

    def constant(self, value, name: str = "const") -> Value:
        """A constant; floats become the builder's type, integers and truth values stay."""
        value = np.asarray(value)
        if value.dtype.kind == "f":
            value = value.astype(self.dtype.numpy)
        name = self._fresh(name)
        self._constants[name] = value
        self._automatic[name] = made = Value(self, name)
        return made

    def output(self, name: str, value: Value, dtype: DType | None = None) -> None:
        """Names an output of the graph."""
        self._nodes.append(helper.make_node("Identity", [value.name], [self._claim(name)], name=f"{name}.out"))
        self._outputs.append(helper.make_tensor_value_info(name, onnx_type(dtype or self.dtype), None))

    def op(self, op: str, *inputs, outputs: int = 1, **attributes) -> Value | tuple[Value, ...]:
        """Any operator of ONNX; ``inputs`` are values, arrays, numbers, or None for one left out."""
        if op not in supported():
            raise missing(op, op.lower())
        names = ["" if each is None else self._value(each).name for each in inputs]
        base = "/".join([*self._scope, op.lower()])
        made = [self._fresh(base) for _ in range(outputs)]
        self._nodes.append(helper.make_node(op, names, made, name=made[0], **attributes))
        values = tuple(Value(self, name) for name in made)
        self._automatic |= zip(made, values, strict=True)
        return values if outputs > 1 else values[0]

    def scope(self, name: str) -> Builder:
        """``with b.scope("layer0"):`` puts the name in front of those of the nodes inside."""
        self._next_scope = name
        return self

    def __enter__(self) -> None:
        self._scope.append(self._next_scope)

    def __exit__(self, *_) -> None:
        self._scope.pop()

    def model(self) -> onnx.ModelProto:
        """The checked ONNX model, shapes inferred."""
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs,
                                  [numpy_helper.from_array(value, name) for name, value in self._constants.items()])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10, producer_name="openrdu")
        made = onnx.shape_inference.infer_shapes(made, strict_mode=True, data_prop=True)
        onnx.checker.check_model(made)
        return made

    def graph(self) -> Graph:
        """The imported graph."""
        return import_model(self.model(), name=self.name)

    def _value(self, each) -> Value:
        return each if isinstance(each, Value) else self.constant(each)

    def _claim(self, name: str) -> str:
        """``name``, now taken; an automatic name gives way."""
        if value := self._automatic.pop(name, None):
            self._rename(value)
        elif name in self._names:
            raise GraphError(f"graph {self.name!r} has two tensors named {name!r}")
        self._names.add(name)
        return name

    def _rename(self, value: Value) -> None:
        """Another automatic name for a value, wherever it is named."""
        old, value.name = value.name, self._fresh(value.name)
        self._automatic[value.name] = value
        if old in self._constants:
            self._constants[value.name] = self._constants.pop(old)
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [value.name if name == old else name for name in names]

    def _fresh(self, base: str) -> str:
        name, number = base, 0
        while name in self._names:
            number += 1
            name = f"{base}.{number}"
        return self._claim(name)


class Value:
    """A tensor of a :class:`Builder`; the arithmetic operators broadcast, numbers and arrays mix in."""

    def __init__(self, builder: Builder, name: str) -> None:
        self.builder, self.name = builder, name

    def op(self, op: str, *others, **attributes) -> Value:
        """Operator ``op`` with this value as its first input."""
        return self.builder.op(op, self, *others, **attributes)

    def __add__(self, other) -> Value:
        return self.op("Add", other)

    def __sub__(self, other) -> Value:
        return self.op("Sub", other)

    def __mul__(self, other) -> Value:
        return self.op("Mul", other)

    def __truediv__(self, other) -> Value:
        return self.op("Div", other)

    def __matmul__(self, other) -> Value:
        return self.op("MatMul", other)

    def __pow__(self, other) -> Value:
        return self.op("Pow", other)

    def __radd__(self, other) -> Value:
        return self.builder.op("Add", other, self)

    def __rsub__(self, other) -> Value:
        return self.builder.op("Sub", other, self)

    def __rmul__(self, other) -> Value:
        return self.builder.op("Mul", other, self)

    def __neg__(self) -> Value:
        return self.op("Neg")

    def __gt__(self, other) -> Value:
        return self.op("Greater", other)

    def __le__(self, other) -> Value:
        return self.op("LessOrEqual", other)

    def __getitem__(self, index) -> Value:
        """Slices with constant bounds, one per axis from the first on; an int takes one element and drops the axis."""
        index = index if isinstance(index, tuple) else (index,)
        slices = [each if isinstance(each, slice) else slice(each, each + 1 if each != -1 else None) for each in index]
        ends = [2**31 - 1 if each.stop is None else each.stop for each in slices]
        result = self.op("Slice", np.array([each.start or 0 for each in slices]), np.array(ends), np.arange(len(slices)),
                         np.array([each.step or 1 for each in slices]))
        dropped = [axis for axis, each in enumerate(index) if not isinstance(each, slice)]
        return result.op("Squeeze", np.array(dropped)) if dropped else result

    def reshape(self, *shape: int) -> Value:
        return self.op("Reshape", np.array(shape))

    def transpose(self, *axes: int) -> Value:
        return self.op("Transpose", perm=axes)

    def sum(self, *axes: int, keepdims: bool = True) -> Value:
        return self.op("ReduceSum", np.array(axes), keepdims=int(keepdims))

    def mean(self, *axes: int, keepdims: bool = True) -> Value:
        return self.op("ReduceMean", np.array(axes), keepdims=int(keepdims))

    def softmax(self, axis: int = -1) -> Value:
        return self.op("Softmax", axis=axis)

    def argmax(self, axis: int = -1, keepdims: bool = False) -> Value:
        return self.op("ArgMax", axis=axis, keepdims=int(keepdims))

    def relu(self) -> Value:
        return self.op("Relu")

    def exp(self) -> Value:
        return self.op("Exp")

    def sqrt(self) -> Value:
        return self.op("Sqrt")

    def tanh(self) -> Value:
        return self.op("Tanh")

    def sigmoid(self) -> Value:
        return self.op("Sigmoid")

    def silu(self) -> Value:
        return self * self.sigmoid()

    def gelu(self) -> Value:
        return self.op("Gelu")

    def concat(self, *others: Value, axis: int) -> Value:
        return self.op("Concat", *others, axis=axis)
