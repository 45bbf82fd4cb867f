"""Load-latency curves from a recorded run: ``python -m bench.rdn_plot [RESULT.json [PICTURE.svg]]``.

The record is made by ``rdu bench rdn --full --json bench/results/rdn.json``; figures of other networks are in bench/baselines/rdn.json.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

__all__ = ["curves", "plot"]

HERE = Path(__file__).parent
COLOURS = {2: "tab:orange", 4: "tab:blue", 16: "tab:green"}


def curves(metrics: list[dict]) -> dict[tuple[str, str, int], list[tuple[float, float, float]]]:
    """(mesh, pattern, slots) -> [(offered, accepted, mean latency)]."""
    points: dict = defaultdict(dict)
    for row in metrics:
        if found := re.fullmatch(r"(\S+) (\S+), (\d+) slots, rate ([\d.]+)", row["case"]):
            mesh, pattern, slots, rate = found.groups()
            points[mesh, pattern, int(slots)].setdefault(float(rate), {})[row["metric"]] = row["value"]
    return {key: [(rate, values["accepted_rate"], values["mean_latency_cycles"]) for rate, values in sorted(rates.items())]
            for key, rates in points.items()}


def plot(result: Path, picture: Path) -> None:
    """One row of panels per mesh, one panel per pattern; for uniform traffic the other networks' saturation as vertical lines."""
    found = curves(json.loads(result.read_text())["metrics"])
    networks = json.loads((HERE / "baselines" / "rdn.json").read_text())["networks"]
    meshes, patterns = (list(dict.fromkeys(key[part] for key in found)) for part in (0, 1))
    figure, panels = plt.subplots(len(meshes), len(patterns), figsize=(3.2 * len(patterns), 3 * len(meshes)), squeeze=False)
    for (mesh, pattern, slots), points in found.items():
        panel = panels[meshes.index(mesh)][patterns.index(pattern)]
        panel.plot([point[0] for point in points], [point[2] for point in points], "o-", markersize=2.5, linewidth=1,
                   color=COLOURS.get(slots, "black"), label=f"{slots} packets per input")
    for row, mesh in enumerate(meshes):
        for column, pattern in enumerate(patterns):
            panel = panels[row][column]
            panel.set(title=f"{mesh} {pattern}", ylim=(0, 60 if mesh == "8x8" else 40), xlabel="offered, packets/node/cycle",
                      ylabel="mean latency, cycles")
            panel.grid(alpha=0.3)
            if pattern == "uniform":
                for network, style in zip(networks, (":", "--", "-.", (0, (1, 1))), strict=True):
                    rates = network.get("saturation_rate", network.get("accepted_rate_overdriven"))[mesh]
                    panel.axvline(rates[-1] if isinstance(rates, list) else rates, color="gray", linestyle=style, linewidth=1,
                                  label=network["name"])
    handles, names = panels[0][patterns.index("uniform")].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=4, fontsize=8)
    figure.tight_layout(rect=(0, 0.09 if len(meshes) > 1 else 0.16, 1, 1))
    plt.rcParams["svg.hashsalt"] = "rdn"
    figure.savefig(picture, metadata={"Date": None} if picture.suffix == ".svg" else None)


if __name__ == "__main__":
    plot(Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "results" / "rdn.json"),
         Path(sys.argv[2] if len(sys.argv) > 2 else HERE.parent / "docs" / "rdn_load_latency.svg"))
