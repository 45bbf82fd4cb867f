"""ONNX file -> graph of imported operators (ONNX names), with functions inlined and free dimensions bound."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from ..graph.ir import DType, Graph, GraphError, Node, Operator, Tensor
from .operators import missing

__all__ = ["OPSETS", "WITH_BODIES", "constant_of", "import_model", "import_node", "load", "onnx_type"]

OPSETS = range(17, 27)
OLDER = range(7, 17)         # brought to the first of OPSETS by ONNX's own converter
TYPES = {onnx.TensorProto.FLOAT: DType.FP32, onnx.TensorProto.BFLOAT16: DType.BF16, onnx.TensorProto.INT32: DType.INT32,
         onnx.TensorProto.INT8: DType.INT8, onnx.TensorProto.INT64: DType.INT64, onnx.TensorProto.BOOL: DType.BOOL,
         onnx.TensorProto.UINT8: DType.UINT8, onnx.TensorProto.FLOAT16: DType.FP32}         # FP16 is computed in FP32
WIDER = {"float64": np.float32, "float16": np.float32, "int4": np.int8, "uint4": np.uint8}       # constants
LONGEST_TEXT = 300
TYPED = ("to", "dtype", "output_dtype", "stash_type", "softmax_precision")       # attributes that hold the number of a type
WITH_BODIES, BODIES = ("If", "Loop", "Scan"), ("body", "then_branch", "else_branch")


def onnx_type(kind: DType) -> int:
    """The number that ONNX gives an element type."""
    return next(number for number, known in TYPES.items() if known is kind)


def load(path: str | Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Graph:
    """The graph in an ONNX file; ``shapes`` of inputs bind their free dimensions. :class:`GraphError` says what is wrong with it."""
    path = Path(path)
    if not path.is_file():
        raise GraphError(f"{path} {'is no file' if path.exists() else 'does not exist'}")
    try:
        model = onnx.load(path)
        if not model.graph.node:
            raise GraphError(f"{path} holds no graph: not an ONNX file, or an empty one")
        if _opset(model) in OPSETS:
            _check_operators(model.graph, _opset(model), frozenset((each.domain, each.name) for each in model.functions))
        for value in model.graph.output:          # the checker wants a shape, which nothing here looks at
            if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
                value.type.tensor_type.shape.SetInParent()
        onnx.checker.check_model(model)
    except GraphError:
        raise
    except Exception as error:       # protobuf, the checker and missing data files raise a dozen kinds
        raise GraphError(f"{path} is no valid ONNX model: {_one_line(error)}") from None
    return import_model(model, shapes, name=path.stem)


def import_model(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]] | None = None, name: str = "") -> Graph:
    """The graph of a model in memory."""
    opset = _opset(model)
    if opset in OLDER:
        model, opset = _converted(model, opset), OPSETS[0]
    if opset not in OPSETS:
        raise GraphError(f"opset {opset} is not there; there are {OPSETS[0]} to {OPSETS[-1]} (onnx.version_converter converts)")
    if not model.graph.output:
        raise GraphError(f"graph {model.graph.name!r} has no outputs")
    if model.functions:
        from onnx.inliner import inline_local_functions
        model = inline_local_functions(model)
    graph = model.graph
    _check_operators(graph, opset)
    tensors: dict[str, Tensor] = {}
    given = {value.name for value in graph.input} & set(shapes or ())       # an initializer is the default of an input of its name
    for initializer in graph.initializer:
        if initializer.name not in given:
            tensors[initializer.name] = constant_of(initializer.name, initializer)
    for sparse in graph.sparse_initializer:
        raise GraphError(f"constant {sparse.values.name!r} is sparse; only dense ones are there")
    inputs = [value for value in graph.input if value.name not in tensors]
    for value in inputs:
        tensors[value.name] = _input(value, (shapes or {}).get(value.name))
    for value in graph.output:
        if value.name in {each.name for each in inputs}:
            raise GraphError(f"output {value.name!r} is an input, too: put an Identity between them")
    nodes = [import_node(node, _name(node, number), tensors, opset) for number, node in enumerate(graph.node)]
    return Graph(name or graph.name or "model", tuple(node for node in nodes if node), tensors,
                 tuple(value.name for value in inputs), tuple(value.name for value in graph.output)).check()


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The model in the first opset that is there."""
    from onnx.version_converter import convert_version
    try:
        return convert_version(model, OPSETS[0])
    except Exception as error:       # what a C++ library throws
        raise GraphError(f"opset {opset} is not there and does not convert to {OPSETS[0]}: {_one_line(error)}") from None


