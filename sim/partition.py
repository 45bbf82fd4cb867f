"""A large design as a shared library, each distinct unit Verilated once.

Verilator writes the C++ of every instance anew: a tile of 36 units becomes 140 MB of it. Here each distinct unit becomes one class,
compiled once (and cached by itself), of which the clock loop holds as many objects as the design has instances; what is
between the units (the wiring, the top-level network, controllers and host port) is one more class. All of them take the clock
edge together with the inputs they had before it, then outputs travel to inputs. That is exact when no unit has a
combinational path from an input to an output, which is checked (:meth:`~sim.device.VerilatedBackend.check_units`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import Fragment, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring

from hw.hierarchy import VerilogPlatform, finish, to_verilog

from .bench_library import CPP
from .build import cached, compile_glue, digests, link, model_objects
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
    recipe = digests([Path(__file__), Path(__file__).with_name("build.py")])
    rest = _objects(design.top, design.rest, [path for path in paths if path.suffix in (".v", ".sv")], optimize, trace, recipe)
    homes = {module: _objects(module, text, [], optimize, trace, recipe) for module, text in design.modules.items()}
    cpp = [CPP / "host.cpp", *(path for path in paths if path.suffix == ".cpp")]
    text = _glue(design, ports)
    inputs = {"objects": [str(home) for home in (rest, *homes.values())], "glue": text, "files": digests([*cpp, CPP / "partition.h"]),
              "optimize": optimize, "trace": trace, "recipe": recipe}

    def make(scratch: Path) -> None:
        include = [home / "obj" for home in (rest, *homes.values())]
        linked = compile_glue(scratch, {"glue.cpp": text}, include, optimize, trace) + compile_glue(scratch, cpp, include, optimize, trace)
        link(scratch / "model.so", [*linked, *(path for home in (rest, *homes.values()) for path in sorted(home.glob("obj/*.o")))], trace)

    return cached(design.top, inputs, make) / "model.so"


def _objects(module: str, text: str, sources: list[Path], optimize: str, trace: str | None, recipe: dict) -> Path:
    inputs = {"verilog": text, "files": digests(sources), "optimize": optimize, "trace": trace, "recipe": recipe}

    def make(scratch: Path) -> None:
        model_objects(scratch, text, module, f"V{module}", sources, {}, [], optimize, trace, assertions=False)
        for path in scratch.glob("obj/*.cpp"):
            path.unlink()
        (scratch / "inputs.json").write_text(json.dumps({"module": module, "optimize": optimize, "trace": trace}))

    return cached(module, inputs, make)


def _field(port: str) -> str:
    """How Verilator calls a port: double underscores are its own."""
    return port.replace("__", "___05F")


def _glue(design: Partition, ports: Ports) -> str:
    """The C++ that holds one object per unit and carries values between them and the rest."""
    rows = "\n".join(f'        ports.push_back({{"{port.name}", &rest.{_field(port.verilog)}, {port.width}}});' for port in ports.ports)
    members = "\n".join(f'    V{unit.module} {unit.name}{{context.get(), "{unit.name}"}};' for unit in design.units)

    def moves(of_unit: bool) -> str:
        lines = []
        for unit in design.units:
            for pin in unit.pins:
                there, here = f"{unit.name}.{_field(pin.unit)}", f"rest.{_field(pin.rest)}"
                if pin.input != of_unit:
                    lines.append(f"        {here} = {there};" if of_unit else f"        {there} = {here};")
        return "\n".join(lines)

    each = [unit.name for unit in sorted(design.units, key=lambda unit: unit.module)]     # equal code runs in a row
    outputs = [(unit.name, pin, f"rest.{_field(pin.rest)}") for unit in design.units for pin in unit.pins if not pin.input]
    changed = "\n".join(f'        if (std::memcmp(&{there}, &{name}.{_field(pin.unit)}, sizeof {there}))\n'
                        f'            throw ModelError("{name}: output {pin.unit} depends on an input combinationally");'
                        for name, pin, there in outputs)
    includes = "\n".join(f'#include "V{module}.h"\n#include "V{module}___024root.h"' for module in design.modules)
    index = ports.index
    return f'''{includes}
#include "V{design.top}.h"
#include <cstring>
#include "{CPP / "partition.h"}"
class Design final : public PartitionModel {{
public:
    V{design.top} rest{{context.get(), "top"}};
{members}
    Design() {{
{rows}
        clock = {index.get("clk", -1)}, reset = {index.get("rst", -1)};
    }}
    void rise() override {{
{chr(10).join(f"        {name}.clk = 1;" for name in each)}
        rest.eval();
{chr(10).join(f"        {name}.eval();" for name in each)}
    }}
    void fall() override {{
{moves(True)}
        rest.eval();
{moves(False)}
{chr(10).join(f"        {name}.clk = 0, {name}.rootp->__Vtrigprevexpr___TOP__clk__0 = 0;" for name in each)}
    }}
    void check() override {{
{chr(10).join(f"        {name}.eval();" for name in each)}
{changed}
    }}
#if OPENRDU_TRACE
    void traceUnits(TraceFile* file) override {{
{chr(10).join(f"        {name}.trace(file, 99);" for name in ("rest", *each))}
    }}
#endif
}};
Model* makeModel() {{ return new Design; }}
'''
