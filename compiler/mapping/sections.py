"""How a graph is cut into kernels: as many operators in each as its units, its memories and its streams allow."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from math import prod

from hw.config import RDUConfig
from hw.pcu.program import ProgramError

from ..errors import CompileError, NeedsCopy
from ..fabric.balance import Imbalance, check_balance
from ..fabric.netlist import Capacity, Netlist
from ..fabric.place import route_netlist
from ..graph.ir import Core, Node
from ..graph.pattern import NotAffine
from ..timing.cost import predict
from .blocks import store_in_blocks
from .copies import cut, share
from .copying import map_placed
from .homes import Layout, is_reshape
from .matmul import map_matmul
from .moves import map_gather, map_update
from .peephole import join_units
from .reorder import reordered
from .section import Feed, Section, Unstreamable
from .simd import map_map, map_reduce
from .streams import NeedsWords, TooDeep
from .woven import woven

__all__ = ["sections"]

MAPPERS = {Core.MAP: map_map, Core.REDUCE: map_reduce, Core.MATMUL: map_matmul, Core.COPY: map_placed, Core.GATHER: map_gather,
           Core.UPDATE: map_update}
LAUNCH = 100             # cycles that one launch less is worth
DOUBT = 1.1              # all operators as one kernel may be predicted to take so much longer, about the model's error, and yet be taken
WIDTHS = (8, 6, 4, 3, 2)
COPIES = (16, 8, 4, 3, 2)
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
        if fuse == "none":
            yield nodes[position]
            position += 1
            continue
        counts = cutter.cut(nodes, position, fuse == "op")
        for count in counts:
            part = nodes[position:position + count]
            net = cutter.best(part)
            if net is None:
                yield part[0]
            elif cutter.routes(net):
                tell(f"section of {count} operators: {net.name}")
                yield net, tuple(node.name for node in part)
            else:
                cutter.refuse(part)
                break
            position += count


class _Cutter:
    """Tries sections on one graph."""

    def __init__(self, where: Layout, config: RDUConfig, seed: int, alone: Callable):
        self.where, self.config, self.seed, self.alone = where, config, seed, alone
        self.found: dict[tuple[str, ...], Netlist | str] = {}
        self.costs: dict[str, int] = {}
        self.cuts: dict[int, list[int]] = {}
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
        return _root(name, self.producers)

    def cut(self, nodes: Sequence[Node], start: int, one_operator: bool) -> list[int]:
        """How many nodes each kernel takes from ``start`` on, so that the sum of their predicted times, and of launching them, is least."""
        if start not in self.cuts:
            best: dict[int, tuple[float, list[int]]] = {len(nodes): (0, [])}
            for position in range(len(nodes) - 1, start - 1, -1):
                choices = []
                for count, cycles in self.feasible(nodes, position, one_operator):
                    rest, counts = best[position + count]
                    choices.append((cycles + LAUNCH + rest, [count, *counts]))
                best[position] = min(choices)
                if position == start and choices[-1][1] == [len(nodes) - start] and choices[-1][0] <= DOUBT * best[position][0]:
                    best[position] = choices[-1]
            self.cuts = {position: counts for position, (_, counts) in best.items()}
        return self.cuts[start]

    def feasible(self, nodes: Sequence[Node], start: int, one_operator: bool) -> Iterator[tuple[int, float]]:
        """(nodes, predicted cycles) of the kernels that begin with node ``start``."""
        first, misses = nodes[start], 0
        for count in range(1, len(nodes) - start + 1):
            node = nodes[start + count - 1]
            tag = node.group or node.origin
            if count > 1 and (node.op not in MAPPERS or first.op not in MAPPERS or (
                    one_operator and (not tag or tag != (first.group or first.origin)))):
                break
            net = self.best(nodes[start:start + count])
            if net is not None:
                misses = 0
                yield count, predict(net).cycles
            elif count == 1:
                yield 1, self.cost(node)
            else:
                misses += 1
                if misses > 2:        # a node more may join two PCUs, or use a stream instead of a store
                    break

    def best(self, nodes: Sequence[Node]) -> Netlist | None:
        """The kernel of these nodes; None if there is none, or if a single node is as fast by itself."""
        net = self.section(nodes) if nodes[0].op in MAPPERS else ""
        if not isinstance(net, Netlist) or (len(nodes) == 1 and predict(net).cycles >= self.cost(nodes[0])):
            return None
        return net

    def refuse(self, nodes: Sequence[Node]) -> None:
        """These nodes are no kernel: it cannot be routed."""
        self.found[tuple(node.name for node in nodes)] = "no routes"
        self.cuts = {}

    def cost(self, node: Node) -> int:
        """Predicted cycles of a node by itself."""
        if node.name not in self.costs:
            try:
                self.costs[node.name] = sum(predict(net).cycles * launches for net, launches in self.alone(node))
            except (*REFUSALS, NeedsCopy):                   # it cannot be mapped yet: whatever copies it needs come on top
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
        """The section as many times side by side, and with MATMULs that end in memory on as many PCUs, as is fastest."""
        best, read_once = self._tried(nodes), self._tried(nodes, once=True) if self._read_often(nodes) else ""
        if not isinstance(best, Netlist) and not isinstance(read_once, Netlist):
            return best
        once = isinstance(read_once, Netlist) and not (isinstance(best, Netlist) and predict(best).cycles < predict(read_once).cycles)
        best = read_once if once else best
        dealt = woven(best)
        if dealt and not dealt.used().exceeded(self.capacity) and predict(dealt).cycles < predict(best).cycles:
            return dealt
        names, used = {node.name for node in nodes}, max(best.used().pcu, 1)
        free = [node for node in nodes if node.op is Core.MATMUL and self.users.get(node.output, set()).isdisjoint(names)]
        for count in (1, *COPIES):
            for width in (1, *(WIDTHS if free else ())):
                grids = {node.name: (1, width) for node in free if width > 1 and self.where.graph[node.output].shape[-1] % width == 0}
                if count * (used + len(grids) * (width - 1)) > self.capacity.pcu or (count, len(grids)) == (1, 0) or (
                        width > 1 and not grids):
                    continue
                other = self._tried(nodes, grids, count, once)
                if once and not isinstance(other, Netlist):
                    other = self._tried(nodes, grids, count)
                if isinstance(other, Netlist) and predict(other).cycles < predict(best).cycles:
                    best = other
        if len(nodes) > 1 and {node.op for node in nodes} == {Core.MAP, Core.MATMUL}:
            for count, columns in itertools.product((1, *COPIES), WIDTHS):
                other = self._tried(nodes, {}, count, once, columns) if count * columns * used <= self.capacity.pcu else ""
                if isinstance(other, Netlist) and predict(other).cycles < predict(best).cycles:
                    best = other
        store_in_blocks(best)
        return best

    def _tried(self, nodes: Sequence[Node], grids: dict[str, tuple[int, int]] | None = None, count: int = 1, once: bool = False,
               columns: int = 1) -> Netlist | str:
        try:
            return self._section(nodes, grids or {}, count, once, columns)
        except REFUSALS as problem:
            return str(problem) or type(problem).__name__
        except Imbalance as problem:
            return f"streams of different lengths: {problem}"

    def _read_often(self, nodes: Sequence[Node]) -> set[str]:
        """Tensors in memory of which several of the nodes read rows of whole vectors (what shares vectors is faster apart, measured)."""
        made, found, beat = {node.output for node in nodes}, Counter(), self.config.beat_bytes
        for node in nodes:
            shape = self.where.graph[node.output].shape
            for name in {*node.inputs} if node.op in (Core.MAP, Core.REDUCE) else {*node.inputs[:1]} if node.op is Core.MATMUL else ():
                own = self.where.graph[name].shape if name and self.root(name) not in made else ()
                if own and own[:-1] == shape[:-1] and own[-1] * self.where.homes[name].size % beat == 0:
                    found[name] += 1
        return {name for name, count in found.items() if count > 1}

    def _section(self, nodes: Sequence[Node], grids: dict[str, tuple[int, int]], count: int, once: bool = False, columns: int = 1
                 ) -> Netlist:
        """The netlist. ``grids``: MATMUL -> PCUs; ``count`` copies by rows, each as ``columns`` by columns; ``once``: rows that several
        nodes read come from memory once."""
        graph, homes, names = self.where.graph, self.where.homes, {node.name for node in nodes}
        made = {node.output for node in nodes}
        kept = {name for name in made if name in self.outputs or self.users.get(name, set()) - names}
        inside = {self.root(name) for node in nodes for name in node.inputs if name} & made
        net = Netlist(self.config, "+".join(node.name for node in nodes) if len(nodes) < 4 else f"{nodes[0].name} ... {nodes[-1].name}")
        written = {homes[name].symbol for name in kept}
        for name in (name for node in nodes for name in filter(None, node.inputs[node.op is Core.UPDATE:])):      # its target is in place
            if self.root(name) not in made and homes[name].symbol in written:
                raise Unstreamable(f"{name} is written in this kernel")
        often = self._read_often(nodes) if once else ()
        if count * columns == 1:
            section = Section(self.config, graph, homes, net, frozenset(inside), frozenset(kept), grids=grids)
            for name in sorted(often):
                section.feed(name)
            self._map(section, nodes, self.producers)
        else:
            copies = []
            for part in cut(graph, homes, self._with_views(nodes, made), count, columns):
                before = len(net.units)
                made_by = {part.names[node.output]: node.name for node in nodes}
                here = {node.name: grids[made_by[node.output]] for node in part.nodes if made_by.get(node.output) in grids}
                section = Section(self.config, part.graph, part.homes, net, frozenset(part.names[name] for name in inside),
                                  frozenset(part.names[name] for name in kept), grids=here)
                core = [node for node in part.nodes if node.op is not Core.VIEW]
                for name in sorted(often):
                    section.feed(next(own for node, other in zip(core, nodes, strict=True)
                                      for own, theirs in zip(node.inputs, other.inputs, strict=True) if theirs == name))
                self._map(section, core, part.graph.producers())
                copies.append(net.units[before:])
            share(net, copies)
        join_units(net)
        if problem := net.used().exceeded(self.capacity):
            raise Unstreamable(problem)
        check_balance(net)
        return net

    def _with_views(self, nodes: Sequence[Node], made: set[str]) -> list[Node]:
        """``nodes`` and, each before its first use, the views through which they read each other."""
        found: list[Node] = []
        for node in nodes:
            chain: list[Node] = []
            for name in filter(None, node.inputs):
                while self.root(name) in made and name not in made:
                    chain.append(self.producers[name])
                    name = chain[-1].inputs[0]
            found += [view for view in reversed(chain) if view not in found]
            found.append(node)
        return found

    def _map(self, section: Section, nodes: Sequence[Node], producers: dict[str, Node]) -> None:
        for node in nodes:
            for name in filter(None, node.inputs):
                if name in producers and _root(name, producers) in section.inside:
                    self._stream(section, name, producers)
            MAPPERS[node.op](section, node)
            if node.output in section.inside and node.output not in section.feeds:
                raise Unstreamable(f"{node.output} is no stream")

    def _stream(self, section: Section, name: str, producers: dict[str, Node]) -> None:
        """Makes the stream of a view of a tensor made inside, if it only gives it another shape."""
        if name in section.feeds:
            return
        node = producers[name]
        if node.op is not Core.VIEW:
            raise Unstreamable(f"{name} comes later")
        source = node.inputs[0]
        self._stream(section, source, producers)
        if not is_reshape(node.attributes, section.graph[source].elements):
            section.feeds[name] = reordered(section, section.feeds[source], node.attributes, section.graph[source].elements)
            return
        shape = section.graph[name].shape or (1,)
        section.feeds[name] = _reshaped(section.feeds[source], shape, section.lanes)


def _root(name: str, producers: dict[str, Node]) -> str:
    while (node := producers.get(name)) is not None and node.op is Core.VIEW:
        name = node.inputs[0]
    return name


def _reshaped(feed: Feed, shape: Sequence[int], lanes: int) -> Feed:
    n, rows = shape[-1], prod(shape[:-1])
    if n == feed.n:
        return feed
    whole = lanes * (2 if feed.packed else 1)
    if feed.scalar or n % whole or feed.n % whole:
        raise Unstreamable(f"rows of {feed.n} as rows of {n}")
    return replace(feed, n=n, rows=rows, lag=-(-feed.lag * rows // feed.rows))
