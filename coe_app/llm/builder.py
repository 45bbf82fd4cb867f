"""Parts that the decoder's kernels share: a builder that knows the grid by names, and the programs of their units."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from compiler.kernel import KernelBuilder, PlacementError, Unit
from compiler.route import Flow
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import PMUConfig, RDUConfig
from hw.fp.function import TailFunction
from hw.pcu.layout import Op, Reduce, Source
from hw.pcu.program import Input, Mask, SimdProgram, Stage, constant, counter, element, integer, scalar, stage, vector
from hw.pmu import program as pmu
from hw.pmu.bank_bits import banked
from hw.pmu.geometry import BankMap
from sw_driver.kernel import Argument, Kernel

from .decoder import SCORE_LIMIT
from .shape import EPSILON
from .streams import GRANULE

__all__ = ["DecoderKernel", "Levers", "Stream", "beats", "divider", "gated", "inverse_norm", "inverse_of_last", "rotation",
           "rows_of", "scaled", "splitter", "weighted"]

EDGES = {"west0": ("west", 0), "west1": ("west", 1), "east0": ("east", 0), "east1": ("east", 1)}


def _bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


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
    resident: as in :class:`~compiler.kernel.KernelBuilder`.
    levers: see :class:`Levers`.
    """

    def __init__(self, config: RDUConfig, name: str, places: dict[str, tuple[int, int] | str], resident=(), levers: Levers | None = None):
        if config.rows < 4 or config.columns < 4 or config.agcus_per_edge < 2 or config.lanes != 8 or config.pcu.stages != 4:
            raise PlacementError(f"preset {config.name}: the decoder's kernels need a grid of 4x4, 2 AGCUs per edge and PCUs of 8 lanes "
                                 f"x 4 stages, this one has {config.rows}x{config.columns}, {config.agcus_per_edge} and "
                                 f"{config.lanes} x {config.pcu.stages}; use preset small or medium")
        self.places, self.units, self.levers = places, {}, levers or Levers()
        super().__init__(config, name, resident=tuple(resident), throttle=self.levers.throttle)
        self._engines: dict[str, dict[str, list]] = {}

    def unit(self, name: str, program) -> Unit:
        """Puts ``program`` on the PCU or PMU called ``name``."""
        place = self.pcu
        if isinstance(program, pmu.PMUProgram):
            place, program = self.pmu, self._banked(program)
        self.units[name] = place(*self.places[name], program)
        return self.units[name]

    def _banked(self, program: pmu.PMUProgram) -> pmu.PMUProgram:
        if self.levers.bank_bits:
            return banked(program, self.config.pmu)
        if any(read is not None and read.transposed for read in program.reads):
            return program               # the rows of a transposed vector must share a bank
        return replace(program, bank_map=BankMap.low(self.config.pmu))

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

    def token(self, source: Stream, wire: int, destination: Stream) -> None:
        """Wire ``wire`` from one AGCU's outputs to the same wire of another's inputs."""
        self._flow("control", (*source.unit.endpoint, wire), ((*destination.unit.endpoint, wire),), 0.01)

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


def rows_of(config: PMUConfig, *loops: int | tuple[int, int]) -> tuple[pmu.Loop, ...]:
    """PMU loops from (bound, stride in vectors) pairs; a plain number is (bound, 1)."""
    pairs = [(loop, 1) if isinstance(loop, int) else loop for loop in loops]
    return tuple(pmu.Loop(bound, stride * config.lanes) for bound, stride in pairs)


