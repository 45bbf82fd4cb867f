"""Control flow whose course is known, or that can be computed both ways: If, Loop and Scan written out.

A body's own tensors are put under the node's name; it may read tensors from outside, and hold further bodies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx

from ..graph.ir import DType, GraphError, Node, Operator, Tensor
from .import_onnx import constant_of, import_node

__all__ = ["CONTROL", "written_out"]

MOST = 1 << 10               # iterations: they become nodes
STATE = "state"              # attribute of a Loop of which iterations are written out already


@dataclass(frozen=True)
class _State:
    """Where a Loop is: the iterations done, and the names of what each has given for the outputs that collect."""

    done: int
    collected: tuple[tuple[str, ...], ...]


class _Body:
    """Writes out bodies of ``node``; constants join the tensors."""

    def __init__(self, node: Node, tensors: dict[str, Tensor]) -> None:
        self.node, self.tensors, self.opset, self.nodes = node, tensors, node.attributes.values["opset"], []

    def put(self, body: onnx.GraphProto, prefix: str, given: dict[str, str]) -> list[str]:
        """The nodes of a body whose inputs are ``given``; names of its outputs."""
        names = given | {name: f"{prefix}/{name}" for name in _made(body)}
        for each in body.initializer:
            self.tensors[names[each.name]] = constant_of(names[each.name], each)
        for number, each in enumerate(body.node):
            made = import_node(_renamed(each, names), f"{prefix}/{each.name or each.op_type}_{number}", self.tensors, self.opset)
            self.nodes += [made] if made else []
        return [names.get(value.name, value.name) for value in body.output]

    def op(self, op: str, inputs: tuple[str, ...], output: str, **attributes) -> str:
        self.tensors[output] = Tensor(output, None, None)
        self.nodes.append(Node(op, inputs, (output,), Operator({"opset": self.opset} | attributes), output))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        self.tensors[name] = Tensor(name, value.shape, DType.of(value), value)
        return name

    def join(self, names: list[str]) -> None:
        """Hands ``names`` on as the node's outputs."""
        for name, output in zip(names, self.node.outputs, strict=False):
            self.op("Identity", (name,), output)

    def stacked(self, parts: tuple[str, ...], axis: int, output: str) -> str:
        """The parts along a new axis."""
        place = self.constant(f"{output}/axis", np.array([axis]))
        rows = tuple(self.op("Unsqueeze", (part, place), f"{output}/{number}") for number, part in enumerate(parts))
        return self.op("Concat", rows, f"{output}/all", axis=axis)

    def error(self, text: str) -> GraphError:
        return GraphError(f"operator {self.node.op} of node {self.node.name!r}: {text}")


def written_out(node: Node, tensors: dict[str, Tensor]) -> list[Node]:
    """The nodes that an If, a Loop or a Scan stands for. :class:`GraphError` if its course depends on values."""
    body = _Body(node, tensors)
    CONTROL[node.op](body, node)
    return body.nodes


def _made(body: onnx.GraphProto) -> set[str]:
    return {name for each in body.node for name in each.output if name} | {each.name for each in body.initializer}


def _renamed(node: onnx.NodeProto, names: dict[str, str]) -> onnx.NodeProto:
    """A copy of the node, and of the bodies in it, with other names for what is named from outside."""
    made = onnx.NodeProto()
    made.CopyFrom(node)
    made.input[:] = [names.get(name, name) for name in node.input]
    made.output[:] = [names.get(name, name) for name in node.output]
    for attribute in made.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            inner = attribute.g
            own = _made(inner) | {value.name for value in inner.input}
            outside = {name: new for name, new in names.items() if name not in own}
            renamed = [_renamed(each, outside) for each in inner.node]
            del inner.node[:]
            inner.node.extend(renamed)
            for value in inner.output:
                value.name = outside.get(value.name, value.name)
    return made


def _if(b: _Body, node: Node) -> None:
    """The branch that is taken; of a condition that is not known, both, and a choice of the results."""
    values = node.attributes.values
    if STATE in values:
        _choice(b, node, values[STATE])
        return
    condition = b.tensors[node.inputs[0]].value
    if condition is not None:
        b.join(b.put(values["then_branch" if condition.item() else "else_branch"], node.name, {}))
        return
    both = tuple(tuple(b.put(values[f"{side}_branch"], f"{node.name}/{side}", {})) for side in ("then", "else"))
    b.nodes.append(replace(node, attributes=Operator(values | {STATE: both})))


