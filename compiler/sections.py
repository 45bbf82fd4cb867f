"""How a graph is cut into kernels: as many operators in each as its units, its memories and its streams allow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from math import prod

from hw.config import RDUConfig
from hw.pcu.program import ProgramError

from .balance import Imbalance, check_balance
from .cost import predict
from .errors import CompileError
from .homes import Layout, is_reshape
from .ir import Core, Node
from .mapping import Feed, Section, Unstreamable
from .matmul import map_matmul
from .netlist import Capacity, Netlist
from .pattern import NotAffine
from .peephole import join_units
from .place import route_netlist
from .simd import map_map, map_placed, map_reduce
from .streams import NeedsWords, TooDeep

__all__ = ["sections"]

MAPPERS = {Core.MAP: map_map, Core.REDUCE: map_reduce, Core.MATMUL: map_matmul, Core.COPY: map_placed}
LAUNCH = 250             # cycles that one launch less is worth
WIDTHS = (8, 6, 4, 3, 2)
REFUSALS = (Unstreamable, NotAffine, NeedsWords, TooDeep, CompileError, ProgramError)


def sections(where: Layout, config: RDUConfig, fuse: str, tell, seed: int, alone: Callable[[Node], Iterable[tuple[Netlist, int]]]
             ) -> Iterator[Node | tuple[Netlist, tuple[str, ...]]]:
    """What becomes a kernel, in order: a node by itself (to be cut as it needs), or several nodes as one netlist.

    ``alone``: the netlists of a node by itself and how often each is launched.
    """
    cutter = _Cutter(where, config, seed, alone)
    nodes = [node for node in where.graph.nodes if node.op is not Core.VIEW]
    position = 0
    while position < len(nodes):
        count = 1 if fuse == "none" else cutter.longest(nodes[position:], fuse == "op")
        while count > 1:
            net = cutter.section(nodes[position:position + count])
            if isinstance(net, Netlist) and cutter.routes(net):
                tell(f"section of {count} operators: {net.name}")
                yield net, tuple(node.name for node in nodes[position:position + count])
                break
            count -= 1
        else:
            yield nodes[position]
        position += max(count, 1)


class _Cutter:
    """Tries sections on one graph."""

    def __init__(self, where: Layout, config: RDUConfig, seed: int, alone: Callable):
        self.where, self.config, self.seed, self.alone = where, config, seed, alone
        self.found: dict[tuple[str, ...], Netlist | str] = {}
        self.costs: dict[str, int] = {}
        graph = where.graph
        self.producers, self.capacity = graph.producers(), Capacity.of(config)
        self.outputs = {self.root(name) for name in graph.outputs}
        self.users: dict[str, set[str]] = {}
        for node in graph.nodes:
            if node.op is not Core.VIEW:
                for name in filter(None, node.inputs):
                    self.users.setdefault(self.root(name), set()).add(node.name)

    def root(self, name: str) -> str:
        """The tensor that a chain of views ends in."""
        while (node := self.producers.get(name)) is not None and node.op is Core.VIEW:
            name = node.inputs[0]
        return name

    def longest(self, nodes: Sequence[Node], one_operator: bool) -> int:
        """How many of ``nodes``, from the first on, fit one kernel by what their netlist needs."""
        count, misses = 1, 0
        for number in range(2, len(nodes) + 1):
            node, first = nodes[number - 1], nodes[0]
            if node.op not in MAPPERS or first.op not in MAPPERS:
                break
            tag = node.group or node.origin
            if one_operator and (not tag or tag != (first.group or first.origin)):
                break
            net = self.section(nodes[:number])
            if isinstance(net, Netlist) and self.worth(nodes[:number], count, net):
                count, misses = number, 0
            else:
                misses += 1
                if misses > 2:        # a node more may join two PCUs, or use a stream instead of a store
                    break
        return count

    def worth(self, nodes: Sequence[Node], count: int, net: Netlist) -> bool:
        """Whether a kernel of all ``nodes`` is faster than one of the first ``count`` and one for each of the others."""
        before = self.cost(nodes[0]) if count == 1 else predict(self.section(nodes[:count])).cycles
        apart = before + sum(self.cost(node) + LAUNCH for node in nodes[count:])
        return predict(net).cycles <= apart

    def cost(self, node: Node) -> int:
        """Predicted cycles of a node by itself."""
        if node.name not in self.costs:
            try:
                self.costs[node.name] = sum(predict(net).cycles * launches for net, launches in self.alone(node))
            except (*REFUSALS, Exception) as problem:        # it cannot be mapped yet: whatever copies it needs come on top
                if not isinstance(problem, REFUSALS) and type(problem).__name__ != "_NeedsCopy":
                    raise
                self.costs[node.name] = 1 << 40
        return self.costs[node.name]

    def routes(self, net: Netlist) -> bool:
        try:
            net.placement = route_netlist(net, self.seed)
        except CompileError:
            return False
        return True

    def section(self, nodes: Sequence[Node]) -> Netlist | str:
        """The netlist of these nodes as one kernel, or why there is none."""
        key = tuple(node.name for node in nodes)
        if key not in self.found:
            self.found[key] = self._widest(nodes)
        return self.found[key]

    def _widest(self, nodes: Sequence[Node]) -> Netlist | str:
        """The section with MATMULs that end in memory on as many PCUs as are left, if that is faster."""
        best = self._tried(nodes, {})
        names = {node.name for node in nodes}
        free = [node for node in nodes if node.op is Core.MATMUL and self.users.get(node.output, set()).isdisjoint(names)]
        if not isinstance(best, Netlist) or not free:
            return best
        for width in WIDTHS:
            grids = {node.name: (1, width) for node in free if self.where.graph[node.output].shape[-1] % width == 0}
            wider = self._tried(nodes, grids) if grids else ""
            if isinstance(wider, Netlist) and predict(wider).cycles < predict(best).cycles:
                return wider
        return best

    def _tried(self, nodes: Sequence[Node], grids: dict[str, tuple[int, int]]) -> Netlist | str:
        try:
            return self._section(nodes, grids)
        except REFUSALS as problem:
            return str(problem) or type(problem).__name__
        except Imbalance as problem:
            return f"streams of different lengths: {problem}"

    def _section(self, nodes: Sequence[Node], grids: dict[str, tuple[int, int]]) -> Netlist:
        graph, names = self.where.graph, {node.name for node in nodes}
        made = {node.output for node in nodes}
        kept = {name for name in made if name in self.outputs or self.users.get(name, set()) - names}
        inside = {self.root(name) for node in nodes for name in node.inputs if name} & made
        net = Netlist(self.config, "+".join(node.name for node in nodes) if len(nodes) < 4 else f"{nodes[0].name} ... {nodes[-1].name}")
        section = Section(self.config, graph, self.where.homes, net, inside=frozenset(inside), kept=frozenset(kept), grids=grids)
        written = {self.where.homes[name].symbol for name in kept}
        for node in nodes:
            for name in filter(None, node.inputs):
                if self.root(name) in made:
                    self._stream(section, name)
                elif self.where.homes[name].symbol in written:
                    raise Unstreamable(f"{name} is written in this kernel")
            MAPPERS[node.op](section, node)
            if node.output in inside and node.output not in section.feeds:
                raise Unstreamable(f"{node.output} is no stream")
        join_units(net)
        if problem := net.used().exceeded(self.capacity):
            raise Unstreamable(problem)
        check_balance(net)
        return net

    def _stream(self, section: Section, name: str) -> None:
        """Makes the stream of a view of a tensor made inside, if it only gives it another shape."""
        if name in section.feeds:
            return
        node = self.producers[name]
        if node.op is not Core.VIEW:
            raise Unstreamable(f"{name} comes later")
        source = node.inputs[0]
        self._stream(section, source)
        if not is_reshape(node.attributes, section.graph[source].elements):
            raise Unstreamable(f"{name} reads {source} in another order")
        shape = section.graph[name].shape or (1,)
        section.feeds[name] = _reshaped(section.feeds[source], shape, section.lanes)


def _reshaped(feed: Feed, shape: Sequence[int], lanes: int) -> Feed:
    n, rows = shape[-1], prod(shape[:-1])
    if n == feed.n:
        return feed
    whole = lanes * (2 if feed.packed else 1)
    if feed.scalar or n % whole or feed.n % whole:
        raise Unstreamable(f"rows of {feed.n} as rows of {n}")
    return replace(feed, n=n, rows=rows, lag=-(-feed.lag * rows // feed.rows))
