"""Folding, patterns, biases, common subexpressions and views."""

import numpy as np
import pytest
from onnx import helper

from compiler.frontend import int8
from compiler.frontend.front import Dump, front
from compiler.frontend.import_onnx import import_model
from compiler.graph import exact, views
from compiler.graph.ir import Core, DType, View
from compiler.graph.reference import run
from models import entry

from .onnx_models import agree, model, one_node

RANDOM = np.random.default_rng(9)


def normal(*shape) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


X = {"x": normal(2, 3, 8)}
EPSILON = {"eps": np.float32(1e-3), "two": np.float32(2), "one": np.float32(1), "half": np.float32(0.5), "axes": np.array([-1])}


def chain(*steps, inputs=X, **constants):
    """A model of steps like "h = Mul x x"; the last one makes y."""
    nodes = []
    for step in steps:
        result, _, rest = step.partition(" = ")
        op, *operands = rest.split()
        nodes.append(helper.make_node(op, operands, [result], name=result))
    used = {name for node in nodes for name in node.input}
    return model(nodes, inputs, [nodes[-1].output[0]], {key: value for key, value in (EPSILON | constants).items() if key in used})


def core(made, **options):
    return front(import_model(made), **options)


def groups(graph) -> set[str]:
    return {node.group for node in graph.nodes if node.group}


DEVIATION = ("q = Pow x two", "m = ReduceMean q axes", "e = Add eps m")


@pytest.mark.parametrize("steps", [
    ("s = Sqrt e", "n = Div x s"), ("s = Sqrt e", "r = Reciprocal s", "n = Mul r x"), ("s = Sqrt e", "r = Div one s", "n = Mul x r"),
    ("s = Pow e half", "n = Div x s"),
])
def test_rms_norm_is_recognised(steps):
    made = chain(*DEVIATION, *steps, "y = Mul g n", g=normal(8))
    agree(made, X)
    assert groups(core(made)) == {"rmsnorm#0"} and len(core(made).nodes) == 4


def test_layer_norm_is_recognised():
    made = chain("a = ReduceMean x axes", "d = Sub x a", "q = Mul d d", "m = ReduceMean q axes", "e = Add m eps", "s = Sqrt e",
                 "n = Div d s", "h = Mul n g", "y = Add h b", g=normal(8), b=normal(8))
    agree(made, X)
    assert groups(core(made)) == {"layernorm#0"}
    plain = chain("a = ReduceMean x axes", "d = Sub x a", "q = Mul d d", "m = ReduceMean q axes", "e = Add m eps", "s = Sqrt e",
                  "y = Div d s")
    agree(plain, X)
    assert groups(core(plain)) == {"layernorm#0"}


def test_another_axis_is_no_norm_of_ours():
    made = chain("q = Pow x two", "m = ReduceMean q other", "e = Add eps m", "s = Sqrt e", "y = Div x s", other=np.array([1]))
    agree(made, X)
    assert not groups(core(made))


@pytest.mark.parametrize("steps", [
    ("a = Div x root", "b = Erf a", "c = Add b one", "d = Mul x c", "y = Mul d half"),
    ("h = Mul x half", "a = Mul x inverse", "b = Erf a", "c = Add one b", "y = Mul h c"),
])
def test_gelu_is_recognised(steps):
    made = chain(*steps, root=np.float32(2**0.5), inverse=np.float32(0.5**0.5))
    agree(made, X)
    [node] = core(made).nodes
    assert str(node.attributes) == "%0 = gelu(x0)"


def test_silu_is_recognised_in_its_forms():
    for steps in (("s = Sigmoid x", "y = Mul s x"), ("n = Neg x", "e = Exp n", "d = Add e one", "y = Div x d")):
        [node] = core(chain(*steps)).nodes
        assert str(node.attributes) == "%0 = silu(x0)"
    [node] = core(chain("n = Neg x", "e = Exp n", "d = Add e one", "y = Reciprocal d")).nodes
    assert str(node.attributes) == "%0 = sigmoid(x0)"


def test_nearly_gelu_stays():
    made = chain("a = Mul x half", "b = Erf a", "c = Add b one", "d = Mul x c", "y = Mul d half")
    agree(made, X)
    assert "gelu(x0)" not in str(core(made).nodes[-1].attributes)


def test_attention_gets_a_group():
    inputs = {"q": normal(2, 3, 4), "k": normal(2, 5, 4), "v": normal(2, 5, 6)}
    nodes = [helper.make_node("Transpose", ["k"], ["t"], perm=[0, 2, 1]), helper.make_node("MatMul", ["q", "t"], ["s"]),
             helper.make_node("Mul", ["s", "half"], ["z"]), helper.make_node("Add", ["z", "mask"], ["m"]),
             helper.make_node("Softmax", ["m"], ["p"]), helper.make_node("MatMul", ["p", "v"], ["y"])]
    made = model(nodes, inputs, ["y"], {"half": np.float32(0.5), "mask": np.where(np.tri(3, 5, 2), 0, -np.inf).astype(np.float32)})
    agree(made, inputs)
    graph = core(made)
    assert groups(graph) == {"attention#0", "attention#0/softmax#0"}
    assert sum(node.op is Core.VIEW for node in graph.nodes) == 1      # the transposed keys, no copy


