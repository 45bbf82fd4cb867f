"""Hierarchical Verilog: each distinct module is converted once and used by ``Instance``.

Amaranth copies a submodule for every use of it, so a grid of units would be emitted unit by unit. A parent therefore
adds a unit with :func:`instantiate`: converting to Verilog it becomes an instance of a module that is emitted once, under
Amaranth's own simulator (which takes an ``Instance`` for a black box) it is the unit itself. The parent's wiring is the same.
"""

from __future__ import annotations

import hashlib
import re

from amaranth.back import verilog
from amaranth.hdl import ClockSignal, Instance, ResetInserter, ResetSignal, Value
from amaranth.lib import wiring

__all__ = ["VerilogPlatform", "finish", "instantiate", "to_verilog"]


class VerilogPlatform:
    """The platform of a conversion to Verilog; collects the modules that instances refer to, by name.

    ``synthesis``: memories take the form that is built (single-ported SRAMs), not the equal one that simulates faster.
    """

    def __init__(self, synthesis: bool = False):
        self.synthesis = synthesis
        self.modules: dict[str, str] = {}
        self._names: dict[tuple, str] = {}

    def module_name(self, component: wiring.Component) -> str:
        """The Verilog module of ``component``: its ``verilog_name`` or class, and a hash when two differ in parameters only."""
        key = (type(component).__qualname__, component.identity)
        if key not in self._names:
            name = getattr(component, "verilog_name", _snake_case(type(component).__name__))
            if name in self._names.values():
                name = f"{name}_{hashlib.sha256(repr(key).encode()).hexdigest()[:8]}"
            self._names[key] = name
            self.modules[name] = verilog.convert(component, name=name, platform=self, emit_src=False)
        return self._names[key]

    def instance(self, component: wiring.Component, reset: Value | None):
        """The ``Instance`` that stands for ``component``."""
        name = self.module_name(component)
        header = re.search(rf"^module {name}\((.*?)\);", self.modules[name], re.MULTILINE | re.DOTALL)[1]
        header = re.split(r"\s*,\s*", header.strip())     # a long list of ports comes on several lines
        resets = ResetSignal() if reset is None else ResetSignal() | reset
        ports = {f"i_{pin}": signal for pin, signal in (("clk", ClockSignal()), ("rst", resets)) if pin in header}
        for path, member, value in component.signature.flatten(component):
            direction = "i" if member.flow is wiring.In else "o"
            ports[f"{direction}_{'__'.join(map(str, path))}"] = Value.cast(value)
        component._MustUse__silence = True       # its Verilog is used, not the object
        return Instance(name, **ports)


def instantiate(platform, component: wiring.Component, *, reset: Value | None = None):
    """What a parent adds to ``m.submodules`` for ``component``.

    ``component.identity`` (any value with a ``repr`` that tells everything the module is built from, usually its frozen
    configuration) decides which components share a module. ``reset``: resets it like the clock domain's own reset does.
    """
    if isinstance(platform, VerilogPlatform):
        return platform.instance(component, reset)
    return component if reset is None else ResetInserter(reset)(component)


def to_verilog(component: wiring.Component, name: str | None = None, *, synthesis: bool = False) -> str:
    """The whole design under ``component`` as Verilog text, each distinct module once. ``synthesis``: for building a chip, see
    :class:`VerilogPlatform`."""
    platform = VerilogPlatform(synthesis)
    top = verilog.convert(component, name=name or _snake_case(type(component).__name__), platform=platform, emit_src=False)
    return finish(platform, top)


def finish(platform: VerilogPlatform, top: str) -> str:
    """``top`` and the modules under it as one text that every tool reads alike."""
    # Amaranth's temporaries are called \$1 or \$auto$...: renamed, tools leave them out of traces and GTKWave reads the file.
    text = "\n".join([*platform.modules.values(), top])
    text = re.sub(r"\\\$(\S+)", lambda found: "_" + re.sub(r"\W", "_", found[1]), text)
    # A constant part of an otherwise driven signal becomes a process without inputs, which `always @*` would never run.
    return re.sub(r"always @\*(\s+[^\s=]+ = \d+'[bdh][0-9a-f]+;\n)", r"always_comb\1", text)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
