"""Random graphs: imported, lowered and run in float64 they agree with onnxruntime, or are refused for a stated reason."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.frontend.front import front
from compiler.frontend.import_onnx import import_model
from compiler.graph.builder import Builder, Value
from compiler.graph.ir import GraphError

from .onnx_models import agree

UNARY = ["Relu", "Tanh", "Sigmoid", "Neg", "Abs", "Gelu", "Erf", "Softplus", "Floor", "Identity", "Softmax", "LogSoftmax"]
BINARY = ["Add", "Sub", "Mul", "Max", "Min"]


class Drawn:
    """A random model, an operator after the other; shapes are followed so that most of it is legal."""

    def __init__(self, draw):
        self.draw, self.b = draw, Builder("random")
        self.random = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.values: list[tuple[Value, tuple[int, ...]]] = []
        self.inputs: dict[str, np.ndarray] = {}
        for number in range(draw(st.integers(1, 2))):
            shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
            self.inputs[f"x{number}"] = self.random.normal(0, 1, shape).astype(np.float32)
            self.values.append((self.b.input(f"x{number}", shape), shape))
        steps = [self.unary, self.binary, self.matmul, self.transpose, self.reshape, self.slice, self.reduce, self.concat, self.split,
                 self.gather, self.where, self.expand, self.norm, self.pad]
        for _ in range(draw(st.integers(1, 8))):
            draw(st.sampled_from(steps))()
        for number, (value, _) in enumerate(self.values[-2:]):
            self.b.output(f"y{number}", value)

    def any(self, rank: int = 0):
        return self.draw(st.sampled_from([each for each in self.values if len(each[1]) >= rank] or [self.wide()]))

    def wide(self):
        value, shape = self.values[0]
        shape = (1, 1, *shape)
        return value.reshape(*shape), shape

    def add(self, value: Value, shape) -> None:
        self.values.append((value, tuple(int(size) for size in shape)))

    def normal(self, *shape):
        return self.b.constant(self.random.normal(0, 1, shape))

    def axis(self, shape) -> int:
        return self.draw(st.integers(0, len(shape) - 1))

    def unary(self):
        value, shape = self.any()
        self.add(value.op(self.draw(st.sampled_from(UNARY))), shape)

    def binary(self):
        value, shape = self.any()
        other = tuple(size if self.draw(st.booleans()) else 1 for size in shape)[self.axis(shape):]
        operands = (value, self.normal(*other))
        self.add(self.b.op(self.draw(st.sampled_from(BINARY)), *operands[::self.draw(st.sampled_from([1, -1]))]), shape)

    def matmul(self):
        value, shape = self.any(2)
        columns = self.draw(st.integers(1, 4))
        batch = shape[:-2] if self.draw(st.booleans()) else ()
        self.add(value @ self.normal(*batch, shape[-1], columns), (*shape[:-1], columns))

    def transpose(self):
        value, shape = self.any()
        order = self.draw(st.permutations(range(len(shape))))
        self.add(value.transpose(*order), [shape[axis] for axis in order])

    def reshape(self):
        value, shape = self.any()
        rest, target = int(np.prod(shape)), []
        while rest > 1 and len(target) < 4:
            size = self.draw(st.sampled_from([size for size in range(1, rest + 1) if rest % size == 0]))
            target.append(size)
            rest //= size
        target = [*target, rest]
        self.add(value.reshape(*target), target)

    def slice(self):
        value, shape = self.any()
        axis = self.axis(shape)
        start, step = self.draw(st.integers(0, shape[axis] - 1)), self.draw(st.sampled_from([1, 2, -1]))
        stop = 2**31 - 1 if step > 0 else -2**31
        result = value.op("Slice", np.array([start]), np.array([stop]), np.array([axis]), np.array([step]))
        self.add(result, [len(range(size)[start::step]) if other == axis else size for other, size in enumerate(shape)])

    def reduce(self):
        value, shape = self.any()
        axes = sorted(self.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
        op = self.draw(st.sampled_from(["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"]))
        self.add(value.op(op, np.array(axes), keepdims=1), [1 if axis in axes else size for axis, size in enumerate(shape)])

    def concat(self):
        value, shape = self.any()
        axis = self.axis(shape)
        size = self.draw(st.integers(1, 3))
        other = [size if number == axis else each for number, each in enumerate(shape)]
        self.add(value.concat(self.normal(*other), value, axis=axis),
                 [2 * each + size if number == axis else each for number, each in enumerate(shape)])

    def split(self):
        value, shape = self.any()
        axis = max(range(len(shape)), key=shape.__getitem__)
        if shape[axis] < 2:
            return
        first = self.draw(st.integers(1, shape[axis] - 1))
        parts = self.b.op("Split", value, np.array([first, shape[axis] - first]), outputs=2, axis=axis)
        for part, size in zip(parts, (first, shape[axis] - first), strict=True):
            self.add(part, [size if number == axis else each for number, each in enumerate(shape)])

    def gather(self):
        value, shape = self.any()
        axis = self.axis(shape)
        indices = np.array(self.draw(st.lists(st.integers(-shape[axis], shape[axis] - 1), min_size=1, max_size=4)))
        self.add(self.b.op("Gather", value, indices, axis=axis), [*shape[:axis], len(indices), *shape[axis + 1:]])

    def where(self):
        value, shape = self.any()
        self.add(self.b.op("Where", value > 0.0, value * 2.0, self.normal(shape[-1])), shape)

    def expand(self):
        value, shape = self.any()
        size = self.draw(st.integers(1, 3))
        self.add(value.op("Expand", np.array([size, *shape])), [size, *shape])

    def norm(self):
        value, shape = self.any()
        self.add(self.b.op("LayerNormalization", value, self.normal(shape[-1]), self.normal(shape[-1]), epsilon=0.1), shape)

    def pad(self):
        value, shape = self.any()
        pads = self.draw(st.lists(st.integers(0, 2), min_size=2 * len(shape), max_size=2 * len(shape)))
        self.add(value.op("Pad", np.array(pads)), [size + pads[axis] + pads[len(shape) + axis] for axis, size in enumerate(shape)])


@st.composite
def models(draw):
    drawn = Drawn(draw)
    return drawn.b.model(), drawn.inputs


@settings(max_examples=50)
@given(models())
def test_agrees_with_onnxruntime(drawn):
    model, inputs = drawn
    agree(model, inputs, tolerance=2e-3)


@settings(max_examples=30)
@given(models(), st.data())
def test_broken_ones_are_refused_in_one_line(drawn, data):
    """A constant of another shape, a missing node: either it is still a graph, or one line says what is wrong."""
    model, _ = drawn
    constants = list(model.graph.initializer)
    if constants and data.draw(st.booleans()):
        data.draw(st.sampled_from(constants)).dims[:] = [1, 7]
    else:
        del model.graph.node[data.draw(st.integers(0, len(model.graph.node) - 1))]
    try:
        front(import_model(model))
    except GraphError as error:
        assert str(error) and "\n" not in str(error)