def divider(config: PMUConfig, granules: int, *, depth: int = 64) -> pmu.PMUProgram:
    """A stream dealt to two readers in granules of GRANULE vectors, up to ``depth`` of both ahead: the weights' prefetch."""
    both, one = rows_of(config, 2 * GRANULE, (granules, 0)), rows_of(config, GRANULE, (granules, 0))
    return pmu.PMUProgram(
        write=pmu.Write(loops=both, handover=1, vectors=(0,)),
        reads=tuple(pmu.Read(loops=one, handover=1, base=number * GRANULE * config.lanes) for number in range(2)),
        buffers=min(depth, config.banks * config.bank_rows // (2 * GRANULE)), buffer_stride=2 * GRANULE * config.lanes)


def splitter(config: PMUConfig, vectors: int, parts: tuple[tuple[int, int], ...], count: int, *, buffers: int = 4) -> pmu.PMUProgram:
    """``count`` rows of ``vectors``; reader i gets the ``parts[i]`` = (first, number) vectors of each row."""
    return pmu.PMUProgram(
        write=pmu.Write(loops=rows_of(config, vectors, (count, 0)), handover=1, vectors=(0,)),
        reads=tuple(pmu.Read(loops=rows_of(config, number, (count, 0)), handover=1, base=first * config.lanes)
                    for first, number in parts),
        buffers=buffers, buffer_stride=vectors * config.lanes)


def inverse_norm(vectors: int, rows: int) -> SimdProgram:
    """Vector 0: x[rows] -> scalar: 1 / sqrt(sum(x^2 + eps)) of each row."""
    return SimdProgram(loops=(vectors, rows), vectors={0: Input()}, constants=(_bits(EPSILON),),
                       stages=(Stage.mac(vector(0), vector(0), constant(0)),), reduce=Reduce.SUM, produce=1,
                       function=TailFunction.RSQRT, to_vector=False, to_scalar=True)


def scaled(vectors: int, rows: int) -> SimdProgram:
    """Vector 0: x[rows], scalar 0: one per row -> vector: x * s, packed."""
    return SimdProgram(loops=(vectors, rows), vectors={0: Input()}, scalars={0: Input(level=1)},
                       stages=(Stage.mul(vector(0), scalar(0)),), packed_output=True)


def rotation(vectors: int, rows: int) -> SimdProgram:
    """Vectors 0: x, 1: the partners, 2: cosines, 3: sines -> vector: x cos + partner sin, packed."""
    return SimdProgram(loops=(vectors, rows), vectors={port: Input() for port in range(4)},
                       stages=(Stage.mul(vector(1), vector(3)), Stage.mac(vector(0), vector(2), stage(0))), packed_output=True)


def weighted(rows: int, tiles: int, vectors: int = 2) -> SimdProgram:
    """Vector 0: scores, tile by tile [rows, 2 vectors], scalar 0: last element that counts of each row -> exp(score), packed.

    Scores are cut to +-SCORE_LIMIT, so no maximum is needed: the sum is neither zero nor infinite.
    """
    return SimdProgram(loops=(vectors, rows, tiles), vectors={0: Input()}, scalars={0: Input(level=1)},
                       constants=(_bits(SCORE_LIMIT), _bits(-SCORE_LIMIT), _bits(-np.inf)), mask=Mask(level=0, bound=0xFFFF),
                       stages=(integer(Op.FMIN, vector(0), constant(0)), integer(Op.FMAX, stage(0), constant(1)),
                               integer(Op.LE, element(), scalar(0)), integer(Op.SELECT, stage(1), constant(2), stage(2))),
                       function=TailFunction.EXP, packed_output=True)


def inverse_of_last(vectors: int, rows: int) -> SimdProgram:
    """Vector 0: x[rows] -> scalar: 1 / sum of the last vector of each row."""
    return SimdProgram(loops=(vectors, rows), vectors={0: Input()}, constants=(vectors - 1,),
                       stages=(integer(Op.EQ, counter(0), constant(0)), integer(Op.SELECT, vector(0), Source.ZERO, stage(0))),
                       reduce=Reduce.SUM, produce=1, function=TailFunction.RECIPROCAL, to_vector=False, to_scalar=True)


def gated(blocks: int, rows: int, tiles: int) -> SimdProgram:
    """Vectors 0, 1: gate and value of one unit, 2, 3: of another -> vector: products, block by block of both, packed in pairs."""
    return SimdProgram(loops=(2, blocks, rows, tiles), vectors={port: Input(level=1) for port in range(4)},
                       stages=(Stage.mul(vector(0), vector(1)), Stage.mul(vector(2), vector(3)),
                               integer(Op.SELECT, stage(1), stage(0), counter(0))), packed_output=True)
