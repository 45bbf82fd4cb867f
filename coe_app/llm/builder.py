"""A kernel builder that knows the grid's units and memory streams by names."""

from __future__ import annotations

from dataclasses import dataclass, replace

from compiler.fabric.kernel import KernelBuilder, PlacementError, Unit
from compiler.fabric.route import Flow
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import RDUConfig
from hw.pmu import program as pmu
from hw.pmu.bank_bits import banked
from hw.pmu.geometry import BankMap
from sw_driver.kernel import Argument, Kernel

__all__ = ["DecoderKernel", "Levers", "Stream", "beats"]

EDGES = {"west0": ("west", 0), "west1": ("west", 1), "east0": ("east", 0), "east1": ("east", 1)}


@dataclass(frozen=True)
class Stream:
    """A load or store engine in use, by the AGCU that has it."""

    unit: Unit
    kind: str
    engine: int

    @property
    def port(self) -> tuple:
        """Its end of a flow on the vector fabric."""
        return self.unit.out(self.engine) if self.kind == "load" else self.unit.input(self.engine)

    def field(self, path: str) -> Argument:
        """Where field ``path`` of the engine's program lies."""
        return self.unit.field(f"{self.kind}{self.engine}.{path}")


@dataclass(frozen=True, kw_only=True)
class Levers:
    """What the machine can be told to do without. ``bank_bits``: PMUs use the bank bits that :func:`hw.pmu.bank_bits.choose` finds
    (else the lowest, where that is legal); ``throttle``: senders are throttled automatically, from the average rates of the flows."""

    bank_bits: bool = True
    throttle: bool = False


class DecoderKernel(KernelBuilder):
    """A kernel of which the units and memory streams have names.

    Parameters
    ----------
    config: the device; its grid has at least 4x4 points and 2 AGCUs per edge.
    name: the kernel's name.
    places: grid point of each PCU and PMU, AGCU ("west0", "west1", "east0", "east1") of each memory stream, by name.
    resident: as in :class:`~compiler.fabric.kernel.KernelBuilder`.
    levers: see :class:`Levers`.
    """

    def __init__(self, config: RDUConfig, name: str, places: dict[str, tuple[int, int] | str], resident=(), levers: Levers | None = None,
                 group: int = 0):
        if config.rows < 4 or config.columns < 4 or config.agcus_per_edge < 2 or config.lanes != 8 or config.pcu.stages != 4:
            raise PlacementError(f"preset {config.name}: the decoder's kernels need a grid of 4x4, 2 AGCUs per edge and PCUs of 8 lanes "
                                 f"x 4 stages, this one has {config.rows}x{config.columns}, {config.agcus_per_edge} and "
                                 f"{config.lanes} x {config.pcu.stages}; use preset small or medium")
        self.places, self.units, self.levers = places, {}, levers or Levers()
        super().__init__(config, name, group=group, resident=tuple(resident), throttle=self.levers.throttle)
        self._engines: dict[str, dict[str, list]] = {}

    def unit(self, name: str, program, *, kept: bool = False) -> Unit:
        """Puts ``program`` on the PCU or PMU called ``name``. ``kept``: its scratchpad is shared with another kernel, so its bank map
        stays."""
        place = self.pcu
        if isinstance(program, pmu.PMUProgram):
            place, program = self.pmu, program if kept else self._banked(program)
        self.units[name] = place(*self.places[name], program)
        return self.units[name]

    def _banked(self, program: pmu.PMUProgram) -> pmu.PMUProgram:
        if self.levers.bank_bits:
            return banked(program, self.config.pmu)
        if any(read is not None and read.transposed for read in program.reads):
            return program               # the rows of a transposed vector must share a bank
        return replace(program, bank_map=BankMap.low(self.config.pmu))

    def end(self, name: str, port: int) -> tuple:
        """Input ``port`` of the unit called ``name``, which another kernel uses, as a flow's destination."""
        return ("unit", *self.places[name], port)

    def load(self, name: str, **program) -> Stream:
        """A load engine called ``name``."""
        return self._stream(name, "load", LoadProgram(**program))

    def store(self, name: str, **program) -> Stream:
        """A store engine called ``name``."""
        return self._stream(name, "store", StoreProgram(**program))

    def _stream(self, name: str, kind: str, program) -> Stream:
        edge, position = EDGES[self.places[name]]
        index = [number for number, (_, side) in enumerate(self.config.agcu_ports) if side == edge][position]
        engines = self._engines.setdefault(index, {"load": [], "store": []})[kind]
        engines.append(program)
        unit = Unit("agcu", self.config.agcu_id(index), ("agcu", index), self.config)
        self.units[name] = Stream(unit, kind, len(engines) - 1)
        return self.units[name]

    def token(self, source: Stream, wire: int, destination: Stream | Unit) -> None:
        """Wire ``wire`` from an AGCU's outputs to the same wire of another's or a unit's inputs."""
        super().token(source.unit, wire, destination.unit if isinstance(destination, Stream) else destination)

    def wire(self, unit: Unit, wire: int) -> None:
        """Control wire ``wire`` of a unit back to itself."""
        self._flow("control", unit.out(wire), (unit.input(wire),), 0.01)

    def merge(self, source: tuple, *destinations: tuple, rate: float = 0.1) -> None:
        """A flow on the vector fabric that meets others at its destinations; who sends when is the kernel's affair."""
        self.flows.append(Flow(name=f"{self.name}: {source} -> {destinations}", source=source, destinations=destinations, rate=rate,
                               merge=True))

    def fields(self, argument: str, **paths: tuple[str, ...] | str) -> None:
        """``argument`` replaces these fields: name of a unit or stream -> path or paths."""
        for name, wanted in paths.items():
            for path in (wanted,) if isinstance(wanted, str) else wanted:
                self.argument(argument, self.units[name].field(path))

    def bases(self, *names: str) -> None:
        """Every stream's address is an argument of the stream's name."""
        for name in names:
            self.argument(name, self.units[name].field("base"))

    def build(self, **symbols) -> Kernel:
        for index, engines in self._engines.items():
            self.agcu(index, AGCUProgram(loads=tuple(engines["load"]), stores=tuple(engines["store"])))
        return super().build(**symbols)


def beats(config: RDUConfig, *loops: int | tuple[int, int]) -> tuple[Loop, ...]:
    """AGCU loops from (bound, stride in beats) pairs; a plain number is (bound, 1)."""
    pairs = [(loop, 1) if isinstance(loop, int) else loop for loop in loops]
    return tuple(Loop(bound, stride * config.beat_bytes) for bound, stride in pairs)
