"""If, Loop and Scan written out, against onnxruntime; what depends on values is refused in one line."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compiler.frontend import control
from compiler.frontend.import_onnx import import_model
from compiler.frontend.infer import infer
from compiler.graph.ir import GraphError

from .onnx_models import agree

RANDOM = np.random.default_rng(31)
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
X = {"x": RANDOM.standard_normal(3).astype(np.float32)}


def info(name, shape=(), kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(node, inputs, outputs: dict[str, tuple], constants) -> onnx.ModelProto:
    graph = helper.make_graph([node], "control", [info(name, value.shape, helper.np_dtype_to_tensor_dtype(value.dtype))
                                                  for name, value in inputs.items()],
                              [info(name, shape) for name, shape in outputs.items()],
                              [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def body(nodes, *, again="Identity", carried="sum", collected=("row",)) -> onnx.GraphProto:
    """(i, go, a) -> (go, ``carried``, ``collected``...), of vectors of three."""
    keep = helper.make_node(again, ["go"] if again == "Identity" else ["i", "last"], ["again"])
    return helper.make_graph([*nodes, keep], "body", [info("i", (), INT64), info("go", (), BOOL), info("a", (3,))],
                             [info("again", (), BOOL), info(carried, (3,)), *(info(name, (3,)) for name in collected)])


ROWS = [helper.make_node("Gather", ["w", "i"], ["g"]), helper.make_node("Add", ["a", "g"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["row"])]
WEIGHTS = {"w": RANDOM.standard_normal((5, 3)).astype(np.float32), "trips": np.array(5), "go": np.array(True), "last": np.array(2)}


@pytest.mark.parametrize("inputs, made, rows", [
    (["trips", "", "x"], body(ROWS), 5), (["trips", "go", "x"], body(ROWS), 5),
    (["", "go", "x"], body(ROWS, again="Less"), 3), (["trips", "go", "x"], body(ROWS, again="Less"), 3),
])
def test_a_loop_of_known_length(inputs, made, rows):
    """The number of iterations is a constant, or follows from a condition; iterations read what is outside, and by their number."""
    node = helper.make_node("Loop", inputs, ["y", "rows"], name="the_loop", body=made)
    agree(model(node, X, {"y": (3,), "rows": (rows, 3)}, WEIGHTS), X)


def test_an_if_in_a_loop():
    """Inner bodies read tensors of the outer ones under their new names."""
    branches = {"then_branch": helper.make_graph([helper.make_node("Neg", ["sum"], ["t"])], "then", [], [info("t", (3,))]),
                "else_branch": helper.make_graph([helper.make_node("Exp", ["sum"], ["e"])], "else", [], [info("e", (3,))])}
    nodes = [*ROWS[:2], helper.make_node("Less", ["i", "last"], ["early"]), helper.make_node("If", ["early"], ["row"], **branches)]
    node = helper.make_node("Loop", ["trips", "", "x"], ["y", "rows"], name="the_loop", body=body(nodes))
    agree(model(node, X, {"y": (3,), "rows": (5, 3)}, WEIGHTS), X)


@pytest.mark.parametrize("options", [{}, {"scan_input_directions": [1], "scan_output_directions": [1]},
                                     {"scan_input_axes": [1], "scan_output_axes": [1]}])
def test_a_scan(options):
    rows = (4, 1, 2) if "scan_input_axes" not in options else (1, 4, 2)
    inputs = {"h": RANDOM.standard_normal((1, 2)).astype(np.float32), "x": RANDOM.standard_normal(rows).astype(np.float32)}
    nodes = [helper.make_node("MatMul", ["before", "u"], ["p"]), helper.make_node("Add", ["p", "part"], ["q"]),
             helper.make_node("Tanh", ["q"], ["after"]), helper.make_node("Identity", ["after"], ["out"])]
    made = helper.make_graph(nodes, "body", [info("before", (1, 2)), info("part", (1, 2))], [info("after", (1, 2)), info("out", (1, 2))])
    node = helper.make_node("Scan", ["h", "x"], ["last", "rows"], name="the_scan", body=made, num_scan_inputs=1, **options)
    agree(model(node, inputs, {"last": (1, 2), "rows": rows}, {"u": RANDOM.standard_normal((2, 2)).astype(np.float32)}), inputs)


@pytest.mark.parametrize("inputs, made, text", [
    (["n", "", "x"], body(ROWS), "the number of its iterations depends on values"),
    (["trips", "c", "x"], body(ROWS), "its condition depends on values"),
    (["", "go", "x"], body(ROWS), "more than 8 iterations"),
])
def test_a_loop_by_values(inputs, made, text, monkeypatch):
    monkeypatch.setattr(control, "MOST", 8)
    arrays = X | {"n": np.array(3), "c": np.array(True)}
    node = helper.make_node("Loop", inputs, ["y", "rows"], name="the_loop", body=made)
    with pytest.raises(GraphError, match=f"operator Loop of node 'the_loop': {text}") as caught:
        infer(import_model(model(node, arrays, {"y": (3,), "rows": ("n", 3)}, WEIGHTS | {"w": np.ones((9, 3), np.float32)})))
    assert "\n" not in str(caught.value)


def test_branches_of_different_shapes():
    branches = {"then_branch": helper.make_graph([helper.make_node("Neg", ["x"], ["t"])], "then", [], [info("t", (3,))]),
                "else_branch": helper.make_graph([helper.make_node("ReduceSum", ["x"], ["e"])], "else", [], [info("e", (1,))])}
    arrays = X | {"c": np.array(True)}
    node = helper.make_node("If", ["c"], ["y"], name="choice", **branches)
    with pytest.raises(GraphError, match="operator If of node 'choice': its condition depends on values, and its branches give"):
        infer(import_model(model(node, arrays, {"y": ("n",)}, {})))
