"""Core graphs: meaning, dump, and what is refused."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from compiler.graph.ir import (
    Argument,
    Copy,
    Core,
    DType,
    Function,
    Gather,
    Graph,
    GraphError,
    Map,
    Matmul,
    Node,
    Place,
    Reduce,
    Reduction,
    Step,
    Tensor,
    Update,
    View,
)
from compiler.graph.reference import run

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def one(op, attributes, shape, dtype=DType.FP32, **inputs) -> Graph:
    """A graph of one node."""
    tensors = {name: Tensor(name, value.shape, DType.of(value)) for name, value in inputs.items()}
    node = Node(op, tuple(inputs), ("y",), attributes, "node")
    return Graph("one", (node,), tensors | {"y": Tensor("y", shape, dtype)}, tuple(inputs), ("y",))


def output(*arguments, **inputs) -> np.ndarray:
    return run(one(*arguments, **inputs).check(), inputs)["y"]


def test_core_operators():
    w = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    np.testing.assert_array_equal(output(Core.MATMUL, Matmul(), (2, 2, 2), x=X, w=w), X @ w)
    np.testing.assert_array_equal(output(Core.MATMUL, Matmul(), (2, 2, 2), x=X, w=w, b=w[0, 0]), X @ w + w[0, 0])
    np.testing.assert_array_equal(output(Core.REDUCE, Reduce(Reduction.SUM), (2, 1), x=X), [[3], [12]])
    np.testing.assert_array_equal(output(Core.REDUCE, Reduce(Reduction.ARGMAX), (2, 1), DType.INT32, x=X), [[2], [2]])
    np.testing.assert_array_equal(output(Core.VIEW, View.of((3, 2), (1, 3)), (3, 2), x=X), X.T)
    np.testing.assert_array_equal(output(Core.VIEW, View.of((2, 2), (-3, -1), 5), (2, 2), x=X), X[::-1, :0:-1])
    padded = output(Core.COPY, Copy((Place((5, 1), 6),)), (3, 5), x=X)
    np.testing.assert_array_equal(padded, np.pad(X, ((1, 0), (1, 1))))
    rows = np.array([1, 0, 1], dtype=np.int32)
    np.testing.assert_array_equal(output(Core.GATHER, Gather(), (3, 3), x=X, rows=rows), X[rows])
    np.testing.assert_array_equal(output(Core.UPDATE, Update(), (2, 3), x=X, v=-X[:1], rows=rows[:1]), [[0, 1, 2], [0, -1, -2]])


def test_map_broadcasts_and_counts():
    where = Map((Step(Function.LT, (Argument("index", 1), Argument("index", 0))),
                 Step(Function.FMAC, (Argument("input", 0), Argument("constant", 2.0), Argument("input", 1))),
                 Step(Function.SELECT, (Argument("step", 1), Argument("constant", 0.5), Argument("step", 0)))))
    column = np.array([[10], [20]], dtype=np.float32)
    np.testing.assert_array_equal(output(Core.MAP, where, (2, 3), x=X, c=column), [[0.5, 0.5, 0.5], [26, 0.5, 0.5]])


def test_views_know_when_they_are_contiguous():
    assert View.of((2, 1, 3), (3, 99, 1), 4).is_contiguous
    assert not View.of((3, 2), (1, 3)).is_contiguous
    assert View.of((2, 3), (3, 1)) == View((((2, 3), (1, 7)), ((3, 1),)))


def test_an_axis_may_be_several_loops():
    windows = View((((2, 1),), ((2, 3), (2, 1))))           # two windows of 2 x 2 along the columns of x
    assert windows.shape == (2, 4) and windows.strides is None and len(windows.loops) == 3
    np.testing.assert_array_equal(output(Core.VIEW, windows, (2, 4), x=X), [[0, 1, 3, 4], [1, 2, 4, 5]])


@pytest.mark.parametrize("graph, text", [
    (one(Core.MATMUL, Matmul(), (2, 2), x=X, y1=X), "inner dimensions"),
    (one(Core.MATMUL, Matmul(), (2, 2), x=X, w=X.T.astype(np.int32)), "FP32 or BF16"),
    (one(Core.MAP, Map((Step(Function.FADD, (Argument("input", 0), Argument("input", 1))),)), (2, 3), x=X), "x1 is not there"),
    (one(Core.MAP, Map((Step(Function.RELU, (Argument("input", 0),) * 2),)), (2, 3), x=X), "takes 1"),
    (one(Core.MAP, Map((Step(Function.FLT, (Argument("input", 0),) * 2),)), (2, 3), x=X), "type"),
    (one(Core.VIEW, View.of((4, 2), (2, 1)), (4, 2), x=X), "reaches elements 0 to 7 of 6"),
    (one(Core.COPY, Copy((Place((3, 1), 1),)), (2, 3), x=X), "outside"),
    (one(Core.REDUCE, Reduce(Reduction.MAX), (2, 3), x=X), r"gives \[2, 1\]"),
    (one(Core.GATHER, Gather(), (2, 3), x=X, rows=X[0]), "INT32"),
])
def test_refused(graph, text):
    with pytest.raises(GraphError, match=text) as caught:
        graph.check()
    assert "'node'" in str(caught.value)


def test_order_and_names():
    graph = one(Core.REDUCE, Reduce(Reduction.MAX), (2, 1), x=X)
    with pytest.raises(GraphError, match="no earlier node"):
        replace(graph, inputs=()).check()
    with pytest.raises(GraphError, match="second time"):
        replace(graph, nodes=graph.nodes * 2).check()
    with pytest.raises(GraphError, match="input 'x' is"):
        run(graph, {"x": X.T})


def test_element_types():
    assert DType.of(np.zeros(1, ml_dtypes.bfloat16)) is DType.BF16 and DType.BF16.bytes == 2
    with pytest.raises(GraphError, match="float64"):
        DType.of(np.zeros(1))


def test_dump_tells_everything():
    text = one(Core.VIEW, View.of((3, 2), (1, 3)), (3, 2), x=X).dump()
    assert "input  x: fp32[2, 3]" in text and "VIEW(x)  strides=[1, 3] offset=0" in text