def _name(node: onnx.NodeProto, number: int) -> str:
    return node.name or f"{node.op_type}_{number}"


def _opset(model: onnx.ModelProto) -> int:
    return next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)


def _check_operators(graph: onnx.GraphProto, opset: int, functions: frozenset[tuple[str, str]] = frozenset()) -> None:
    """Operators that ONNX itself does not have. Others that are not there may still fold away: see compiler.infer."""
    for number, node in enumerate(graph.node):
        if (node.domain, node.op_type) in functions:
            continue
        standard = node.domain in ("", "ai.onnx")
        if not standard or not onnx.defs.has(node.op_type, opset, ""):
            raise missing(node.op_type if standard else f"{node.domain}.{node.op_type}", _name(node, number))


def import_node(node: onnx.NodeProto, name: str, tensors: dict[str, Tensor], opset: int) -> Node | None:
    """The node under ``name``; its outputs join ``tensors``. None for a Constant, which joins them with its value."""
    values = {attribute.name: attribute.g if node.op_type in WITH_BODIES and attribute.name in BODIES else _attribute(attribute, name)
              for attribute in node.attribute}
    if node.op_type == "Constant":
        tensors[node.output[0]] = constant_of(node.output[0], next(iter(values.values())))
        return None
    for output in node.output:
        if output:
            tensors[output] = Tensor(output, None, None)
    return Node(node.op_type, tuple(node.input), tuple(output for output in node.output if output),
                Operator({"opset": opset} | values), name)


def _attribute(attribute: onnx.AttributeProto, node: str):
    if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
        raise GraphError(f"node {node!r}: attribute {attribute.name!r} is a graph; control flow is not there")
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if attribute.name in TYPED and value in (onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE):
        return onnx.TensorProto.FLOAT
    if isinstance(value, onnx.TensorProto):
        if value.data_type == onnx.TensorProto.FLOAT16:
            return numpy_helper.from_array(numpy_helper.to_array(value).astype(np.float32), value.name)
        return value
    if isinstance(value, list | tuple) or hasattr(value, "extend"):
        return tuple(each.decode() if isinstance(each, bytes) else each for each in value)
    return value


def constant_of(name: str, value) -> Tensor:
    """A constant from a TensorProto or from the attributes of a Constant."""
    if isinstance(value, onnx.TensorProto):
        try:
            array = numpy_helper.to_array(value)
        except Exception as error:
            raise GraphError(f"constant {name!r} is damaged: {_one_line(error)}") from None
    elif isinstance(value, float) or (isinstance(value, tuple) and value and isinstance(value[0], float)):
        array = np.array(value, dtype=np.float32)
    else:
        array = np.array(value, dtype=np.int64)
    if (wider := WIDER.get(array.dtype.name)) is not None:
        array = array.astype(wider)
    if array.dtype not in {kind.numpy for kind in DType}:
        raise GraphError(f"constant {name!r} is {array.dtype}; there are {', '.join(kind.value for kind in DType)}")
    return Tensor(name, array.shape, DType.of(array), array)


def _input(value: onnx.ValueInfoProto, bound: tuple[int, ...] | None) -> Tensor:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or kind.elem_type not in TYPES:
        names = ", ".join(known.value for known in DType)
        given = (onnx.TensorProto.DataType.Name(kind.elem_type).lower() if value.type.HasField("tensor_type")
                 else value.type.WhichOneof("value"))
        raise GraphError(f"input {value.name!r} is of type {given}; there are {names}")
    if not kind.HasField("shape"):
        if bound is None:
            raise GraphError(f"input {value.name!r} has no shape: give it an array (rdu run --input)")
        return Tensor(value.name, tuple(bound), TYPES[kind.elem_type])
    declared = [axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?" for axis in kind.shape.dim]
    if bound is not None and (len(bound) != len(declared) or any(isinstance(want, int) and want != size
                                                                for want, size in zip(declared, bound, strict=True))):
        raise GraphError(f"input {value.name!r} is {list(bound)}, the model wants {declared}")
    if bound is None and any(isinstance(size, str) for size in declared):
        raise GraphError(f"input {value.name!r} has free dimensions {declared}: give its shape, by an array (rdu run --input)")
    shape = tuple(declared if bound is None else bound)
    if 0 in shape:
        raise GraphError(f"input {value.name!r} of shape {list(shape)} is empty")
    return Tensor(value.name, shape, TYPES[kind.elem_type])


def _one_line(error: Exception) -> str:
    """What the error says, as one line of a length that can be read."""
    text = " ".join(str(error).split())
    return text[:LONGEST_TEXT] or type(error).__name__
