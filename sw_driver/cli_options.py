"""What the commands of ``rdu`` share: the terminal, common options, results as JSON."""

from __future__ import annotations

import json
from math import isfinite
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
    """Writes ``values``; numbers that JSON has not (infinite ones, NaN) as null."""
    if path is not None:
        write_whole(path, json.dumps(_finite(values), indent=1, allow_nan=False) + "\n")


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value
