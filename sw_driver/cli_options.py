"""What the commands of ``rdu`` share: the terminal, common options, results as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hw.config import PRESETS

from .files import write_whole

__all__ = ["Json", "Preset", "console", "save_json"]

console = Console()

Preset = Annotated[str, typer.Option("--preset", help=f"Size of the device: {', '.join(PRESETS)}.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the results to this file, machine-readable.")]


def save_json(path: Path | None, values: dict) -> None:
    if path is not None:
        write_whole(path, json.dumps(values, indent=1) + "\n")
