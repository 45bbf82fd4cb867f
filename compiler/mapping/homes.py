"""Where the tensors of a graph lie: symbols of their own, or patterns over another one's (views, and updates in place)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

from ..frontend.int8 import is_int8
from ..graph.ir import Copy, Core, DType, Graph, Node, Place, Tensor, View, row_major
from ..graph.pattern import NotAffine, Pattern
from .section import Home

__all__ = ["Layout", "layout", "with_copy"]


@dataclass
class Layout:
    """``graph``: the graph that is mapped (with copies where a view could not be a pattern); ``homes`` of all its tensors;
    ``roots``: symbol -> tensor that it is named after; ``in_place``: UPDATE nodes whose target is changed where it is."""

    graph: Graph
    homes: dict[str, Home]
    roots: dict[str, Tensor] = field(default_factory=dict)
    in_place: set[str] = field(default_factory=set)


def layout(graph: Graph, words: Iterable[str]) -> Layout:
    """Homes for all tensors; BF16 symbols named in ``words`` lie as FP32 words."""
    words = set(words)
    while True:
        try:
            return _layout(_outputs_of_their_own(graph), words)
        except _Copied as copied:
            graph = copied.graph


class _Copied(Exception):
    def __init__(self, graph: Graph):
        self.graph = graph


def _layout(graph: Graph, words: set[str]) -> Layout:
    found = Layout(graph, {})
    last_use = {name: number for number, node in enumerate(graph.nodes) for name in node.inputs if name}
    size = {DType.FP32: 4, DType.INT32: 4, DType.INT8: 4}
    weights = {node.inputs[1] for node in graph.nodes if is_int8(graph, node)}

    def root(tensor: Tensor) -> None:
        odd = not tensor.shape or tensor.shape[-1] % 2 == 1        # rows of an odd number of BF16 would not start at words
        bytes_ = 1 if tensor.name in weights else size.get(tensor.dtype, 4 if odd or tensor.name in words else 2)
        found.homes[tensor.name] = Home(tensor.name, bytes_, Pattern.contiguous(prod(tensor.shape)))
        found.roots[tensor.name] = tensor

    for tensor in [*graph.constants, *(graph[name] for name in graph.inputs)]:
        root(tensor)
    # The last node that reads a symbol, under any name.
    for number, node in enumerate(graph.nodes):
        if node.op is Core.VIEW:
            source = found.homes[node.inputs[0]]
            view = node.attributes
            sizes, strides = zip(*view.loops, strict=True) if view.loops else ((), ())
            try:
                found.homes[node.output] = Home(source.symbol, source.size, source.pattern.through(sizes, strides, view.offset))
            except NotAffine:
                raise _Copied(with_copy(graph, node, node.inputs[0])) from None
        elif node.op is Core.UPDATE and _may_be_in_place(graph, number, node, found, last_use):
            found.homes[node.output] = found.homes[node.inputs[0]]
            found.in_place.add(node.name)
        else:
            root(graph[node.output])
    return found


def _may_be_in_place(graph: Graph, number: int, node: Node, found: Layout, last_use: dict[str, int]) -> bool:
    """Whether nobody reads the target's symbol after this node."""
    target = node.inputs[0]
    home = found.homes[target]
    if not home.pattern.is_contiguous or home.pattern.offset or found.roots[home.symbol].is_constant or target in graph.outputs \
            or found.roots[home.symbol].elements != graph[target].elements:
        return False
    names = [name for name, other in found.homes.items() if other.symbol == home.symbol]
    if any(name in graph.outputs for name in names):
        return False
    later = {home.symbol} | set(names)
    for other in graph.nodes[number + 1:]:
        if any(name in later for name in other.inputs):
            return False
    return not any(name in (home.symbol, *names) for name in node.inputs[1:])


def with_copy(graph: Graph, node: Node, name: str) -> Graph:
    """The graph with a COPY of tensor ``name`` put before ``node``, which reads the copy instead."""
    source = graph[name]
    number = 0
    while (copy := f"{name}~{number}") in graph.tensors:
        number += 1
    tensor = Tensor(copy, source.shape, source.dtype)
    made = Node(Core.COPY, (name,), (copy,), Copy((Place(row_major(source.shape)),)), f"copy {copy}", node.group, node.origin)
    nodes = []
    for other in graph.nodes:
        if other is node:
            nodes.append(made)
            other = Node(node.op, tuple(copy if n == name else n for n in node.inputs), node.outputs, node.attributes, node.name,
                         node.group, node.origin)
        nodes.append(other)
    return graph.with_nodes(nodes, {**graph.tensors, copy: tensor})


def _outputs_of_their_own(graph: Graph) -> Graph:
    """Graph outputs that are inputs, constants, or views become copies, so that each has its own symbol."""
    makers = graph.producers()
    nodes, tensors, outputs = list(graph.nodes), dict(graph.tensors), []
    changed = False
    for name in graph.outputs:
        maker = makers.get(name)
        if maker is not None and _is_whole(graph, makers, name):
            outputs.append(name)
            continue
        source = graph[name]
        changed = True
        hidden = f"{name}~out"
        if maker is None:
            tensors[hidden] = Tensor(hidden, source.shape, source.dtype)
            nodes.append(Node(Core.COPY, (name,), (hidden,), Copy((Place(row_major(source.shape)),)), f"copy {name}"))
            outputs.append(hidden)
            continue
        # The view gets another name, the copy the output's.
        tensors[hidden] = Tensor(hidden, source.shape, source.dtype)
        nodes = [Node(n.op, tuple(hidden if i == name else i for i in n.inputs), tuple(hidden if o == name else o for o in n.outputs),
                      n.attributes, n.name, n.group, n.origin) for n in nodes]
        nodes.append(Node(Core.COPY, (hidden,), (name,), Copy((Place(row_major(source.shape)),)), f"copy {name}"))
        outputs.append(name)
    return graph.with_nodes(nodes, tensors, tuple(outputs)) if changed else graph


def _is_whole(graph: Graph, makers: dict[str, Node], name: str) -> bool:
    """Whether a tensor is all of what some node makes, in its order."""
    while (maker := makers.get(name)) is not None and maker.op is Core.VIEW:
        if not is_reshape(maker.attributes, graph[maker.inputs[0]].elements):
            return False
        name = maker.inputs[0]
    return maker is not None


def is_reshape(view: View, elements: int) -> bool:
    """Whether a view only gives another shape to all of its source."""
    return view.offset == 0 and view.is_contiguous and prod(view.shape) == elements
