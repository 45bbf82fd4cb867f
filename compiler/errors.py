"""What goes wrong in the compiler's back half."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .graph.ir import Node

__all__ = ["CompileError", "NeedsCopy"]


class CompileError(ValueError):
    """A graph that the hardware cannot run: the message names the node, the value, the limit, and a way out."""

    def __init__(self, problem: str, *, way_out: str = ""):
        super().__init__(f"{problem}; {way_out}" if way_out else problem)


class NeedsCopy(Exception):
    """Operands of ``node`` that are patterns no engine can walk have to be copied first."""

    def __init__(self, node: Node, names: Iterable[str], why: str):
        self.node, self.names, self.why = node, tuple(names), why
