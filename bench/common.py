"""What the benches share: rows of a result and a progress display."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["metric", "steps"]


def metric(name: str, case: str, value: float, unit: str) -> dict:
    """One row of a result."""
    return {"metric": name, "case": case, "value": round(value, 4) if isinstance(value, float) else int(value), "unit": unit}


@contextmanager
def steps(console: Console, first: str, total: int) -> Iterator[Callable[[str], None]]:
    """A progress display on a terminal; calling what it gives begins the next of ``total`` steps. ``first``: preparation."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(first, total=total)
        done = -1

        def step(text: str) -> None:
            nonlocal done
            done += 1
            progress.update(task, description=text, completed=done)
        yield step
