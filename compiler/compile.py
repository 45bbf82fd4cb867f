"""``compile(graph, config)``: a core graph to a program of kernels.

    program = compile(graph, preset("small"), fuse="full")
    outputs, statistics = program.run(device, inputs)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from math import prod

from hw.config import RDUConfig
from hw.pcu.program import ProgramError

from .assembly import Piece, assemble
from .errors import CompileError, NeedsCopy
from .fabric.netlist import Capacity, Netlist
from .fabric.place import route_netlist
from .frontend.int8 import as_floats, forgotten, with_int8
from .frontend.split import split_maps
from .graph.ir import Core, DType, Graph, Node
from .graph.pattern import NotAffine, Pattern
from .mapping.copying import map_copy
from .mapping.homes import Layout, layout, with_copy
from .mapping.matmul import map_matmul
from .mapping.memory import check_size
from .mapping.moves import map_gather, map_update
from .mapping.section import Section
from .mapping.sections import LAUNCH, sections
from .mapping.simd import map_map, map_reduce
from .mapping.streams import NeedsWords, TooDeep
from .mapping.tiling import grids, parts, problem_of, tilings
from .mapping.windows import run_by_run
from .mapping.woven import woven
from .program import Program
from .timing.cost import predict

__all__ = ["FUSIONS", "CompileError", "compile"]

FUSIONS = ("none", "op", "full")
MOST_LAUNCHES = 4096
WALKING = (Core.MATMUL, Core.MAP, Core.REDUCE)         # whose operands need fewer loops once they are copied


def compile(graph: Graph, config: RDUConfig, *, fuse: str = "full", seed: int = 0, throttle: bool = False, bank_bits: bool = True,
            int8: bool = True, runs: bool = True, progress: Callable[[str], None] | None = None) -> Program:
    """The program that computes ``graph`` on a device of ``config``. The same arguments always give the same program.

    ``fuse``: "none", each core operator a kernel; "op", each composite operator (softmax, norm) one; "full", as many operators as
    fit in each kernel. ``throttle``: senders that share links keep to their flows' average rates (compiler/fabric/senders.py).
    ``int8``: weights that are INT8 times scales lie in memory so, if the program is then expected to be faster, else as FP32.
    ``runs``: rows of a product that are several runs of neighbours (windows of a convolution) are read run by run, if that is expected to
    be faster than copying them first.
    ``bank_bits``: PMUs get bank bits with which their engines meet least (hw/pmu/bank_bits.py), else those of their recipes.
    Raises :class:`CompileError` naming the node, the value, the limit and a way out.
    """
    if fuse not in FUSIONS:
        raise CompileError(f"fuse={fuse!r} does not exist", way_out=f"choose one of {', '.join(FUSIONS)}")
    check_size(graph, config)
    tell = progress or (lambda _: None)
    settings = {"throttle": throttle, "bank_bits": bank_bits}
    narrow = with_int8(graph) if int8 else graph
    if narrow.nodes != graph.nodes:
        found = [compile(forgotten(each), config, fuse=fuse, seed=seed, int8=False, progress=progress, **settings)
                 for each in (graph, narrow)]
        return min(found, key=_expected)
    graph = split_maps(_live(forgotten(graph)), config)
    words: set[str] = set()
    for _ in range(len(graph.tensors) + len(graph.nodes) + 2):
        where = layout(graph, words)
        try:
            pieces = _map(where, config, fuse, seed, tell)
            program = assemble(graph, where, pieces, config, seed, fuse, tell, settings)
            if not (nodes := run_by_run(where, config) if runs else []):
                return program
            for node in nodes:
                node = next(each for each in graph.nodes if each.outputs == node.outputs)
                graph = _copied(graph, NeedsCopy(node, [node.inputs[0]], "rows of several runs"))
            try:
                other = compile(graph, config, fuse=fuse, seed=seed, int8=False, runs=False, progress=progress, **settings)
            except CompileError:
                return program
            return min(program, other, key=_expected)
        except NeedsWords as problem:
            if problem.symbol in graph.tensors and graph[problem.symbol].dtype is DType.INT8:
                graph = as_floats(where.graph, problem.symbol)
                continue
            if problem.symbol in words:
                raise CompileError(str(problem)) from None
            words.add(problem.symbol)
        except NeedsCopy as problem:
            graph = _copied(where.graph, problem)
    raise CompileError(f"graph {graph.name!r}: no memory layout found")


def _expected(program: Program) -> float:
    return program.predicted_cycles + LAUNCH * len(program.launches)


def _live(graph: Graph) -> Graph:
    """The graph without nodes that no output needs: nobody would take what their units make."""
    wanted, nodes = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            nodes.append(node)
            wanted |= set(node.inputs)
    return graph if len(nodes) == len(graph.nodes) else graph.with_nodes(nodes[::-1])


def _copied(graph: Graph, problem: NeedsCopy) -> Graph:
    node = problem.node
    for name in problem.names:
        graph = with_copy(graph, node, name)
        node = next(n for n in graph.nodes if n.outputs == node.outputs)
    return graph


# Mapping ------------------------------------------------------------------------------------------------------------------
def _map(where: Layout, config: RDUConfig, fuse: str, seed: int, tell) -> list[Piece]:
    pieces = []
    def alone(node: Node):
        return [(piece.net, len(piece.launches)) for piece in single(where, config, node, None)]
    for found in sections(where, config, fuse, tell, seed, alone):
        if isinstance(found, Node):
            pieces += single(where, config, found, seed)
        else:
            pieces.append(Piece(found[0], [()], found[1]))
    return pieces


def single(where: Layout, config: RDUConfig, node: Node, seed: int | None = 0) -> list[Piece]:
    """The kernels of one node by itself. ``seed`` None: only to know their cost, whether they can be routed is not tried."""
    try:
        match node.op:
            case Core.MATMUL:
                return _matmul(where, config, node, seed)
            case Core.MAP:
                piece = _try(where, config, node, map_map)
                if problem := piece.net.used().exceeded(Capacity.of(config)):
                    raise NotAffine(problem)           # operands gathered word by word; copied, they need fewer units
                return [piece]
            case Core.REDUCE:
                return [_try(where, config, node, map_reduce)]
            case Core.COPY:
                return _copy(where, config, node)
            case Core.GATHER:
                return [_try(where, config, node, map_gather)]
            case Core.UPDATE:
                return _update(where, config, node)
    except (NotAffine, CompileError) as problem:
        if not isinstance(problem, NotAffine) and (not isinstance(problem.__cause__, TooDeep) or node.op not in WALKING):
            raise
        names = [name for name in dict.fromkeys(node.inputs) if name and (
            not where.homes[name].pattern.is_contiguous or where.homes[name].symbol != name)]
        if not names:
            if isinstance(problem, CompileError):
                raise
            raise CompileError(f"node {node.name!r}: {problem}", way_out="change the shapes, or use a larger preset") from None
        raise NeedsCopy(node, names, str(problem)) from None
    except ProgramError as problem:
        raise CompileError(f"node {node.name!r}: {problem}") from None
    raise CompileError(f"node {node.name!r}: {node.op} is not a core operator", way_out="lower the graph first")


def _try(where: Layout, config: RDUConfig, node: Node, mapper, *arguments, name: str = "", **options) -> Piece:
    """Maps with as few launch dimensions as the engines' loops need."""
    problem = None
    for launch_dims in range(8):
        net = Netlist(config, name or node.name)
        section = Section(config, where.graph, where.homes, net, kept=frozenset(node.outputs), launch_dims=launch_dims)
        try:
            mapper(section, node, *arguments, **options)
        except TooDeep as error:
            problem = error
            continue
        if (count := prod(section.launches)) > MOST_LAUNCHES:
            raise CompileError(f"node {node.name!r}: {count} launches, at most {MOST_LAUNCHES}", way_out="use fewer dimensions")
        return Piece(_dealt(net), list(itertools.product(*map(range, section.launches))), (node.name,))
    raise CompileError(f"node {node.name!r}: {problem}", way_out="use fewer dimensions") from problem


