"""Measurements, each a module with ``DESCRIPTION`` and ``run(config, console, *, full=False, ...) -> list of metrics``.

A module is imported when it runs. Keyword parameters of ``run`` are the options of the command line.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from keyword import iskeyword
from pathlib import Path

__all__ = ["descriptions", "names", "options", "run"]


def descriptions() -> dict[str, str]:
    """Name and one line for every bench, without importing any."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        for statement in ast.parse(file.read_text()).body:
            if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "DESCRIPTION":
                found[file.stem.replace("_", "-")] = ast.literal_eval(statement.value)
    return found


def names() -> list[str]:
    """The names of all benches."""
    return [*descriptions()]


def _module(name: str):
    if name not in names():
        raise ValueError(f"unknown bench {name!r}; there are: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def options(name: str) -> dict[str, object]:
    """Options of a bench and their defaults. A parameter named ``from_`` is the option ``from``."""
    parameters = inspect.signature(_module(name).run).parameters.values()
    return {p.name.rstrip("_"): p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _convert(name: str, option: str, text, default):
    if not isinstance(text, str) or isinstance(default, str | None):
        return text
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{name}: {option}={text} must be true or false")
        return text.lower() == "true"
    try:
        return type(default)(text)
    except ValueError:
        raise ValueError(f"{name}: {option}={text} must be of type {type(default).__name__}") from None


def run(name: str, config, console, **chosen) -> dict:
    """Runs one bench. Options may be given as text. Raises ValueError for an unknown name or option, with those that exist."""
    known = options(name)
    for option in chosen:
        if option not in known:
            raise ValueError(f"bench {name} has no option {option!r}; it has: {', '.join(known)}")
    values = {f"{option}_" if iskeyword(option) else option: _convert(name, option, value, known[option])
              for option, value in chosen.items()}
    return {"bench": name, "preset": config.name, "metrics": _module(name).run(config, console, **values)}
