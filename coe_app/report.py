"""What a run of the Composition of Experts looked like: tables for the terminal, JSON, and a timeline."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from sw_driver.expert_cache import ExpertCache
from sw_driver.files import write_whole

from .network import HeldOut, Network
from .serve import PHASES, Request

__all__ = ["draw_timeline", "print_summary", "reference_accuracy", "summary", "write_json"]

COLOURS = {"router": "#4878a8", "switch": "#c85a54", "expert": "#5aa469"}


def reference_accuracy(router: Network, experts: list[Network], requests: HeldOut, lanes: int) -> float:
    """Share of ``requests`` that the numpy model of the whole composition answers rightly."""
    chosen = router.run(requests.pictures, lanes).best
    digits = np.empty(len(chosen), dtype=np.int32)
    for expert in np.unique(chosen):
        digits[chosen == expert] = experts[expert].run(requests.pictures[chosen == expert], lanes).best
    return float(np.mean(digits == requests.digits))


def summary(requests: list[Request], cache: ExpertCache, *, preset: str, reference: float, cycles: int, cycles_per_second: float,
            counters: dict[str, dict[str, int]]) -> dict:
    """The figures of a whole run as JSON values."""
    return {
        "preset": preset,
        "accuracy": float(np.mean([request.correct for request in requests])),
        "reference_accuracy": reference,
        "router_accuracy": float(np.mean([request.routed for request in requests])),
        "bit_exact": all(request.bit_exact for request in requests),
        "hit_rate": cache.hit_rate,
        "cycles": cycles,
        "cycles_per_second": cycles_per_second,
        "cycles_by_phase": {phase: sum(request.cycles[phase] for request in requests) for phase in PHASES},
        "kernel_cycles_by_phase": {phase: sum(request.kernel_cycles[phase] for request in requests) for phase in PHASES},
        "counters": counters,
        "requests": [asdict(request) for request in requests],
    }


def write_json(path: Path, values: dict) -> None:
    """Writes ``values``; a file that exists is replaced only by a complete one."""
    write_whole(path, json.dumps(values, indent=1) + "\n")


def print_summary(console: Console, values: dict) -> None:
    """Accuracy, cache, cycles by phase and the busiest units."""
    requests = values["requests"]
    exact = "every logit equals the numpy model" if values["bit_exact"] else "[red]NOT equal to the numpy model[/red]"
    console.print(f"{len(requests)} requests: accuracy [bold]{values['accuracy']:.1%}[/bold] "
                  f"(numpy model {values['reference_accuracy']:.1%}), router {values['router_accuracy']:.1%}; {exact}")
    misses = [request for request in requests if not request["hit"]]
    console.print(f"expert cache: hit rate {values['hit_rate']:.1%}, {len(misses)} switches DDR -> HBM")
    table = Table("phase", "cycles", "per request", "of which in kernels", title="cycles by phase")
    for phase in PHASES:
        total, inside = values["cycles_by_phase"][phase], values["kernel_cycles_by_phase"][phase]
        count = len(misses) if phase == "switch" else len(requests)
        table.add_row(phase, f"{total:,}", f"{total / max(1, count):,.0f}", f"{inside / max(1, total):.0%}")
    console.print(table)
    table = Table("unit", "busy", "starved", "back-pressured", "conflicts", "packets in", title="units that worked (cycles)")
    for name, events in values["counters"].items():
        if events.get("busy"):
            table.add_row(name, *(f"{events.get(event, 0):,}" for event in
                                  ("busy", "starved", "back_pressured", "bank_conflict", "packets_in")))
    console.print(table)
    console.print(f"{values['cycles']:,} cycles simulated at {values['cycles_per_second']:,.0f} cycles per second")


def draw_timeline(path: Path, values: dict, count: int = 40) -> None:
    """A PNG: the phases of the first ``count`` requests over device cycles, and the totals."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = values["requests"][:count]
    figure, (timeline, totals) = pyplot.subplots(1, 2, figsize=(13, 6), width_ratios=(3, 1), layout="constrained")
    for row, request in enumerate(shown):
        start = request["start"]
        for phase in PHASES:
            cycles = request["cycles"][phase]
            timeline.barh(row, cycles, left=start, color=COLOURS[phase], height=0.8)
            start += cycles
        timeline.text(start, row, f"  expert {request['expert']}: {request['digit']}{'' if request['correct'] else ' (wrong)'}",
                      va="center", fontsize=6)
    timeline.invert_yaxis()
    timeline.margins(x=0.12)
    timeline.set(xlabel="device clock (cycles)", ylabel="request", title=f"first {len(shown)} requests on {values['preset']}")
    for phase in PHASES:
        totals.bar(phase, values["cycles_by_phase"][phase], color=COLOURS[phase], label=phase)
        totals.bar(phase, values["kernel_cycles_by_phase"][phase], color="none", edgecolor="black", hatch="//")
    totals.set(ylabel="cycles", title="cycles by phase\n(hatched: in kernels)")
    totals.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110, format="png")
    pyplot.close(figure)
    write_whole(path, drawn.getvalue())