def _dealt(net: Netlist) -> Netlist:
    """The kernel dealt to pipelines if that is faster."""
    dealt = woven(net)
    fits = dealt and not dealt.used().exceeded(Capacity.of(net.config)) and predict(dealt).cycles < predict(net).cycles
    return dealt if fits else net


def _matmul(where: Layout, config: RDUConfig, node: Node, seed: int | None) -> list[Piece]:
    probe = Section(config, where.graph, where.homes, Netlist(config, node.name))
    problem = problem_of(probe, node)
    batch, m, k, n = problem.sizes
    packed, weight_size = where.homes[node.inputs[0]].size == 2, where.homes[node.inputs[1]].size
    tile = tilings(config.pcu, m, n, k, packed, False, weight_size, **problem.loops(probe, node))
    if tile is None:
        raise CompileError(f"node {node.name!r}: no tiling for {m} x {k} x {n}", way_out="pad k")
    for part, grid in grids(probe, node):
        if grid == (1, 1):
            break
        piece = _try(where, config, node, map_matmul, part, grid)
        if not piece.net.used().exceeded(Capacity.of(config)) and _routes(piece.net, seed):
            return [piece]
    return [_try(where, config, node, map_matmul, part) for part in parts(m, n, batch, tile, config.lanes)]


def _routes(net: Netlist, seed: int | None) -> bool:
    if seed is None:
        return True
    try:
        net.placement = route_netlist(net, seed)
    except CompileError:
        return False
    return True


def _copy(where: Layout, config: RDUConfig, node: Node) -> list[Piece]:
    graph, out = where.graph, where.graph[node.output]
    pieces, covered = [], 0
    covered = sum(graph[name].elements for name in node.inputs)
    if covered < out.elements:
        pieces.append(_try(where, config, node, map_copy, None, Pattern.contiguous(out.elements), (out.elements,),
                           name=f"{node.name} zeros"))
    for name, place in zip(node.inputs, node.attributes.places, strict=True):
        sizes = {where.homes[n].symbol: where.homes[n].size for n in (name, node.output)}
        if len(set(sizes.values())) > 1:
            raise NeedsWords(min(sizes, key=sizes.get), "a copy does not convert")
        shape = graph[name].shape
        if graph[name].elements:
            pieces.append(_try(where, config, node, map_copy, name, Pattern.of(shape, place.strides, place.offset), shape))
    return pieces


def _update(where: Layout, config: RDUConfig, node: Node) -> list[Piece]:
    pieces = []
    if node.name not in where.in_place:
        target, out = where.homes[node.inputs[0]], where.homes[node.output]
        if target.size != out.size:
            raise NeedsWords((target if target.size == 2 else out).symbol, "a copy does not convert")
        shape = where.graph[node.inputs[0]].shape
        pieces.append(_try(where, config, node, map_copy, node.inputs[0], Pattern.contiguous(prod(shape)), shape,
                           name=f"{node.name} copy"))
    return [*pieces, _try(where, config, node, map_update, copied=True)]
