"""A large design as a shared library, each distinct unit Verilated once.

Verilator writes the C++ of every instance anew: a tile of 36 units becomes 140 MB of it. Here each distinct unit becomes one class,
compiled once (and cached by itself), of which the clock loop holds as many objects as the design has instances; what is
between the units (the wiring, the top-level network, controllers and host port) is one more class. All of them take the clock
edge together with the inputs they had before it, then outputs travel to inputs. That is exact when no unit has a
combinational path from an input to an output.

A unit whose state an edge did not change, and whose inputs stay as they were, will not change at the next edge either: it
sleeps, and costs nothing until an input changes. :meth:`~sim.device.VerilatedBackend.check_units` verifies both in every cycle.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import Fragment, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring

from hw.hierarchy import VerilogPlatform, finish, to_verilog

from .bench_library import CPP, HOST
from .build import RECIPE, compile_glue, link, unit_objects
from .cache import cached, digests
from .ports import Ports

__all__ = ["Partition", "build_partition", "partition"]


@dataclass(frozen=True)
class Pin:
    """One port of a unit and the port of the rest that is wired to it."""

    unit: str
    rest: str
    width: int
    input: bool          # of the unit


@dataclass(frozen=True)
class Unit:
    """One instance: ``name`` in the design, ``module`` it is one of, its ports."""

    name: str
    module: str
    pins: tuple[Pin, ...]


@dataclass(frozen=True)
class Partition:
    """A design in parts: Verilog of the rest (module ``top``) and of each distinct unit by module name."""

    top: str
    rest: str
    modules: dict[str, str]
    units: tuple[Unit, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Partition:
        values = json.loads(text)
        units = tuple(Unit(unit["name"], unit["module"], tuple(Pin(**pin) for pin in unit["pins"])) for unit in values.pop("units"))
        return cls(units=units, **values)


class _PartitionPlatform(VerilogPlatform):
    """Leaves units out and keeps what contains them in one module, so that the units' ports become its ports."""

    def __init__(self, units: tuple[type, ...], containers: tuple[type, ...]):
        super().__init__()
        self._unit_types, self._containers = units, containers
        self.units: list[tuple[str, wiring.Component]] = []
        self.resets: list[Signal] = []

    def instance(self, component: wiring.Component, reset: Value | None):
        if isinstance(component, self._containers):
            return component
        if not isinstance(component, self._unit_types):
            return super().instance(component, reset)
        component._MustUse__silence = True
        self.units.append((component.verilog_name, component))
        resets = Signal(name=f"unit_reset_{len(self.units)}")
        self.resets.append(resets)
        m = Module()
        m.d.comb += resets.eq(ResetSignal() if reset is None else ResetSignal() | reset)
        return m


def partition(top: wiring.Component, name: str, *, units: tuple[type, ...], containers: tuple[type, ...]) -> Partition:
    """Splits ``top``: every instance of ``units`` (component classes, with an ``instance_name``) is a unit, ``containers`` are what
    they lie in."""
    platform = _PartitionPlatform(units, containers)
    fragment = Fragment.get(top, platform)
    ports = {"__".join(map(str, path)): (Value.cast(value), None) for path, _, value in top.signature.flatten(top)}
    found, modules = [], {}
    for number, ((module, component), reset) in enumerate(zip(platform.units, platform.resets, strict=True)):
        if module not in modules:
            modules[module] = to_verilog(component, module)
        pins = []
        for path, member, value in component.signature.flatten(component):
            signal = Value.cast(value)
            if isinstance(signal, Signal) and len(signal):
                port = "__".join(map(str, path))
                pins.append(Pin(port, f"unit_{number}__{port}", len(signal), member.flow is wiring.In))
                ports[pins[-1].rest] = (signal, None)
        pins.append(Pin("rst", f"unit_{number}__rst", 1, True))
        ports[pins[-1].rest] = (reset, None)
        found.append(Unit(component.instance_name, module, tuple(pins)))
    text = finish(platform, verilog.convert(fragment, name=name, platform=platform, ports=ports, emit_src=False))
    return Partition(name, text, modules, tuple(found))


