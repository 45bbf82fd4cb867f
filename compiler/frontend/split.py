"""MAPs of more steps than a device has PCUs for become several, each a part that one PCU computes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hw.config import RDUConfig

from ..errors import CompileError
from ..fabric.netlist import Capacity
from ..graph.check import step_is_integer
from ..graph.ir import Argument, Core, DType, Function, Graph, Map, Node, Step, Tensor
from ..mapping.expression import Cluster, Operands, clusters

__all__ = ["split_maps"]


def split_maps(graph: Graph, config: RDUConfig) -> Graph:
    """The graph with every MAP small enough to be a kernel; values between parts are FP32 or INT32, so no bit changes."""
    nodes, tensors = [], dict(graph.tensors)
    for node in graph.nodes:
        parts = _parts(graph, node, config) if node.op is Core.MAP else ()
        nodes += _apart(graph, node, parts, tensors) if parts else [node]
    return graph if len(nodes) == len(graph.nodes) else graph.with_nodes(nodes, tensors)


def _parts(graph: Graph, node: Node, config: RDUConfig) -> Sequence[Cluster]:
    """The parts of a MAP that does not fit; empty if it does."""
    shape, limit = graph[node.output].shape, Capacity.of(config)
    steps = list(node.attributes.steps)
    if graph[node.output].dtype is DType.BF16:
        steps.append(Step(Function.TO_BF16, (Argument("step", len(steps) - 1),)))
    rank, index = len(shape), {axis: 1 + axis for axis in range(len(shape))}
    narrow = frozenset(number for number, name in enumerate(node.inputs) if not graph[name].shape or graph[name].shape[-1] == 1)
    try:
        ways = [clusters(steps, Operands(scalars=scalars, index=index | {rank - 1: -1}), config.pcu, node.name)
                for scalars in (frozenset(), narrow)]
        fits = max(map(len, ways)) <= limit.pcu and len(set(node.inputs)) <= limit.load
        return () if fits or len(node.attributes.steps) < 2 else clusters(list(node.attributes.steps), Operands(index=index), config.pcu,
                                                                           node.name)
    except CompileError:
        return ()                # what does not fit at all is said where it is mapped


def _apart(graph: Graph, node: Node, parts: Sequence[Cluster], tensors: dict[str, Tensor]) -> list[Node]:
    """A node for each part."""
    inputs, out, names, nodes = [graph[name] for name in node.inputs], graph[node.output], {}, []
    for part in parts:
        last, places = part is parts[-1], {number: place for place, number in enumerate(part.steps)}
        used: list[str] = []

        def argument(given: Argument, places=places, used=used) -> Argument:
            if given.kind == "step" and given.value in places:
                return Argument("step", places[given.value])
            if given.kind not in ("input", "step"):
                return given
            name = node.inputs[given.value] if given.kind == "input" else names[given.value]
            if name not in used:
                used.append(name)
            return Argument("input", used.index(name))

        steps = [node.attributes.steps[number] for number in part.steps]
        indexed = any(given.kind == "index" for step in steps for given in step.arguments)
        steps = tuple(Step(step.function, tuple(map(argument, step.arguments))) for step in steps)
        name = node.output if last else _fresh(f"{node.output}%{part.root}", tensors)
        if not last:
            shape = out.shape if indexed else np.broadcast_shapes(*(tensors[each].shape for each in used))
            kind = DType.INT32 if step_is_integer(node.attributes, inputs, part.root) else DType.FP32
            names[part.root] = name
            tensors[name] = Tensor(name, tuple(shape), kind)
        nodes.append(Node(Core.MAP, tuple(used), (name,), Map(steps), f"{node.name}%{part.root}", node.group, node.origin))
    return nodes


def _fresh(name: str, tensors: dict[str, Tensor]) -> str:
    while name in tensors:
        name += "%"
    return name
