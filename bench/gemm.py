"""MAC utilisation of a PCU in systolic mode, fed by two PMUs through the network, from its own event counters.

    rdu bench gemm --preset paper_unit [--shape MxKxN[,MxKxN...]] [--weights bf16|fp32|int8]
    rdu bench gemm --from hbm             a compiled product on a whole tile: :mod:`bench.gemm_memory`

The whole device on the RTL: x, row-major in HBM, goes through an AGCU into one PMU, which holds two row tiles and sends each to the
PCU once for every column tile (rows too long for that pass through it, once for every column tile); w, row-major in HBM, goes
through the other AGCU and a four-fold buffer of the other PMU, once for every row tile; y, FP32, returns to HBM row-major and is
compared bit for bit. One kernel, launched once.

A cycle's peak is lanes x min(M, stages) MACs: one row, as in decode, can use one stage. Weights then come at one block of
``lanes`` features a cycle: one vector of FP32, half a vector of BF16, a quarter of INT8.
``mac_utilization_total``: useful MACs / (peak x cycles in which the PCU was busy, from Execute to its last result taken).
``mac_utilization_steady``: useful share of a step's MACs x systolic steps / busy cycles, between two readings of the counters amid the run
(of a run too short for them: the same as total).
Padding (features to a tile, k to whole vectors, rows to equal tiles) is not useful.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from compiler.kernel import KernelBuilder
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import PCUConfig, PMUConfig, RDUConfig
from hw.fp.model import matmul, rounded_to_bf16
from hw.pcu.model import pack_bytes, pack_rows
from hw.pcu.program import ProgramError, SystolicProgram
from hw.pmu.program import Loop as PMULoop
from hw.pmu.program import PMUProgram, Read, Write
from hw.pmu.recipes import separate_buffers, stage_buffer
from sw_driver.device import HBM, Device
from sw_driver.kernel import Kernel

from .common import metric, steps

__all__ = ["DESCRIPTION", "Gemm", "choose", "run"]

DESCRIPTION = ("MAC utilisation of one PCU fed by PMUs; --shape MxKxN (default 192x256x256 and 1x2048x256), --weights bf16|fp32|int8; "
               "--from hbm: of a tile, compiled")
SHAPES = "192x256x256,1x2048x256"
BLOCKS_A_VECTOR = {"fp32": 1, "bf16": 2, "int8": 4}
BUFFERS, LARGEST_BUFFER = 4, 128


def choose(config: PCUConfig, rows: int, k: int, features: int, weights: str = "bf16") -> SystolicProgram:
    """The legal program for a GEMM with the fewest systolic steps; among equals the one with the most sums in flight."""
    programs = []
    for blocks in range(BLOCKS_A_VECTOR[weights], config.accumulators + 1, BLOCKS_A_VECTOR[weights]):
        for groups in range(1, config.accumulators // blocks + 1):
            row_tiles = -(-rows // (groups * config.stages))
            room = config.broadcast_depth // groups // (2 * config.lanes) * 2 * config.lanes
            if not room:
                continue
            chunks = -(-k // room)
            program = SystolicProgram(
                k=-(-k // chunks), chunks=chunks, rows=-(-rows // row_tiles), groups=groups, feature_blocks=blocks,
                row_tiles=row_tiles, column_tiles=-(-features // (blocks * config.lanes)), reuse=chunks == 1,
                packed_weights=weights == "bf16", int8_weights=weights == "int8")
            try:
                program.check(config)
            except ProgramError:
                continue
            programs.append(program)
    return min(programs, key=lambda p: (math.prod(p.loops()), -p.groups * p.feature_blocks))


@dataclass(frozen=True)
class Gemm:
    """One product on a device: its program, padded sizes and kernel."""

    config: RDUConfig
    rows: int
    k: int
    features: int
    weights: str = "bf16"

    @property
    def program(self) -> SystolicProgram:
        return choose(self.config.pcu, self.rows, self.k, self.features, self.weights)

    @property
    def steps(self) -> int:
        """Systolic steps of the whole product."""
        return math.prod(self.program.loops())

    @property
    def useful(self) -> float:
        """Useful MACs as a share of what the steps could do at the peak."""
        return self.rows * self.k * self.features / (self.steps * self.config.lanes * min(self.rows, self.config.pcu.stages))

    @property
    def padded(self) -> tuple[int, int, int]:
        p = self.program
        return p.rows * p.row_tiles, p.k * p.chunks, p.column_tiles * p.feature_blocks * self.config.lanes

    def kernel(self) -> Kernel:
        """Arguments: ``x``, ``w``, ``y``, for INT8 ``scales``: addresses in HBM."""
        p, config, beat = self.program, self.config, self.config.beat_bytes
        _, depth, width = self.padded
        vectors = p.feature_blocks // BLOCKS_A_VECTOR[self.weights]           # of one k of a tile
        row, pitch = p.row_vectors(config.pcu), width * 4
        # Innermost first: a tile's features, k, column tiles, row tiles.
        weights = [LoadProgram(loops=(Loop(vectors, beat), Loop(depth, pitch // BLOCKS_A_VECTOR[self.weights]),
                                      Loop(p.column_tiles, vectors * beat), Loop(p.row_tiles, 0)))]
        if p.int8_weights:
            weights.append(LoadProgram(loops=(Loop(p.column_tiles * p.feature_blocks, beat), Loop(p.row_tiles, 0))))
        points = [point for point in config.grid if not config.is_pcu(*point)]
        kernel = KernelBuilder(config, "gemm")
        west = kernel.agcu(0, AGCUProgram(loads=tuple(weights)))
        tile = p.rows * p.chunks * row
        x = (Loop(tile, beat), Loop(p.row_tiles, tile * beat)) if self.rows_fit else \
            (Loop(row, beat), Loop(p.rows, p.chunks * row * beat), Loop(p.chunks, row * beat), Loop(p.column_tiles),
             Loop(p.row_tiles, tile * beat))
        east = kernel.agcu(1, AGCUProgram(
            loads=(LoadProgram(loops=x),),
            stores=(StoreProgram(loops=(Loop(p.feature_blocks, beat), Loop(p.rows, pitch),
                                        Loop(p.column_tiles, p.feature_blocks * beat), Loop(p.row_tiles, p.rows * pitch))),)))
        pcu = kernel.pcu(*next(point for point in config.grid if config.is_pcu(*point)), p)
        w_buffer = kernel.pmu(*points[0], self._queue(config.pmu, vectors * depth, p.column_tiles))
        x_buffer = kernel.pmu(*points[-1], self._rows_buffer(config.pmu) if self.rows_fit else
                              self._queue(config.pmu, tile, p.column_tiles))
        kernel.vector(west.out(0), w_buffer.input(0))
        kernel.vector(w_buffer.out(0), pcu.input(0))
        kernel.vector(east.out(0), x_buffer.input(0), rate=0.2)
        kernel.vector(x_buffer.out(0), pcu.input(1), rate=0.2)
        kernel.vector(pcu.out(0), east.input(0), rate=0.2)
        if p.int8_weights:
            kernel.vector(west.out(1), pcu.input(3), rate=0.1)
            kernel.argument("scales", west.field("load1.base"))
        for name, unit, engine in (("w", west, "load0"), ("x", east, "load0"), ("y", east, "store0")):
            kernel.argument(name, unit.field(f"{engine}.base"))
        return kernel.build(pcu=list(pcu.endpoint[1:]))

    @property
    def rows_fit(self) -> bool:
        """Whether a PMU holds two row tiles of x; else each is brought again for every column tile."""
        p = self.program
        tile = p.rows * p.chunks * p.row_vectors(self.config.pcu)
        return p.reuse or 2 * separate_buffers(self.config.pmu, tile, 2)[0] * self.config.lanes <= self.config.pmu.words

    def _queue(self, config: PMUConfig, vectors: int, column_tiles: int) -> PMUProgram:
        """``vectors`` for each tile pass through a four-fold buffer: a part of them is written while others are read."""
        largest = min(LARGEST_BUFFER, config.words // config.lanes // BUFFERS)
        part = next(size for size in range(largest, 0, -1) if vectors % size == 0)
        return stage_buffer(config, vectors=part, count=self.program.row_tiles * column_tiles * vectors // part, buffers=BUFFERS)

    def _rows_buffer(self, config: PMUConfig) -> PMUProgram:
        """Two row tiles: each read once, or once for every column tile, chunk of k by chunk of k."""
        p, lanes = self.program, config.lanes
        row = p.row_vectors(self.config.pcu)
        tile = p.rows * p.chunks * row
        stride, banks = separate_buffers(config, tile, 2)
        read = Read(loops=(PMULoop(row, lanes), PMULoop(p.rows, p.chunks * row * lanes), PMULoop(p.chunks, row * lanes),
                           PMULoop(1 if p.reuse else p.column_tiles), PMULoop(p.row_tiles)), handover=4)
        return PMUProgram(write=Write(loops=(PMULoop(tile, lanes), PMULoop(p.row_tiles)), handover=1, vectors=(0,)),
                          reads=(read, *[None] * (config.vector_outputs - 1)), buffers=2, buffer_stride=stride * lanes, bank_map=banks)

    def operands(self, seed: int = 1) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """(words of every input as they lie in HBM, the result that the model expects, padded)."""
        random, p, lanes = np.random.default_rng(seed), self.program, self.config.lanes
        rows, depth, width = self.padded
        x, w = np.zeros((rows, depth), np.float32), np.zeros((depth, width), np.float32)
        x[:self.rows, :self.k] = random.normal(size=(self.rows, self.k))
        w[:self.k, :self.features] = random.normal(size=(self.k, self.features))
        x, w = (rounded_to_bf16(values) for values in (x, w))
        inputs = {"x": np.concatenate([pack_rows(part, lanes) for part in
                                       (row[c * p.k:(c + 1) * p.k] for row in x for c in range(p.chunks))])}
        if self.weights == "int8":
            scales = (np.abs(w).max(axis=0) / 127 + np.float32(1e-9)).astype(np.float32)
            quantised = np.rint(w / scales).astype(np.int8)
            inputs |= {"w": pack_bytes(quantised, lanes), "scales": pack_rows(scales, lanes, packed=False)}
            w = scales * quantised.astype(np.float32)
        else:
            inputs["w"] = pack_rows(w, lanes, packed=self.weights == "bf16")
        return inputs, matmul(x, w)


def measure(device: Device, gemm: Gemm) -> tuple[float, float]:
    """(steady, total) utilisation; raises RuntimeError if a result differs."""
    kernel, (inputs, expected) = gemm.kernel(), gemm.operands()
    buffers = {name: device.upload(HBM, words) for name, words in inputs.items()}
    buffers["y"] = device.allocate(HBM, expected.nbytes)
    row, column = kernel.symbols["pcu"]

    def read() -> tuple[int, int]:
        events, = device.counters([f"pcu({row},{column})"], ("mac_cycles", "busy")).values()
        return events["mac_cycles"], events["busy"]

    device.load(kernel)
    device.set_arguments(kernel, **{name: buffer.address for name, buffer in buffers.items()})
    before = read()
    device.execute(kernel)
    device.backend.run(gemm.steps // 4)
    first = read()
    device.backend.run(gemm.steps // 2)
    second = read()
    device.wait(kernel, 20 * gemm.steps + 20_000)
    steps, cycles = (after - start for after, start in zip(read(), before, strict=True))
    result = device.read(buffers["y"], np.float32, expected.shape)
    for buffer in buffers.values():
        device.free(buffer)
    name = f"gemm {gemm.rows}x{gemm.k}x{gemm.features}"
    if not (result.view(np.uint32) == expected.view(np.uint32)).all():
        raise RuntimeError(f"{name}: results differ from the model")
    if steps != gemm.steps:
        raise RuntimeError(f"{name}: {steps} systolic steps were counted, {gemm.steps} are in the program")
    total = gemm.useful * steps / cycles
    if second[1] - first[1] < gemm.steps // 4:        # it was over before: nothing steady to be seen
        return total, total
    return gemm.useful * (second[0] - first[0]) / (second[1] - first[1]), total


def run(config: RDUConfig, console, *, full: bool = False, shape: str = "", weights: str = "bf16", from_: str = "pmu") -> list[dict]:
    """The metrics; ``full`` adds the decode shape with FP32 and INT8 weights, or to ``--from hbm`` 256x256x256."""
    from sim.device import VerilatedBackend

    from . import gemm_memory
    for name, value, known in (("from", from_, ("pmu", "hbm")), ("weights", weights, tuple(BLOCKS_A_VECTOR))):
        if value not in known:
            raise ValueError(f"{name}={value} must be one of {', '.join(known)}")
    if not shape:
        shape = SHAPES if from_ == "pmu" else gemm_memory.SHAPES + f",{gemm_memory.LARGE}" * full
    shapes = []
    for text in shape.split(","):
        sizes = text.lower().split("x")
        if len(sizes) != 3 or not all(size.isdecimal() and int(size) for size in sizes):
            raise ValueError(f"shape={text} must be ROWSxKxFEATURES, such as 192x256x256")
        shapes.append(tuple(map(int, sizes)))
    if from_ == "hbm":
        return gemm_memory.run(config, console, shapes)
    cases = [(weights, Gemm(config, *sizes, weights)) for sizes in shapes]
    if full:
        cases += [(kind, Gemm(config, 1, 2048, 256, kind)) for kind in ("fp32", "int8")]
    metrics = []
    with steps(console, "building the device", len(cases)) as step, Device(VerilatedBackend(config)) as device:
        for kind, gemm in cases:
            name = f"{gemm.rows}x{gemm.k}x{gemm.features}"
            step(f"gemm {name}")
            case = f"{name} {config.name}" + (f" {kind}" if kind != "bf16" else "")
            for metric_name, value in zip(("steady", "total"), measure(device, gemm), strict=True):
                metrics.append(metric(f"mac_utilization_{metric_name}", case, value, "ratio"))
    return metrics
