"""MAC utilisation of a PCU in systolic mode, fed by two PMUs through the network, from its own event counters.

    rdu bench gemm --preset paper_unit [--shape MxKxN[,MxKxN...]] [--weights bf16|fp32|int8] [--start cold]
    rdu bench gemm --from hbm             a compiled product on a whole tile: :mod:`bench.gemm_memory`

The whole device on the RTL: x, row-major in HBM, goes through an AGCU into one PMU, which holds two row tiles and sends each to the
PCU once for every column tile (rows too long for that pass through it, once for every column tile); w, row-major in HBM, goes
through the other AGCU and a queue in the other PMU, once for every row tile; y, FP32, returns to HBM row-major and is compared bit
for bit. The stream of weights is a kernel of its own, launched before the product: its queue, as large as the PMU, is full when the
product begins, as a layer's weights are prefetched during the layer before (``--start cold``: both are launched at once). A link and
a queue take a vector a cycle at most, so for a product of that rate the time of refreshes, 7 %, must come out of that store. The HBM
is interleaved finely, so that one stream has all channels.

A cycle's peak is lanes x min(M x s, stages) MACs, with s the feature blocks (of ``lanes``) of one k that a step can take: 2 of BF16
weights (``stages_per_row=2``), 1 of FP32 or INT8. So one row, as in decode, reaches its peak when a whole vector of BF16 or FP32 weights
arrives every cycle, of INT8 weights a quarter.
``mac_utilization_total``: useful MACs / (peak x cycles in which the PCU was busy, from Execute to its last result taken).
``mac_utilization_steady``: useful share of a step's MACs x systolic steps / busy cycles, between two readings of the counters amid the run
(of a run too short for them: the same as total).
Padding (features to a tile, k to whole vectors, rows to equal tiles) is not useful.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from compiler.fabric.kernel import KernelBuilder, Unit
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import PCUConfig, PMUConfig, RDUConfig
from hw.fp.model import matmul, rounded_to_bf16
from hw.pcu.model import pack_bytes, pack_rows
from hw.pcu.program import ProgramError, SystolicProgram
from hw.pmu.program import Loop as PMULoop
from hw.pmu.program import PMUProgram, Read, Write
from hw.pmu.recipes import fifo, separate_buffers
from hw.tln.interleave import DEFAULT_INTERLEAVE, interleave_layout
from sw_driver.device import HBM, Device
from sw_driver.kernel import Kernel

from .common import metric, steps

__all__ = ["DESCRIPTION", "Gemm", "choose", "run"]

DESCRIPTION = ("MAC utilisation of one PCU fed by PMUs; --shape MxKxN (default 192x256x256 and 1x2048x256), "
               "--weights bf16|fp32|int8, --start prefetched|cold; --from hbm: of a tile, compiled")
SHAPES = "192x256x256,1x2048x256"
BLOCKS_A_VECTOR = {"fp32": 1, "bf16": 2, "int8": 4}
QUEUE = 512              # vectors that a queue holds
CHUNK_BEATS = 1          # of the HBM that lie together in one channel


def choose(config: PCUConfig, rows: int, k: int, features: int, weights: str = "bf16") -> SystolicProgram:
    """The legal program for a GEMM with the fewest systolic steps; among equals one that takes half a weight vector a step, then the one
    with the most sums in flight."""
    programs = []
    for shared, blocks, groups in itertools.product((1, 2), range(1, 2 * config.accumulators + 1), range(1, config.accumulators + 1)):
        height, column_tiles = config.stages // shared, -(-features // (blocks * config.lanes))
        if not height or (blocks % BLOCKS_A_VECTOR[weights] and column_tiles > 1):       # a tile would begin amid a vector
            continue
        row_tiles = -(-rows // (groups * height))
        tile_rows = -(-rows // row_tiles)
        room = config.broadcast_depth // (2 * config.lanes) // -(-tile_rows // height) * 2 * config.lanes
        if not room:
            continue
        chunks = -(-k // room)
        program = SystolicProgram(
            k=-(-k // chunks), chunks=chunks, rows=tile_rows, groups=groups, feature_blocks=blocks, stages_per_row=shared,
            row_tiles=row_tiles, column_tiles=column_tiles, reuse=chunks == 1,
            packed_weights=weights == "bf16", int8_weights=weights == "int8")
        try:
            program.check(config)
        except ProgramError:
            continue
        programs.append(program)
    return min(programs, key=lambda p: (math.prod(p.loops()), p.stages_per_row, -p.groups * p.feature_blocks))


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
        peak = self.config.lanes * min(self.rows * (2 if self.weights == "bf16" else 1), self.config.pcu.stages)
        return self.rows * self.k * self.features / (self.steps * peak)

    @property
    def padded(self) -> tuple[int, int, int]:
        p = self.program
        return p.rows * p.row_tiles, p.k * p.chunks, p.column_tiles * p.feature_blocks * self.config.lanes

    @property
    def weight_vectors(self) -> int:
        """Vectors of weights of one column tile."""
        return -(-self.program.feature_blocks // BLOCKS_A_VECTOR[self.weights]) * self.padded[1]

    @property
    def prefetched(self) -> int:
        """Vectors of weights that the queue holds when the product begins."""
        p, pmu = self.program, self.config.pmu
        return min(pmu.words // pmu.lanes, p.row_tiles * p.column_tiles * self.weight_vectors)

    def kernels(self) -> tuple[Kernel, Kernel]:
        """The stream of weights, a launch group of its own, arguments ``w`` and for INT8 ``scales``, and the product, arguments ``x`` and
        ``y``: addresses in HBM."""
        stream = KernelBuilder(self.config, "weights", group=1)
        kernel = KernelBuilder(self.config, "gemm", resident=(stream,))
        pcu = kernel.pcu(*next(point for point in self.config.grid if self.config.is_pcu(*point)), self.program)
        self._weights(stream, pcu)
        self._product(kernel, pcu)
        return stream.build(), kernel.build(pcu=list(pcu.endpoint[1:]))

    @property
    def _pmus(self) -> list[tuple[int, int]]:
        return [point for point in self.config.grid if not self.config.is_pcu(*point)]

    def _weights(self, kernel: KernelBuilder, pcu: Unit) -> None:
        """HBM, AGCU, a queue as large as a PMU, PCU."""
        p, beat = self.program, self.config.beat_bytes
        depth = self.padded[1]
        vectors = self.weight_vectors // depth                                # of one k of a tile
        # Innermost first: a tile's features, k, column tiles, row tiles.
        loads = [LoadProgram(loops=(Loop(vectors, beat), Loop(depth, p.column_tiles * vectors * beat),
                                    Loop(p.column_tiles, vectors * beat), Loop(p.row_tiles, 0)))]
        if p.int8_weights:
            loads.append(LoadProgram(loops=(Loop(p.column_tiles * p.feature_blocks, beat), Loop(p.row_tiles, 0))))
        west = kernel.agcu(0, AGCUProgram(loads=tuple(loads)))
        queue = kernel.pmu(*self._pmus[0], self._queue(self.weight_vectors, p.column_tiles, self.prefetched))
        kernel.vector(west.out(0), queue.input(0))
        kernel.vector(queue.out(0), pcu.input(0))
        kernel.argument("w", west.field("load0.base"))
        if p.int8_weights:
            kernel.vector(west.out(1), pcu.input(3), rate=0.1)
            kernel.argument("scales", west.field("load1.base"))

    def _product(self, kernel: KernelBuilder, pcu: Unit) -> None:
        """The rows through a PMU, and the results to HBM."""
        p, config, beat = self.program, self.config, self.config.beat_bytes
        row, pitch = p.row_vectors(config.pcu), self.padded[2] * 4
        tile = p.rows * p.chunks * row
        x = (Loop(tile, beat), Loop(p.row_tiles, tile * beat)) if self.rows_fit else \
            (Loop(row, beat), Loop(p.rows, p.chunks * row * beat), Loop(p.chunks, row * beat), Loop(p.column_tiles),
             Loop(p.row_tiles, tile * beat))
        east = kernel.agcu(1, AGCUProgram(
            loads=(LoadProgram(loops=x),),
            stores=(StoreProgram(loops=(Loop(p.feature_blocks, beat), Loop(p.rows, pitch),
                                        Loop(p.column_tiles, p.feature_blocks * beat), Loop(p.row_tiles, p.rows * pitch))),)))
        x_buffer = kernel.pmu(*self._pmus[-1], self._rows_buffer(config.pmu) if self.rows_fit else
                              self._queue(tile, p.column_tiles, QUEUE))
        kernel.vector(east.out(0), x_buffer.input(0), rate=0.2)
        kernel.vector(x_buffer.out(0), pcu.input(1), rate=0.2)
        kernel.vector(pcu.out(0), east.input(0), rate=0.2)
        kernel.argument("x", east.field("load0.base"))
        kernel.argument("y", east.field("store0.base"))

    @property
    def rows_fit(self) -> bool:
        """Whether a PMU holds two row tiles of x; else each is brought again for every column tile."""
        p = self.program
        tile = p.rows * p.chunks * p.row_vectors(self.config.pcu)
        return p.reuse or 2 * separate_buffers(self.config.pmu, tile, 2)[0] * self.config.lanes <= self.config.pmu.words

    def _queue(self, vectors: int, column_tiles: int, depth: int) -> PMUProgram:
        """``vectors`` for each tile pass through a queue of ``depth``, at most what a PMU holds."""
        pmu = self.config.pmu
        return fifo(pmu, vectors=self.program.row_tiles * column_tiles * vectors, depth=min(depth, pmu.words // pmu.lanes))

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


def measure(device: Device, gemm: Gemm, start: str = "prefetched") -> tuple[float, float]:
    """(steady, total) utilisation; raises RuntimeError if a result differs."""
    (stream, kernel), (inputs, expected) = gemm.kernels(), gemm.operands()
    buffers = {name: device.upload(HBM, words) for name, words in inputs.items()}
    buffers["y"] = device.allocate(HBM, expected.nbytes)
    row, column = kernel.symbols["pcu"]

    def read() -> tuple[int, int]:
        events, = device.counters([f"pcu({row},{column})"], ("mac_cycles", "busy")).values()
        return events["mac_cycles"], events["busy"]

    for loaded in (stream, kernel):
        device.load(loaded)
        device.set_arguments(loaded, **{name: buffers[name].address for name in loaded.arguments})
    before = read()
    device.execute(stream)
    if start == "prefetched":
        device.backend.run(2 * gemm.prefetched + 2_000)
    device.execute(kernel)
    for _ in range(100):                              # until the first quarter is done, or nothing goes on
        device.backend.run(gemm.steps // 16 + 1)
        first = read()
        if first[0] - before[0] >= gemm.steps // 4:
            break
    device.backend.run(gemm.steps // 2)
    second = read()
    device.wait(kernel, 20 * gemm.steps + 20_000)
    device.wait(stream)
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
    if second[0] - before[0] == gemm.steps:           # it was over before: nothing steady to be seen
        return total, total
    return gemm.useful * (second[0] - first[0]) / (second[1] - first[1]), total


def run(config: RDUConfig, console, *, full: bool = False, shape: str = "", weights: str = "bf16", from_: str = "pmu",
        start: str = "prefetched") -> list[dict]:
    """The metrics; ``full`` adds the decode shape with FP32 and INT8 weights, or to ``--from hbm`` 256x256x256."""
    from sim.device import VerilatedBackend

    from . import gemm_memory
    for name, value, known in (("from", from_, ("pmu", "hbm")), ("weights", weights, tuple(BLOCKS_A_VECTOR)),
                               ("start", start, ("prefetched", "cold"))):
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
    interleave = DEFAULT_INTERLEAVE | {"hbm": {"granularity": CHUNK_BEATS.bit_length() - 1, "hash": 1}}
    with steps(console, "building the device", len(cases)) as step, Device(VerilatedBackend(config)) as device:
        device.write_register("INTERLEAVE", interleave_layout().const(interleave).as_value().value)
        for kind, gemm in cases:
            name = f"{gemm.rows}x{gemm.k}x{gemm.features}"
            step(f"gemm {name}")
            case = f"{name} {config.name}" + (f" {kind}" if kind != "bf16" else "") + (" cold" if start == "cold" else "")
            for metric_name, value in zip(("steady", "total"), measure(device, gemm, start), strict=True):
                metrics.append(metric(f"mac_utilization_{metric_name}", case, value, "ratio"))
    return metrics
