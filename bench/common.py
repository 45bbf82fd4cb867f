"""What the benches share: rows of a result and a progress display."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["chosen", "metric", "numbers", "steps"]


def metric(name: str, case: str, value: float, unit: str) -> dict:
    """One row of a result."""
    return {"metric": name, "case": case, "value": round(value, 4) if isinstance(value, float) else int(value), "unit": unit}


def chosen(option: str, text: str | None, known: Collection[str]) -> list[str]:
    """The names in ``text``, separated by commas; all that are ``known`` if it is empty. Raises ``ValueError`` for any other."""
    found = text.split(",") if text else [*known]
    for each in found:
        if each not in known:
            raise ValueError(f"unknown {option} {each!r}; there are: {', '.join(known)}")
    return found


def numbers(option: str, text: str, low: int, high: int) -> list[int]:
    """The numbers in ``text``, separated by commas; none if it is empty. Raises ``ValueError`` for any other, or out of bounds."""
    found = [int(part) if part.isdecimal() else -1 for part in text.split(",")] if text else []
    if not all(low <= number <= high for number in found):
        raise ValueError(f"{option}={text} must be numbers from {low} to {high}, with commas between them")
    return found


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
