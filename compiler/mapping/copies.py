"""A section several times side by side: each copy does a part of all rows (or columns), and streams that all need come once.

Every tensor made inside is cut along its first axis into equal runs of its elements; an operand in memory is cut where the axis is
its own, or shared. Copies take shared streams in step, so that none of them waits for another that is behind by more than its buffers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from ..fabric.netlist import Flow, Netlist, VirtualUnit
from ..graph.ir import Copy, Core, Graph, Node, Tensor, View, row_major
from ..graph.pattern import Pattern
from .homes import is_reshape
from .section import Home, Unstreamable

__all__ = ["Cut", "cut", "share"]


@dataclass(frozen=True)
class Cut:
    """One copy: its nodes (views between them too), their tensors as ``graph``, and where those are in memory."""

    nodes: tuple[Node, ...]
    graph: Graph
    homes: Mapping[str, Home]
    names: Mapping[str, str]              # tensors made inside -> their names in this copy


def cut(graph: Graph, homes: Mapping[str, Home], nodes: Sequence[Node], count: int, columns: int = 1) -> list[Cut]:
    """``nodes`` (in order, with the views between them) as ``count`` copies by rows, each as ``columns`` by columns.
    Raises :class:`Unstreamable`.

    Where the first axis has too few places, each of its parts is cut along the next one."""
    if columns > 1:
        parts = cut(graph, homes, nodes, count) if count > 1 else [Cut(tuple(nodes), graph, homes, {n.output: n.output for n in nodes})]
        return [Cut(each.nodes, each.graph, each.homes, {name: each.names[own] for name, own in part.names.items()}) for part in parts
                for each in (_Columns(part.graph, part.homes, number, columns).of(part.nodes) for number in range(columns))]
    problem = None
    for first in (each for each in range(count, 1, -1) if count % each == 0):
        try:
            parts = [_Copy(graph, homes, number, first).of(nodes) for number in range(first)]
            return parts if first == count else [finer for part in parts for finer in _finer(part, count // first)]
        except Unstreamable as error:
            problem = problem or error
    raise problem


def _finer(part: Cut, count: int) -> list[Cut]:
    return [replace(each, names={name: each.names[own] for name, own in part.names.items()})
            for each in cut(part.graph, part.homes, part.nodes, count)]


class _Copy:
    def __init__(self, graph: Graph, homes: Mapping[str, Home], number: int, count: int):
        self.graph, self.homes_before, self.number, self.count = graph, homes, number, count
        self.tensors: dict[str, Tensor] = {}
        self.homes: dict[str, Home] = {}
        self.names: dict[str, str] = {}

    def of(self, nodes: Sequence[Node]) -> Cut:
        made = tuple(self._node(node) for node in nodes)
        graph = Graph(self.graph.name, made, self.tensors, (), ())
        return Cut(made, graph, self.homes, self.names)

    def _axis(self, shape: Sequence[int]) -> int:
        """The axis that is cut."""
        axis = next((axis for axis, size in enumerate(shape) if size > 1), None)
        if axis is None or axis == len(shape) - 1 or shape[axis] % self.count:
            raise Unstreamable(f"{list(shape)} is not cut into {self.count}")
        return axis

    def _node(self, node: Node) -> Node:
        shape = self.graph[node.output].shape
        axis = self._axis(shape)
        if node.op is Core.MAP and any(a.kind == "index" and a.value == axis for step in node.attributes.steps for a in step.arguments):
            raise Unstreamable("the index of the axis that is cut")
        if node.op is Core.COPY:
            return self._copy(node)
        if node.op not in (Core.MAP, Core.REDUCE, Core.MATMUL, Core.VIEW):
            raise Unstreamable(f"a {node.op.value} is not cut")
        inputs = tuple(self._input(node, place, name, len(shape) - axis) if name else "" for place, name in enumerate(node.inputs))
        name = self.names[node.output] = f"{node.output}@{self.number}"
        self._part(node.output, name, axis)
        attributes = self._view(node, axis) if node.op is Core.VIEW else node.attributes
        return replace(node, inputs=inputs, outputs=(name,), attributes=attributes, name=f"{node.name}@{self.number}")

    def _view(self, node: Node, axis: int) -> View:
        """The view of a run of the source's elements."""
        view, elements = node.attributes, self.graph[node.inputs[0]].elements
        if is_reshape(view, elements):
            part = [size // self.count if place == axis else size for place, size in enumerate(view.shape)]
            return View.of(tuple(part), row_major(tuple(part)))
        (size, stride), *inner = view.axes[axis]
        if view.offset or size * stride != elements or size % self.count:
            raise Unstreamable("a view across the runs of its source")
        return View((*view.axes[:axis], ((size // self.count, stride), *inner), *view.axes[axis + 1:]))

    def _copy(self, node: Node) -> Node:
        """A COPY of one tensor, cut as that is; its output stays whole in memory."""
        if len(node.inputs) != 1 or self.graph[node.inputs[0]].elements != self.graph[node.output].elements:
            raise Unstreamable("a copy of several tensors is not cut")
        shape, [place] = self.graph[node.inputs[0]].shape, node.attributes.places
        axis = self._axis(shape)
        source = self._input(node, 0, node.inputs[0], len(shape) - axis)
        name = self.names[node.output] = f"{node.output}@{self.number}"
        self.tensors[name] = replace(self.tensors[source], name=name)
        self.homes[name] = self.homes_before[node.output]
        place = replace(place, offset=place.offset + self.number * (shape[axis] // self.count) * place.strides[axis])
        return replace(node, inputs=(source,), outputs=(name,), attributes=Copy((place,)), name=f"{node.name}@{self.number}")

    def _input(self, node: Node, place: int, name: str, back: int) -> str:
        """Operand ``place``, cut where its axis ``back`` from the end is the output's."""
        if name in self.names:
            shape = self.graph[name].shape
            if node.op is not Core.VIEW and len(shape) - self._axis(shape) != back:
                raise Unstreamable(f"{name} is cut elsewhere")
            if node.op is Core.MATMUL and place:
                raise Unstreamable("the columns of a MATMUL come from memory")
            return self.names[name]
        shape = self.graph[name].shape
        axis = len(shape) - back
        shared = self._is_shared(node, place, axis, shape, back)
        key = name if shared else f"{name}@{self.number}/{axis}"
        if key not in self.tensors:
            self._part(name, key, None if shared else axis)
        return key

    def _is_shared(self, node: Node, place: int, axis: int, shape: Sequence[int], back: int) -> bool:
        """Whether all copies need the whole of an operand in memory."""
        return axis < 0 or shape[axis] == 1 or bool(node.op is Core.MATMUL and place and back <= 2)

    def _part(self, name: str, key: str, axis: int | None) -> None:
        tensor, home = self.graph[name], self.homes_before.get(name)
        if axis is None:
            self.tensors[key] = tensor
        else:
            shape = list(tensor.shape)
            shape[axis] //= self.count
            self.tensors[key] = Tensor(key, tuple(shape), tensor.dtype)
            home = home and replace(home, pattern=_part_of(home.pattern, tensor.shape, axis, self.number, self.count))
        if home:
            self.homes[key] = home


class _Columns(_Copy):
    """A copy that makes some columns of all rows: of products of rows in memory, and of maps."""

    def _axis(self, shape: Sequence[int]) -> int:
        if not shape or shape[-1] % self.count or shape[-1] == self.count:
            raise Unstreamable(f"the columns of {list(shape)} are not cut into {self.count}")
        return len(shape) - 1

    def _node(self, node: Node) -> Node:
        if node.op not in (Core.MAP, Core.MATMUL, Core.VIEW) or (node.op is Core.MATMUL and node.inputs[0] in self.names):
            raise Unstreamable(f"{node.name} needs all columns")
        return super()._node(node)

    def _view(self, node: Node, axis: int) -> View:
        source = self.graph[node.inputs[0]]
        if not is_reshape(node.attributes, source.elements) or source.shape[-1:] != node.attributes.shape[-1:]:
            raise Unstreamable("a view across columns")
        part = (*node.attributes.shape[:-1], node.attributes.shape[-1] // self.count)
        return View.of(part, row_major(part))

    def _is_shared(self, node: Node, place: int, axis: int, shape: Sequence[int], back: int) -> bool:
        return axis < 0 or shape[axis] == 1 or (node.op is Core.MATMUL and not place)

    def _part(self, name: str, key: str, axis: int | None) -> None:
        home = self.homes_before.get(name)
        if axis is not None and home and self.graph[name].shape[axis] // self.count * home.size % 4:
            raise Unstreamable("a part would start amid a word")
        super()._part(name, key, axis)


def _part_of(pattern: Pattern, shape: Sequence[int], axis: int, number: int, count: int) -> Pattern:
    loops = pattern.shaped(shape)
    (size, stride), *inner = loops[axis]
    if size % count:
        raise Unstreamable(f"a loop of {size} is not cut into {count}")
    loops[axis] = [(size // count, stride), *inner]
    dims = [loop for each in loops for loop in each]
    return Pattern.of([n for n, _ in dims], [s for _, s in dims], pattern.offset + number * (size // count) * stride)


def share(net: Netlist, copies: Sequence[Sequence[VirtualUnit]]) -> None:
    """Joins the units of later copies that do the very same as an earlier copy's: loads of shared operands, and what only they feed."""
    if len({len(copy) for copy in copies}) > 1:
        raise Unstreamable("copies of different units")
    for earlier, other in combinations(copies, 2):
        twin = {unit: original for unit, original in zip(other, earlier, strict=True) if unit in net.units and original in net.units}
        sources: dict[VirtualUnit, list[Flow]] = {}
        for flow in net.flows:
            for port in flow.destinations:
                sources.setdefault(port.unit, []).append(flow)
        gone: set[VirtualUnit] = set()
        for unit, original in twin.items():              # producers come before what they feed
            fed = sources.get(unit, [])
            same = unit.program == original.program and unit.symbol == original.symbol and unit.kind != "store"
            if same and (fed or unit.kind == "load") and all(flow.source.unit in gone for flow in fed):
                gone.add(unit)
        _join(net, gone, twin)


def _join(net: Netlist, gone: Iterable[VirtualUnit], twin: Mapping[VirtualUnit, VirtualUnit]) -> None:
    for flow in [flow for flow in net.flows if flow.source.unit in gone]:
        net.flows.remove(flow)
        source = twin[flow.source.unit].out(flow.source.index)
        for port in flow.destinations:
            if port.unit not in gone:
                net.connect(flow.fabric, source, port, flow.packets)
    for unit in gone:
        net.units.remove(unit)
