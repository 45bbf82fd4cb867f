"""What is refused at the door: one clear error each."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compiler.frontend.front import front
from compiler.frontend.import_onnx import import_model, load
from compiler.frontend.infer import infer
from compiler.frontend.inputs import checked, declared, load_arrays, random_inputs, save_arrays
from compiler.graph.builder import Builder
from compiler.graph.ir import DType, GraphError
from compiler.graph.reference import run
from models.oracle import answers

from .onnx_models import agree, model


def tiny(op="Relu", dtype=TensorProto.FLOAT, shape=("n", 3), opset=21, domain="", **attributes) -> onnx.ModelProto:
    node = helper.make_node(op, ["x"], ["y"], name="the_node", domain=domain, **attributes)
    graph = helper.make_graph([node], "tiny", [helper.make_tensor_value_info("x", dtype, shape)],
                              [helper.make_tensor_value_info("y", dtype, shape)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)])


@pytest.mark.parametrize("model, shapes, text", [
    (tiny("BiasGelu", domain="com.microsoft"), {}, "operator com.microsoft.BiasGelu of node 'the_node' is not there"),
    (tiny(opset=6), {}, "opset 6 is not there; there are 17 to 26"),
    (tiny(dtype=TensorProto.DOUBLE), {}, "input 'x' is of type double; there are fp32, bf16"),
    (tiny(), {}, r"'x' has free dimensions \['n', 3\]: give its shape"),
    (tiny(), {"x": (2, 4)}, r"'x' is \[2, 4\], the model wants \['n', 3\]"),
    (tiny(), {"x": (2,)}, r"'x' is \[2\], the model wants"),
    (tiny(), {"x": (0, 3)}, "is empty"),
])
def test_refused(model, shapes, text):
    with pytest.raises(GraphError, match=text) as caught:
        import_model(model, shapes)
    assert "\n" not in str(caught.value)


def test_operators_that_are_not_there_fold_away_or_are_named():
    with pytest.raises(GraphError, match=r"operator Det of node 'the_node' is not there; there are Abs, Acos, .*, Where"):
        infer(import_model(tiny("Det", shape=(3, 3))))
    nodes = [helper.make_node("Det", ["c"], ["h"]), helper.make_node("Add", ["x", "h"], ["y"])]
    graph = helper.make_graph(nodes, "folds", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3))],
                              [helper.make_empty_tensor_value_info("y")], [numpy_helper.from_array(np.eye(3, dtype=np.float32), "c")])
    assert [node.op for node in infer(import_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))).nodes] == ["Add"]


def test_older_opsets_are_converted():
    """Softmax before opset 13 runs over all axes from its own on; pads, axes and bounds were attributes."""
    x = np.random.default_rng(2).standard_normal((2, 3, 4)).astype(np.float32)
    nodes = [helper.make_node("Softmax", ["x"], ["s"], axis=1), helper.make_node("Pad", ["s"], ["p"], pads=[0, 0, 1, 0, 0, 1]),
             helper.make_node("Clip", ["p"], ["c"], min=0.01, max=0.2), helper.make_node("Unsqueeze", ["c"], ["y"], axes=[1])]
    graph = helper.make_graph(nodes, "old", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=7)
    np.testing.assert_allclose(run(front(import_model(made)), {"x": x})["y"], answers(made, {"x": x})["y"], atol=1e-6)


@pytest.mark.parametrize("condition", [True, False, None])
def test_an_if_is_the_branch_that_is_taken(condition):
    """Branches read tensors from outside, have constants of their own, and may hand on what is not theirs; by values, both are computed."""
    x = np.random.default_rng(3).standard_normal((2, 3)).astype(np.float32)
    value = helper.make_tensor_value_info("t", TensorProto.FLOAT, None)
    then = helper.make_graph([helper.make_node("Mul", ["h", "c"], ["t"])], "then", [], [value],
                             [numpy_helper.from_array(np.float32(3), "c")])
    other = helper.make_graph([], "other", [], [helper.make_tensor_value_info("h", TensorProto.FLOAT, None)])
    nodes = [helper.make_node("Exp", ["x"], ["h"]), helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
             helper.make_node("Greater", ["m", "zero"], ["dynamic"]),
             helper.make_node("If", ["dynamic" if condition is None else "c"], ["y"], name="choice", then_branch=then, else_branch=other)]
    graph = helper.make_graph(nodes, "if", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)],
                              [numpy_helper.from_array(np.float32(0), "zero"), numpy_helper.from_array(np.array(bool(condition)), "c")])
    made = import_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
    for values in (x, -np.abs(x)):
        taken = values.max() > 0 if condition is None else condition
        np.testing.assert_allclose(run(front(made), {"x": values})["y"], np.exp(values) * (3 if taken else 1), rtol=1e-6)


def test_free_dimensions_are_bound():
    assert infer(import_model(tiny(), {"x": (2, 3)}))["y"].shape == (2, 3)


def test_shapes_that_clash_name_the_node():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="the_product")]
    graph = helper.make_graph(nodes, "clash", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3))],
                              [helper.make_empty_tensor_value_info("y")], [numpy_helper.from_array(np.ones((4, 5), np.float32), "w")])
    with pytest.raises(GraphError, match=r"MatMul of node 'the_product'.*x: fp32\[2, 3\], w: fp32\[4, 5\]"):
        infer(import_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])))


def test_shapes_that_depend_on_values():
    nodes = [helper.make_node("Reshape", ["x", "s"], ["y"], name="the_node")]
    graph = helper.make_graph(nodes, "dynamic", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3)),
                                                 helper.make_tensor_value_info("s", TensorProto.INT64, (2,))],
                              [helper.make_empty_tensor_value_info("y")])
    with pytest.raises(GraphError, match=r"Reshape of node 'the_node'.*depends on values"):
        infer(import_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])))


def test_tensors_without_elements_are_constants():
    """A cache that is empty at first, a part of no rows; as an output there is nothing to give."""
    x = {"x": np.random.default_rng(4).standard_normal((3, 4)).astype(np.float32)}
    nodes = [helper.make_node("Slice", ["x", "zero", "zero"], ["cache"]), helper.make_node("Concat", ["cache", "x"], ["keys"], axis=0),
             helper.make_node("Split", ["keys", "parts"], ["none", "all"], axis=0), helper.make_node("Exp", ["none"], ["power"]),
             helper.make_node("Concat", ["all", "power"], ["y"], axis=0)]
    constants = {"zero": np.array([0]), "parts": np.array([0, 3])}
    agree(model(nodes, x, ["y"], constants), x)
    with pytest.raises(GraphError, match=r"output power: fp32\[0, 4\] is empty"):
        infer(import_model(model(nodes, x, ["y", "power"], constants)))


def test_damaged_files(tmp_path):
    path = tmp_path / "m.onnx"
    with pytest.raises(GraphError, match="does not exist"):
        load(path)
    good = tiny(shape=(2, 3)).SerializeToString()
    for content in (b"", b"nonsense" * 20, good[:len(good) // 2], good[5:]):
        path.write_bytes(content)
        with pytest.raises(GraphError, match=r"m.onnx .*(no graph|no valid ONNX)") as caught:
            load(path)
        assert "\n" not in str(caught.value)
    model = tiny(shape=(2, 3))
    model.graph.node[0].input[0] = "nobody"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(GraphError, match=r"nobody.*the_node.* is not output of any previous"):
        load(path)
    path.write_bytes(tiny("Nothing", shape=(2, 3)).SerializeToString())
    with pytest.raises(GraphError, match="operator Nothing of node 'the_node' is not there; there are"):
        load(path)


def test_outputs_that_no_node_makes():
    model = tiny(shape=(2, 3))
    model.graph.output.append(model.graph.input[0])
    with pytest.raises(GraphError, match="output 'x' is an input, too"):
        import_model(model)
    del model.graph.output[:]
    with pytest.raises(GraphError, match="graph 'tiny' has no outputs"):
        import_model(model)


def test_an_initializer_is_the_default_of_an_input():
    model = tiny("Add", shape=(2, 3))
    model.graph.node[0].input.append("w")
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, (3,)))
    model.graph.initializer.append(numpy_helper.from_array(np.full(3, 5, np.float32), "w"))
    x = np.ones((2, 3), np.float32)
    assert (run(front(import_model(model)), {"x": x})["y"] == 6).all()
    other = front(import_model(model, {"x": (2, 3), "w": (3,)}))
    assert (run(other, {"x": x, "w": np.arange(3, dtype=np.float32)})["y"] == [1, 2, 3]).all()


def model_of_many_types():
    b = Builder("types")
    x, h, i = b.input("x", (2, 3)), b.input("h", (2, 3), DType.BF16), b.input("i", (3,), DType.INT64)
    b.output("y", x + h.op("Cast", to=1) + i.op("Cast", to=1))
    b.output("n", i + np.int64(1), DType.INT64)
    b.output("t", x > 0.0, DType.BOOL)
    return infer(b.graph())


def test_inputs_are_checked():
    graph = model_of_many_types()
    x, h, i = np.ones((2, 3), np.float32), np.ones((2, 3), ml_dtypes.bfloat16), np.array([1, 2, 3])
    good = {"x": x, "h": h, "i": i}
    found = checked(graph, good)
    assert found["i"].dtype == np.int32 and found["h"].dtype == ml_dtypes.bfloat16
    for other in (h.view(np.uint16), h.astype(np.float32), h.view("V2")):
        assert (checked(graph, good | {"h": other})["h"] == h).all()
    for wrong, text in [({"x": x.T}, r"'x' is \[3, 2\], the model wants x: fp32\[2, 3\]"), ({"x": i}, "'x' is"),
                        ({"x": x.astype(np.int64)}, "'x' is int64"), ({"i": x[0]}, "'i' is float32"), ({"i": i + 2**31}, "INT32 does not"),
                        ({"z": x}, "there is no input 'z'; the model's inputs are x: fp32")]:
        with pytest.raises(GraphError, match=text):
            checked(graph, good | wrong)
    with pytest.raises(GraphError, match="input 'x' is missing; input 'i' is missing"):
        checked(graph, {"h": h})


def test_outputs_have_the_declared_types(tmp_path):
    graph = model_of_many_types()
    inputs = random_inputs(graph, 3)
    outputs = declared(graph, run(front(graph), checked(graph, inputs)))
    assert {name: value.dtype.name for name, value in outputs.items()} == {"y": "float32", "n": "int64", "t": "bool"}
    save_arrays(tmp_path / "deep" / "out.npz", outputs | {"half": inputs["h"]})
    assert load_arrays(tmp_path / "deep" / "out.npz")["half"].dtype == np.float32


def test_damaged_arrays(tmp_path):
    path = tmp_path / "in.npz"
    with pytest.raises(GraphError, match="does not exist"):
        load_arrays(path)
    for content in (b"", b"nothing of the kind"):
        path.write_bytes(content)
        with pytest.raises(GraphError, match=r"no \.npz file"):
            load_arrays(path)


def test_builder():
    b = Builder("hand")
    x = b.input("x", (4, 6))
    w = np.linspace(-1, 1, 12).reshape(6, 2)
    with b.scope("first"):
        hidden = (x @ b.constant(w) - 1.0).tanh()
    b.output("y", 2.0 - hidden[1:, -1] ** 2)
    values = np.linspace(-2, 2, 24, dtype=np.float32).reshape(4, 6)
    found = run(front(b.graph()), {"x": values})["y"]
    np.testing.assert_allclose(found, 2 - np.tanh(values @ w - 1)[1:, -1] ** 2, rtol=1e-6)
    assert any(node.name.startswith("first/matmul") for node in b.graph().nodes)
    with pytest.raises(GraphError, match="two tensors named 'x'"):
        b.input("x", (1,))
    with pytest.raises(GraphError, match="operator Det of node"):
        b.op("Det", x)


def test_automatic_names_of_a_builder_give_way():
    b = Builder("names")
    x = b.input("x", (2, 3))
    first = x.relu()
    second = first * b.constant(2.0, "scale")
    b.output("relu", second)
    b.output("scale", first)
    z = b.input("mul", (2, 3))
    b.output("z", second + z)
    values = {"x": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), "mul": np.ones((2, 3), np.float32)}
    found, positive = run(front(b.graph()), values), np.maximum(values["x"], 0)
    for name, expected in {"relu": positive * 2, "scale": positive, "z": positive * 2 + 1}.items():
        np.testing.assert_allclose(found[name], expected)
    with pytest.raises(GraphError, match="two tensors named 'relu'"):
        b.output("relu", first)


@pytest.mark.parametrize("opset", [17, 18, 21])
def test_quantised_weights_of_any_opset_fold(opset):
    """ONNX's own reference has DequantizeLinear from opset 19 on."""
    w, s = np.arange(-6, 6, dtype=np.int8).reshape(4, 3), np.array([0.5, 0.25, 2.0], np.float32)
    nodes = [helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=1), helper.make_node("MatMul", ["x", "d"], ["y"])]
    graph = helper.make_graph(nodes, "quantised", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 4))],
                              [helper.make_empty_tensor_value_info("y")],
                              [numpy_helper.from_array(w, "w"), numpy_helper.from_array(s, "s")])
    found = infer(import_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])))
    assert [node.op for node in found.nodes] == ["MatMul"]
    assert (found[found.nodes[0].inputs[1]].value == w * s).all()