def test_an_addition_becomes_the_bias():
    made = chain("h = MatMul x w", "y = Add b h", w=normal(8, 4), b=normal(1, 4))
    agree(made, X)
    assert [node.op for node in core(made).nodes] == [Core.VIEW, Core.MATMUL, Core.VIEW]       # the views: one axis of rows
    turned = chain("h = MatMul x w", "a = Add h b", "t = Transpose a", "y = Exp t", w=normal(8, 4), b=normal(4))
    agree(turned, X)
    assert sum(node.op is Core.MAP for node in core(turned).nodes) == 1
    two = chain("h = MatMul x w", "a = Add h b", "y = Mul a h", w=normal(8, 4), b=normal(4))       # h is used twice: no bias
    agree(two, X)
    assert sum(node.op is Core.MAP for node in core(two).nodes) == 2


def test_common_subexpressions_and_dead_code():
    made = chain("a = Exp x", "b = Exp x", "c = Tanh x", "y = Add a b")
    assert len(core(made).nodes) == 2


@pytest.mark.parametrize("scale", [np.float32(0.02), np.abs(normal(4)) / 50])
def test_quantised_weights_stay_int8(monkeypatch, scale):
    """Through views too; a MATMUL of INT8 gives the same bits as one of FP32."""
    weights = RANDOM.integers(-100, 100, (4, 8)).astype(np.int8)
    made = model([helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0), helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)],
                 {"x": normal(3, 8)}, ["y"], {"q": weights, "s": scale})
    graph, inputs = core(made), {"x": normal(3, 8)}
    assert int8.with_int8(graph) is not graph and [tensor.dtype for tensor in int8.with_int8(graph).constants] == [DType.FP32]    # too few
    monkeypatch.setattr(int8, "LEAST", 1)
    kept = int8.with_int8(graph).check()
    assert [tensor.dtype for tensor in kept.constants] == [DType.INT8, DType.FP32]
    expected, found, back = (exact.run(each, inputs, 4)["y"] for each in (graph, kept, int8.as_floats(kept, kept.nodes[-1].inputs[1])))
    assert expected.tobytes() == found.tobytes() == back.tobytes()
    np.testing.assert_allclose(run(kept, inputs)["y"], run(graph, inputs)["y"], rtol=1e-6)


def test_views_of_views_are_one():
    image = {"x": normal(1, 2, 6, 6)}
    made = one_node("Conv", image, {"w": normal(3, 2, 2, 2), "b": normal(3)})
    nodes = core(made).nodes
    assert [node.op for node in nodes] == [Core.VIEW, Core.MATMUL, Core.VIEW, Core.COPY]      # im2col; the last one is the output
    assert nodes[0].attributes.strides is None


def test_reshape_of_views():
    turned = views.transpose(views.identity((4, 6)), (1, 0))
    assert views.reshape(turned, (2, 3, 4)) == View.of((2, 3, 4), (3, 1, 6))
    merged = views.reshape(turned, (24,))
    assert merged.axes == (((6, 1), (4, 6)),)
    assert views.reshape(merged, (3, 8)) == View((((3, 2),), ((2, 1), (4, 6))))
    assert views.reshape(merged, (4, 6)) is None
    assert views.slice_axis(merged, 0, 4, 8) == View((((2, 1), (4, 6)),), 1)
    assert views.slice_axis(merged, 0, 5, 2) == View((((2, 6),),), 7)
    assert views.slice_axis(merged, 0, 3, 4) is None


def test_bfloat16():
    weights = normal(8, 4)
    made = chain("h = MatMul x w", "y = Relu h", inputs={"x": X["x"].astype(DType.BF16.numpy)}, w=weights.astype(DType.BF16.numpy))
    graph = core(made)
    assert {tensor.dtype for tensor in graph.tensors.values()} == {DType.BF16}
    x = X["x"].astype(DType.BF16.numpy)
    expected = np.maximum(x.astype(np.float64) @ weights.astype(DType.BF16.numpy).astype(np.float64), 0)
    np.testing.assert_allclose(run(graph, {"x": x})["y"], expected)


def test_dump(tmp_path):
    made = one_node("Softmax", X)
    core(made, dump=Dump(tmp_path / "deep"))
    names = sorted(path.name for path in (tmp_path / "deep").iterdir())
    assert names[:2] == ["00-imported.svg", "00-imported.txt"] and names[-1] == "08-core.txt"
    assert "softmax#0" in (tmp_path / "deep" / "08-core.txt").read_text()
    assert (tmp_path / "deep" / "08-core.svg").read_text().count("<g>") == 5


def test_elementwise_work_is_done_in_the_order_in_which_tensors_lie():
    """Behind a convolution the channels are neighbours: no padding, pooling or activation turns that round."""
    image = {"x": normal(2, 1, 6, 6)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c"], ["r"]),
             helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
             helper.make_node("Conv", ["p", "v"], ["d"], pads=[1, 1, 1, 1]), helper.make_node("Mul", ["d", "g"], ["y"])]
    made = model(nodes, image, ["y"], {"w": normal(8, 1, 3, 3), "v": normal(4, 8, 3, 3), "g": normal(4, 1, 1)})
    agree(made, image)
    graph = core(made)
    shapes = [graph[node.output].shape for node in graph.nodes if node.op in (Core.MAP, Core.COPY)]
    assert shapes == [(2, 1, 8, 8), (2, 6, 6, 8), (2, 3, 3, 8), (2, 3, 3, 8), (2, 5, 5, 8), (2, 3, 3, 4), (2, 4, 3, 3)]


def test_a_product_reads_rows_as_they_lie():
    """Monarch's Gemm - Mul - Transpose - Gemm: the second product takes the first one's rows, the result is turned instead."""
    graph = core(entry("monarch").build()[0])
    assert [node.op for node in graph.nodes] == [Core.MATMUL, Core.MAP, Core.MATMUL, Core.VIEW, Core.COPY]
    agree(*entry("monarch").build())
