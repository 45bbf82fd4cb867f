"""A graph as an SVG picture: a box per node, in rows by depth, coloured by operator, groups and shapes in it."""

from __future__ import annotations

import html

from .ir import Core, Graph, Node

__all__ = ["draw"]

WIDTH, HEIGHT, GAP, DROP = 190, 46, 18, 34
COLOURS = {Core.MATMUL: "#c9dcf5", Core.MAP: "#d5efd0", Core.REDUCE: "#f7e3b5", Core.VIEW: "#eeeeee", Core.COPY: "#f3cfcf",
           Core.GATHER: "#e4d3f1", Core.UPDATE: "#e4d3f1"}


def escape(text: str) -> str:
    """As XML has it; what cannot be printed (a name's control characters) as Python writes it."""
    return html.escape("".join(each if each.isprintable() else repr(each)[1:-1] for each in text))


def draw(graph: Graph) -> str:
    """The picture's text."""
    producers = graph.producers()
    depth: dict[str, int] = {}
    rows: list[list[Node]] = []
    for node in graph.nodes:
        level = 1 + max((depth[producers[name].name] for name in node.inputs if name in producers), default=-1)
        depth[node.name] = level
        rows += [[] for _ in range(level + 1 - len(rows))]
        rows[level].append(node)
    widest = max(map(len, rows), default=1)
    place = {node.name: ((widest - len(row)) / 2 * (WIDTH + GAP) + number * (WIDTH + GAP) + GAP, level * (HEIGHT + DROP) + 40)
             for level, row in enumerate(rows) for number, node in enumerate(row)}
    edges = [_edge(place[producers[name].name], place[node.name])
             for node in graph.nodes for name in dict.fromkeys(node.inputs) if name in producers]
    boxes = [_box(graph, node, *place[node.name]) for node in graph.nodes]
    width, height = widest * (WIDTH + GAP) + GAP, len(rows) * (HEIGHT + DROP) + 60
    title = f'<text x="{GAP}" y="22" font-size="14">{escape(graph.name)}: {len(graph.nodes)} nodes</text>'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="10">',
                      '<rect width="100%" height="100%" fill="white"/>', title, *edges, *boxes, "</svg>"]) + "\n"


def _edge(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x0, y0), (x1, y1) = (start[0] + WIDTH / 2, start[1] + HEIGHT), (end[0] + WIDTH / 2, end[1])
    middle = (y0 + y1) / 2
    return f'<path d="M{x0:g},{y0:g} C{x0:g},{middle:g} {x1:g},{middle:g} {x1:g},{y1:g}" fill="none" stroke="#888"/>'


def _box(graph: Graph, node: Node, x: float, y: float) -> str:
    op = node.op.value if isinstance(node.op, Core) else node.op
    shapes = ", ".join(f"{graph[name].dtype.value if graph[name].dtype else '?'}{list(graph[name].shape or ())}" for name in node.outputs)
    lines = [f"{op} {node.outputs[0]}", shapes, node.group or node.origin]
    text = "".join(f'<tspan x="{x + 6:g}" dy="13">{escape(line[:34])}</tspan>' for line in lines)
    box = f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="{COLOURS.get(node.op, "#ffffff")}" stroke="#555"/>'
    return f'<g><title>{escape(str(node))}</title>{box}<text y="{y + 2:g}">{text}</text></g>'
