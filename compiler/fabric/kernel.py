"""The bottom layer of the compiler: a kernel described as units, programs and flows, placed by its author, routed here.

    kernel = KernelBuilder(config, "row maxima")
    source = kernel.agcu(0, AGCUProgram(...))
    maximum = kernel.pcu(0, 0, row_max(...))
    kernel.vector(source.out(0), maximum.input(0))
    kernel.argument("rows", maximum.field("bounds[1]"))
    image = kernel.build()          # a sw_driver.Kernel
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from amaranth.hdl import Const

from hw.common.program import field_position
from hw.config import RDUConfig
from hw.programs import unit_program_of
from sw_driver.kernel import Argument, Kernel

from .ports import Fabric
from .route import Flow, Router, Routes
from .senders import Sequence, Throttle, automatic, sender_fields

__all__ = ["KernelBuilder", "PlacementError", "Unit"]


class PlacementError(ValueError):
    """Two programs on one unit, or a program on a unit that is not there."""


class Program(Protocol):
    """What the typed programs of all units have in common."""

    def pack(self, config) -> int:
        """The program's bits; refuses what the unit cannot do."""


@dataclass(frozen=True)
class Unit:
    """A unit in use. ``endpoint`` is how the router calls it: ("unit", row, column) or ("agcu", index)."""

    kind: str
    number: int
    endpoint: tuple
    config: RDUConfig = field(repr=False)

    def out(self, port: int) -> tuple:
        """Output port ``port`` (for an AGCU: load engine) as a flow's source."""
        return (*self.endpoint, port)

    def input(self, port: int) -> tuple:
        """Input port ``port`` (for an AGCU: store engine) as a flow's destination."""
        return (*self.endpoint, port)

    def field(self, path: str) -> Argument:
        """Where field ``path`` of the core's program lies, for :meth:`KernelBuilder.argument`."""
        bit, width = field_position(unit_program_of(self.config, self.kind), f"core.{path}")
        return Argument(self.number, bit // 32, bit % 32, width)


class KernelBuilder:
    """Collects units and flows and builds a :class:`Kernel`.

    Parameters
    ----------
    config: the device.
    name: the kernel's name.
    group: launch group of all its units.
    resident: kernels that stay loaded beside this one; its routes keep off theirs, and no unit is used twice.
    throttle: packets are throttled automatically, from the rates of the flows (:func:`compiler.senders.automatic`).
    """

    def __init__(self, config: RDUConfig, name: str, *, group: int = 0, resident: tuple[KernelBuilder, ...] = (),
                 throttle: bool = False):
        if not 0 <= group < config.groups:
            raise PlacementError(f"kernel {name!r}: group={group} must be below groups={config.groups} of preset {config.name}")
        self.config, self.name, self.group, self.resident = config, name, group, resident
        self.flows: list[Flow] = []
        self._programs: dict[Unit, Program] = {}
        self._arguments: dict[str, tuple[Argument, ...]] = {}
        self.throttle, self._throttles, self._sequences = throttle, {}, {}
        self._routed: tuple[int, Routes] | None = None

    def pcu(self, row: int, column: int, program: Program) -> Unit:
        """Puts ``program`` on the PCU at grid point (row, column)."""
        return self._place("pcu", row, column, program)

    def pmu(self, row: int, column: int, program: Program) -> Unit:
        """Puts ``program`` on the PMU at grid point (row, column)."""
        return self._place("pmu", row, column, program)

    def agcu(self, index: int, program: Program) -> Unit:
        """Puts ``program`` on AGCU ``index``."""
        if not 0 <= index < len(self.config.agcu_ports):
            raise PlacementError(f"kernel {self.name!r}: agcu {index} does not exist; preset {self.config.name} has "
                                 f"{len(self.config.agcu_ports)}")
        return self._use(Unit("agcu", self.config.agcu_id(index), ("agcu", index), self.config), program)

    def vector(self, source: tuple, *destinations: tuple, rate: float = 1.0, **kind) -> None:
        """A flow on the vector fabric; ``rate``: packets per cycle it is expected to carry; ``kind``: see :class:`Flow`: ``merge``,
        ``dynamic``, ``by_data``, ``window``."""
        self._flow("vector", source, destinations, rate, **kind)

    def scalar(self, source: tuple, *destinations: tuple, rate: float = 0.1, **kind) -> None:
        """A flow on the scalar fabric."""
        self._flow("scalar", source, destinations, rate, **kind)

    def token(self, source: Unit, wire: int, destination: Unit) -> None:
        """Wire ``wire`` from a unit's outputs to the same wire of another's inputs, or of its own."""
        self._flow("control", (*source.endpoint, wire), ((*destination.endpoint, wire),), 0.01)

    def destination(self, end: tuple, fabric: str = "vector") -> int:
        """What a packet of a flow ``by_data`` has in the low bits of its first word to go to input ``end``."""
        return Fabric(self.config, fabric).word(end)

    def throttled(self, source: tuple, throttle: Throttle, fabric: str = "vector") -> None:
        """Sets the throttle of one output port by hand; it goes before the automatic one."""
        self._throttles[fabric, source] = throttle

    def numbered(self, source: tuple, sequence: Sequence, fabric: str = "vector") -> None:
        """Sets the sequence IDs of the packets of one output port; without, all are 0."""
        self._sequences[fabric, source] = sequence

    def argument(self, name: str, *places: Argument) -> None:
        """Names program fields that the driver may replace; all ``places`` of one name get the same value."""
        self._arguments[name] = self._arguments.get(name, ()) + places

    def build(self, **symbols) -> Kernel:
        """Routes all flows and packs all programs. Errors of the router and of the programs pass through."""
        routes = self.routes()
        throttles = (automatic(routes) if self.throttle else {}) | self._throttles
        senders = sender_fields(self.config, routes.routes, throttles, self._sequences)
        programs = {unit.number: self._words(unit, program) for unit, program in self._programs.items()}
        for unit in self._programs:
            self._send(unit, programs[unit.number], senders.get(unit.endpoint, {}))
        programs |= routes.words()
        return Kernel(name=self.name, config_digest=self.config.digest, group=self.group, programs=programs,
                      arguments=dict(self._arguments), symbols={
                          "flows": [[flow.fabric, list(flow.source), [list(end) for end in flow.destinations]] for flow in self.flows],
                          **symbols})

    def routes(self) -> Routes:
        """The routes of all flows: found once, so that a kernel that is built beside this one keeps off what is really loaded."""
        if self._routed is None or self._routed[0] != len(self.flows):
            reserved = [kernel.routes() for kernel in self.resident]
            self._routed = len(self.flows), Router(self.config).route(self.flows, reserved=reserved)
        return self._routed[1]

    def _place(self, kind: str, row: int, column: int, program: Program) -> Unit:
        if (row, column) not in self.config.grid or self.config.is_pcu(row, column) != (kind == "pcu"):
            points = [point for point in self.config.grid if self.config.is_pcu(*point) == (kind == "pcu")]
            raise PlacementError(f"kernel {self.name!r}: no {kind} at ({row}, {column}); preset {self.config.name} has them "
                                 f"at {points}")
        return self._use(Unit(kind, self.config.unit_id(row, column), ("unit", row, column), self.config), program)

    def _use(self, unit: Unit, program: Program) -> Unit:
        for kernel in (self, *self.resident):
            if unit in kernel._programs:
                raise PlacementError(f"kernel {self.name!r}: {unit.kind} {unit.endpoint[1:]} already holds a program "
                                     f"of {kernel.name!r}")
        self._programs[unit] = program
        return unit

    def _flow(self, fabric: str, source: tuple, destinations: tuple, rate: float, **kind) -> None:
        name = f"{self.name}: {source} -> {', '.join(map(str, destinations))}"
        self.flows.append(Flow(name=name, source=source, destinations=tuple(destinations), fabric=fabric, rate=rate, **kind))

    def _words(self, unit: Unit, program: Program) -> dict[int, int]:
        """Word index -> value of a unit's whole program; an AGCU's segment table, at its end, is left to the driver."""
        layout = unit_program_of(self.config, unit.kind)
        core_bit, _ = field_position(layout, "core")
        packed = program.pack(getattr(self.config, unit.kind)) << core_bit
        launch = layout.const({"launch": {"enable": 1, "group": self.group}})
        packed |= Const.cast(launch).value
        end = field_position(layout, "core.segments")[0] if unit.kind == "agcu" else layout.size
        return {word: packed >> 32 * word & 0xFFFFFFFF for word in range(end // 32)}

    def _send(self, unit: Unit, words: dict[int, int], fields: dict[str, int]) -> None:
        """Adds the settings of a unit's senders, field by field, to the words of its program."""
        layout = unit_program_of(self.config, unit.kind)
        for path, value in fields.items():
            bit, _ = field_position(layout, path)
            words[bit // 32] = words.get(bit // 32, 0) | value << bit % 32
