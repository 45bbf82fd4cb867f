"""The passes in order: imported graph in, core graph out; each pass dumped if asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..graph.ir import Graph
from .bias import fold_biases
from .clean import drop_dead, merge_common
from .immediates import immediates
from .infer import infer
from .lower import lower
from .patterns import recognise

__all__ = ["Dump", "front"]


class Dump:
    """Writes each pass's result to ``NN-name.txt`` and a picture beside it; does nothing without a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder, self.count = folder, 0
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, name: str, graph: Graph) -> None:
        if self.folder is None:
            return
        from ..graph.picture import draw

        stem = self.folder / f"{self.count:02d}-{name}"
        stem.with_suffix(".txt").write_text(graph.dump(), encoding="utf-8")
        stem.with_suffix(".svg").write_text(draw(graph), encoding="utf-8")
        self.count += 1


def front(graph: Graph, *, dump: Dump | None = None) -> Graph:
    """The checked core graph of an imported graph."""
    dump = dump or Dump()
    dump("imported", graph)
    passes: dict[str, Callable[[Graph], Graph]] = {
        "inferred": infer, "live": drop_dead, "recognised": recognise, "lowered": lower,
        "merged": merge_common, "biased": fold_biases, "immediate": immediates, "core": drop_dead,
    }
    for name, each in passes.items():
        graph = each(graph)
        dump(name, graph)
    return graph.check()
