"""Products whose rows in memory are several runs of neighbours: the windows of a convolution."""

from __future__ import annotations

from math import prod

from hw.config import RDUConfig
from hw.pcu.bundle import broadcast_vectors

from ..fabric.netlist import Netlist
from ..graph.ir import Core, Node
from ..graph.pattern import NotAffine
from .homes import Layout
from .section import Section
from .tiling import problem_of

__all__ = ["run_by_run"]


def run_by_run(where: Layout, config: RDUConfig) -> list[Node]:
    """Products whose rows are read in chunks, because they are longer than a broadcast buffer or no whole vectors."""
    found = []
    for node in where.graph.nodes:
        if node.op is Core.MATMUL:
            section = Section(config, where.graph, where.homes, Netlist(config, node.name))
            try:
                problem = problem_of(section, node)
            except NotAffine:
                continue
            loops, size = problem.loops(section, node), where.homes[node.inputs[0]].size
            if len(problem.k) > 1 and (loops["most"] or prod(loops["loops"]) * size > 4 * config.lanes * broadcast_vectors(config.pcu)):
                found.append(node)
    return found