def build_partition(design: Partition, ports: Ports, *, sources: Sequence[Path], optimize: str, trace: str | None) -> Path:
    """The shared library of ``design`` with the host loop; ``ports``: those of the top. Units that did not change are not rebuilt."""
    paths = [Path(source).resolve() for source in sources]
    rest = unit_objects(design.top, design.rest, [path for path in paths if path.suffix in (".v", ".sv")], optimize, trace)
    homes = {module: unit_objects(module, text, [], optimize, trace) for module, text in design.modules.items()}
    cpp = [*HOST, *(path for path in paths if path.suffix == ".cpp")]
    text = _glue(design, ports, homes)
    inputs = {"objects": [str(home) for home in (rest, *homes.values())], "glue": text, "files": digests([*cpp, CPP / "partition.h"]),
              "optimize": optimize, "trace": trace, "recipe": RECIPE}

    def make(scratch: Path) -> None:
        include = [home / "obj" for home in (rest, *homes.values())]
        linked = compile_glue(scratch, {"glue.cpp": text}, include, optimize, trace) + compile_glue(scratch, cpp, include, optimize, trace)
        link(scratch / "model.so", [*linked, *(path for home in (rest, *homes.values()) for path in sorted(home.glob("obj/*.o")))], trace)

    return cached(design.top, inputs, make) / "model.so"


def _field(port: str) -> str:
    """How Verilator calls a port: double underscores are its own."""
    return port.replace("__", "___05F")


def _glue(design: Partition, ports: Ports, homes: dict[str, Path]) -> str:
    """The C++ that holds one object per unit and carries values between them and the rest."""
    rows = "\n".join(f'        ports.push_back({{"{port.name}", &rest.{_field(port.verilog)}, {port.width}}});' for port in ports.ports)
    each = sorted(design.units, key=lambda unit: unit.module)     # equal code runs in a row
    members, rise, to_rest, to_unit, checks = [], [], [], [], []
    for unit in each:
        name = unit.name
        members.append(f'    Unit<V{unit.module}> {name}{{context.get(), "{name}", {unit.module}_state}};')
        rise.append(f"        {name}.rise(*this);")
        outputs = [(f"rest.{_field(pin.rest)}", f"{name}.model.{_field(pin.unit)}", pin.unit) for pin in unit.pins if not pin.input]
        inputs = [f"{name}.input({name}.model.{_field(pin.unit)}, rest.{_field(pin.rest)});" for pin in unit.pins if pin.input]
        to_rest.append(f"        if ({name}.ran) {{ " + " ".join(f"{there} = {here};" for there, here, _ in outputs) + " }")
        to_unit.append("        " + " ".join(inputs))
        checks.append(f"        {name}.check();")
        checks += [f'        {name}.checkOutput({there}, {here}, "{port}");' for there, here, port in outputs]
    newline = "\n"
    states = newline.join(_state(module, homes[module]) for module in design.modules)
    includes = newline.join(f'#include "V{module}.h"\n#include "V{module}___024root.h"' for module in design.modules)
    index = ports.index
    return f'''{includes}
#include "V{design.top}.h"
#include <cstddef>
#include "{CPP / "partition.h"}"
{states}
class Design final : public PartitionModel {{
public:
    V{design.top} rest{{context.get(), "top"}};
{newline.join(members)}
    Design() {{
{rows}
        clock = {index.get("clk", -1)}, reset = {index.get("rst", -1)};
    }}
    void rise() override {{
        rest.eval();
{newline.join(rise)}
    }}
    void fall() override {{
{newline.join(to_rest)}
        rest.eval();
{newline.join(to_unit)}
        if (tracing) {{
{newline.join(f"            {unit.name}.settle();" for unit in each)}
        }}
    }}
    void check() override {{
{newline.join(checks)}
    }}
#if OPENRDU_TRACE
    void traceUnits(TraceFile* file) override {{
        rest.trace(file, 99);
{newline.join(f"        {unit.name}.model.trace(file, 99);" for unit in each)}
    }}
#endif
}};
Model* makeModel() {{ return new Design; }}
'''


def _state(module: str, home: Path) -> str:
    """A constant that tells where a class keeps its memories; everything else in it counts as its state."""
    header = (home / "obj" / f"V{module}___024root.h").read_text()
    names = re.findall(r"VlUnpacked<.*> (\w+);", header)
    root = f"V{module}___024root"
    memories = ", ".join(f"{{offsetof({root}, {name}), sizeof({root}::{name})}}" for name in names)
    return f"static const State {module}_state{{sizeof({root}), {{{memories}}}}};"
