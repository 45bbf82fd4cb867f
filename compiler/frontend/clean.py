"""Dead code and common subexpressions of a core graph."""

from __future__ import annotations

from dataclasses import replace

from ..graph.ir import Core, Graph, Node

__all__ = ["drop_dead", "merge_common"]


def drop_dead(graph: Graph) -> Graph:
    """Without nodes whose results nothing uses, and without constants that nothing reads. Inputs stay."""
    wanted, kept = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    return graph.with_nodes(reversed(kept))


def merge_common(graph: Graph) -> Graph:
    """Of nodes that compute the same from the same, the first one. Outputs of the graph, and UPDATEs (in place), stay."""
    same: dict[str, str] = {}
    first: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        node = replace(node, inputs=tuple(same.get(name, name) for name in node.inputs))
        key = repr((node.op, node.inputs, node.attributes))
        if node.op is not Core.UPDATE and node.output not in graph.outputs and key in first:
            same[node.output] = first[key]
        else:
            first.setdefault(key, node.output)
            nodes.append(node)
    return graph.with_nodes(nodes)
