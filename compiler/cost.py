"""How long a kernel takes, predicted from its netlist: the slowest unit at full rate, and the time to fill the pipeline."""

from __future__ import annotations

from dataclasses import dataclass

from .netlist import Netlist

__all__ = ["Prediction", "predict"]

MEMORY_LATENCY = 110
PCU_LATENCY = 60


@dataclass(frozen=True)
class Prediction:
    cycles: int
    bottleneck: str
    bytes: dict[str, int]


def predict(net: Netlist) -> Prediction:
    """The prediction for one launch of a kernel."""
    moved = {"hbm": 0, "ddr": 0}
    work: dict[str, float] = {}
    for unit in net.units:
        work[unit.name] = unit.work
        if unit.symbol:
            moved["ddr" if unit.program.segment else "hbm"] += unit.bytes
    depth = sum(1 for unit in net.units if unit.kind in ("pcu", "pmu"))
    slowest = max(work, key=work.get)
    return Prediction(round(work[slowest] + MEMORY_LATENCY + PCU_LATENCY * depth), slowest, moved)
