"""How a graph is cut into kernels."""

from __future__ import annotations

from collections.abc import Iterator

from hw.config import RDUConfig

from .homes import Layout
from .ir import Core, Node

__all__ = ["sections"]


def sections(where: Layout, config: RDUConfig, fuse: str, tell) -> Iterator[Node]:
    """What becomes a kernel, in order: a node by itself, or a mapped section."""
    for node in where.graph.nodes:
        if node.op is not Core.VIEW:
            yield node