def _choice(b: _Body, node: Node, both: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
    scalar = b.op("Reshape", (node.inputs[0], b.constant(f"{node.name}/shape", np.zeros(0, np.int64))), f"{node.name}/condition")
    for yes, no, output in zip(*both, node.outputs, strict=False):
        one, other = b.tensors[yes], b.tensors[no]
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            raise b.error(f"its condition depends on values, and its branches give {one} and {other}")
        b.op("Where", (scalar, yes, no), output)


def _loop(b: _Body, node: Node) -> None:
    """One iteration, and the Loop that is left."""
    values = node.attributes.values
    body, (trips, condition, *carried) = values["body"], node.inputs
    state = values.get(STATE) or _State(0, ((),) * (len(body.output) - 1 - len(carried)))
    most = b.tensors[trips].value if trips else None
    go = b.tensors[condition].value if condition else np.array(True)
    if (trips and most is None) or go is None:
        raise b.error(f"{'the number of its iterations' if trips and most is None else 'its condition'} depends on values; "
                      "export it with a fixed number of iterations")
    if not go.item() or (trips and state.done >= most.item()):
        if state.collected and not state.done:
            raise b.error("no iteration: what it collects would be empty")
        stacked = [b.stacked(parts, 0, f"{node.name}/collected_{number}") for number, parts in enumerate(state.collected)]
        b.join([*carried, *stacked])
        return
    if state.done >= MOST:
        raise b.error(f"more than {MOST} iterations; they are written out")
    prefix = f"{node.name}/{state.done}"
    number = b.constant(f"{prefix}/iteration", np.array(state.done))
    condition = condition or b.constant(f"{prefix}/condition", np.array(True))
    given = dict(zip((value.name for value in body.input), (number, condition, *carried), strict=True))
    again, *results = b.put(body, prefix, given)
    kept, new = results[:len(carried)], results[len(carried):]
    collected = tuple((*parts, part) for parts, part in zip(state.collected, new, strict=True))
    b.nodes.append(replace(node, inputs=(trips, again, *kept),
                           attributes=Operator(values | {STATE: _State(state.done + 1, collected)})))


def _scan(b: _Body, node: Node) -> None:
    """All iterations."""
    values = node.attributes.values
    body, inputs = values["body"], values["num_scan_inputs"]
    carried, scanned = list(node.inputs[:-inputs]), node.inputs[-inputs:]
    outputs = len(body.output) - len(carried)
    axes, back = values.get("scan_input_axes", (0,) * inputs), values.get("scan_input_directions", (0,) * inputs)
    lengths = {b.tensors[name].shape[axis] for name, axis in zip(scanned, axes, strict=True)}
    if len(lengths) > 1:
        raise b.error(f"its inputs {', '.join(str(b.tensors[name]) for name in scanned)} have different numbers of parts")
    collected: list[list[str]] = [[] for _ in range(outputs)]
    for step in range(count := lengths.pop()):
        prefix = f"{node.name}/{step}"
        given = carried + [_taken(b, name, axis, count - 1 - step if backwards else step, f"{prefix}/{name}")
                           for name, axis, backwards in zip(scanned, axes, back, strict=True)]
        results = b.put(body, prefix, dict(zip((value.name for value in body.input), given, strict=True)))
        carried = results[:len(carried)]
        for parts, part in zip(collected, results[len(carried):], strict=True):
            parts.append(part)
    out_axes, out_back = values.get("scan_output_axes", (0,) * outputs), values.get("scan_output_directions", (0,) * outputs)
    b.join([*carried, *(b.stacked(tuple(parts[::-1] if backwards else parts), axis, f"{node.name}/collected_{number}")
                        for number, (parts, axis, backwards) in enumerate(zip(collected, out_axes, out_back, strict=True)))])


def _taken(b: _Body, name: str, axis: int, place: int, output: str) -> str:
    """One part of a tensor along an axis, which goes."""
    first, last, axes = (b.constant(f"{output}/{what}", np.array([value]))
                         for what, value in (("first", place), ("last", place + 1), ("axis", axis)))
    return b.op("Squeeze", (b.op("Slice", (name, first, last, axes), f"{output}/part"), axes), f"{output}/taken")


CONTROL = {"If": _if, "Loop": _loop, "Scan": _scan}
