"""Units of a kernel before they have a place: virtual PCUs, PMUs and AGCU engines, and the flows between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hw.agcu.program import Access, LoadProgram, StoreProgram
from hw.config import RDUConfig

__all__ = ["Capacity", "Flow", "Netlist", "Port", "VirtualUnit"]


@dataclass(eq=False)
class VirtualUnit:
    """One unit (kinds "pcu", "pmu") or one AGCU engine ("load", "store").

    ``program``: a typed program; of an engine with ``base`` relative to ``symbol``. ``work``: packets or iterations that keep it
    busy, for the cost model; ``bytes``: what it moves to or from memory.
    """

    kind: str
    name: str
    program: object
    symbol: str = ""
    work: int = 0
    bytes: int = 0
    note: dict = field(default_factory=dict)

    @property
    def is_word(self) -> bool:
        """Whether it is an engine that moves words, through a scalar port."""
        return self.kind in ("load", "store") and self.program.access is Access.WORD

    @property
    def scalar_inputs(self) -> int:
        """Scalar inputs of its AGCU that it needs."""
        if self.kind not in ("load", "store"):
            return 0
        return int(self.program.index is not None) + int(self.kind == "store" and self.is_word)

    def out(self, port: int = 0) -> Port:
        return Port(self, port)

    def input(self, port: int = 0) -> Port:
        return Port(self, port)


@dataclass(frozen=True)
class Port:
    """Port ``index`` of a unit. Of an engine: 0 is its own stream; "index" the indices of a gather."""

    unit: VirtualUnit
    index: int | str


@dataclass
class Flow:
    """From one output to one or more inputs; ``packets`` in all."""

    fabric: str
    source: Port
    destinations: list[Port]
    packets: int


@dataclass(frozen=True)
class Capacity:
    """What a device has, or a kernel uses: units, load and store engines, engines that emit words, scalar inputs of AGCUs."""

    pcu: int
    pmu: int
    load: int
    store: int
    word_load: int
    scalar_in: int

    @classmethod
    def of(cls, config: RDUConfig) -> Capacity:
        pcus = sum(config.is_pcu(*point) for point in config.grid)
        agcus = len(config.agcu_ports)
        return cls(pcus, len(config.grid) - pcus, agcus * config.agcu.load_engines, agcus * config.agcu.store_engines,
                   agcus * config.agcu.scalar_outputs, agcus * config.agcu.scalar_inputs)

    def exceeded(self, limit: Capacity) -> str:
        """Which limit is exceeded, in words; empty if none."""
        for name, what in (("pcu", "PCUs"), ("pmu", "PMUs"), ("load", "load engines"), ("store", "store engines"),
                           ("word_load", "word load engines"), ("scalar_in", "scalar inputs of AGCUs")):
            if getattr(self, name) > getattr(limit, name):
                return f"{getattr(self, name)} {what}, the device has {getattr(limit, name)}"
        return ""


class Netlist:
    """A kernel under construction. ``name`` is for messages; ``placement``: where its units are, once that is known."""

    def __init__(self, config: RDUConfig, name: str):
        self.config, self.name = config, name
        self.units: list[VirtualUnit] = []
        self.placement: dict[VirtualUnit, tuple] | None = None
        self.flows: list[Flow] = []

    def add(self, kind: str, name: str, program, **about) -> VirtualUnit:
        unit = VirtualUnit(kind, f"{name}.{len(self.units)}", program, **about)
        self.units.append(unit)
        return unit

    def load(self, symbol: str, program: LoadProgram, *, bytes: int = 0) -> VirtualUnit:
        return self.add("load", symbol, program, symbol=symbol, work=program.iterations, bytes=bytes)

    def store(self, symbol: str, program: StoreProgram, *, bytes: int = 0) -> VirtualUnit:
        return self.add("store", symbol, program, symbol=symbol, work=program.iterations, bytes=bytes)

    def connect(self, fabric: str, source: Port, destination: Port, packets: int) -> None:
        """A flow; a source that already has one gets a further destination."""
        for flow in self.flows:
            if flow.fabric == fabric and flow.source == source:
                flow.destinations.append(destination)
                return
        self.flows.append(Flow(fabric, source, [destination], packets))

    def of_kind(self, kind: str) -> Iterator[VirtualUnit]:
        return (unit for unit in self.units if unit.kind == kind)

    def used(self) -> Capacity:
        count = {kind: sum(1 for _ in self.of_kind(kind)) for kind in ("pcu", "pmu", "load", "store")}
        return Capacity(count["pcu"], count["pmu"], count["load"], count["store"],
                        sum(unit.is_word for unit in self.of_kind("load")), sum(unit.scalar_inputs for unit in self.units))
