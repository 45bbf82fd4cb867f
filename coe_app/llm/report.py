"""A run of the language composition as one HTML file: figures, plots (inlined), every request."""

from __future__ import annotations

import base64
import html
import io
import json
import sys
from pathlib import Path

import numpy as np

from sw_driver.files import write_whole

from .serve import PHASES

__all__ = ["write_report"]

SWEEP = Path(__file__).parents[2] / "bench" / "results" / "coe_llm.json"
COLOURS = {"router": "#4878a8", "switch": "#c85a54", "prefill": "#d9a441", "decode": "#5aa469"}
STYLE = ("body{font:15px/1.45 system-ui;max-width:60em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}"
         "td,th{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:right}td:first-child,th:first-child{text-align:left}"
         "pre{white-space:pre-wrap;background:#f6f6f6;padding:.5em}b.new{color:#176f3d}img{max-width:100%}")


def write_report(path: Path, values: dict) -> None:
    """Writes the report; a file that exists is replaced only by a complete one."""
    rows = [("preset", values["preset"]), ("launch", values["launch"]), ("experts / in HBM", f"{values['experts']} / {values['resident']}"),
            ("tokens equal the numpy model", values["bit_exact"]), ("failed requests", values["failed"]),
            ("router accuracy, these prompts / held-out windows",
             f"{_percent(values['router_accuracy'])} / {_percent(values['router_held_out_accuracy'])}"),
            ("cache hit rate", _percent(values["hit_rate"])),
            ("decode, tokens per 10^6 cycles", _number(values["decode_tokens_per_megacycle"])),
            ("decode, share of the HBM bound", _percent(values["decode_share_of_hbm_roofline"])),
            ("expert switch, share of the DDR peak", _percent(values["switch_share_of_ddr_peak"])),
            ("cycles simulated", f"{values['cycles']:,}")]
    parts = ["<h1>Language Composition of Experts</h1>", _table(("figure", "value"), rows),
             "<h2>Latency by phase</h2>", _image(_latency(values["requests"])),
             "<h2>Held-out nats per byte: expert (row) on domain (column), FP32</h2>", _image(_matrix(values["held_out"]))]
    if sweep := measured_sweep():
        parts += [f"<h2>Latency against the number of experts</h2><p>Not this run: <code>{SWEEP.name}</code>, published by "
                  "<code>rdu bench coe-llm --full</code>.</p>", _image(_sweep(sweep))]
    parts.append("<h2>Requests</h2>")
    for request in values["requests"]:
        state = request["error"] or ("exact" if request["bit_exact"] else "DIFFERS from the model")
        parts.append(f"<p>{request['index']}: {html.escape(request['name'])}{' (perturbed copy)' if request['perturbed'] else ''}, "
                     f"{'hit' if request['hit'] else 'miss'}, {html.escape(state)}</p><pre>{html.escape(request['prompt'])}"
                     f"<b class=new>{html.escape(request['text'])}</b></pre>")
    page = f"<!doctype html><meta charset=utf-8><title>Language CoE</title><style>{STYLE}</style>{''.join(parts)}"
    write_whole(path, page)


def _percent(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:,.1f}"


def _table(head: tuple, rows: list) -> str:
    cells = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>{cells}</table>"


def _image(figure) -> str:
    from matplotlib import pyplot

    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100, format="png")
    pyplot.close(figure)
    return f'<img alt="plot" src="data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}">'


def _axes(width: float, height: float):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")


def _latency(requests: list[dict]):
    figure, axes = _axes(9, 1.2 + 0.28 * len(requests))
    left = np.zeros(len(requests))
    names = [f"{request['index']} {request['name']}" for request in requests]
    for phase in PHASES:
        cycles = np.array([request["cycles"][phase] for request in requests])
        axes.barh(names, cycles, left=left, color=COLOURS[phase], label=phase)
        left += cycles
    axes.invert_yaxis()
    axes.set(xlabel="cycles")
    axes.legend()
    return figure


def _matrix(held_out: dict):
    figure, axes = _axes(7, 5.5)
    nats = np.array(held_out["nats"])
    axes.imshow(nats, cmap="viridis_r")
    axes.set_xticks(range(len(nats)), held_out["names"], rotation=45)
    axes.set_yticks(range(len(nats)), held_out["names"])
    for (row, column), value in np.ndenumerate(nats):
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if value > nats.mean() else "black", fontsize=8)
    return figure


def measured_sweep(path: Path = SWEEP) -> dict[int, dict[str, float]]:
    """Experts -> mean cycles of a request by phase, from a result of ``rdu bench coe-llm``; empty if there is none."""
    if not path.exists():
        return {}
    points: dict[int, dict[str, float]] = {}
    for row in json.loads(path.read_text())["metrics"]:
        phase, experts = row["metric"].removeprefix("latency_"), row["case"].removeprefix("experts=")
        if phase in PHASES and experts.isdigit():
            points.setdefault(int(experts), {})[phase] = row["value"]
    return points


def _sweep(sweep: dict[int, dict[str, float]]):
    figure, axes = _axes(7, 4)
    numbers = sorted(sweep)
    axes.stackplot(numbers, *([sweep[number][phase] for number in numbers] for phase in PHASES), labels=PHASES,
                   colors=[COLOURS[phase] for phase in PHASES])
    axes.plot(numbers, [sum(sweep[number].values()) for number in numbers], "k.-", linewidth=1)
    axes.set(xlabel="experts in DDR", ylabel="cycles per request", xscale="log", xlim=(numbers[0], numbers[-1]), ylim=0)
    axes.set_xticks(numbers, numbers)
    axes.minorticks_off()
    axes.legend(loc="upper left")
    axes.grid(alpha=0.3)
    return figure


def draw_sweep(path: Path) -> None:
    """The curve of :func:`measured_sweep` as a picture of its own (``python -m coe_app.llm.report docs/coe_llm_experts.svg``)."""
    _sweep(measured_sweep()).savefig(path)


if __name__ == "__main__":
    draw_sweep(Path(sys.argv[1]))
