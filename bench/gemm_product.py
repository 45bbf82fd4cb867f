"""One product on one PCU of a device: its program, padded sizes, kernels and operands; what ``rdu bench gemm`` measures."""

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
from sw_driver.kernel import Kernel

__all__ = ["BLOCKS_A_VECTOR", "Gemm", "choose"]

BLOCKS_A_VECTOR = {"fp32": 1, "bf16": 2, "int8": 4}
QUEUE = 512              # vectors that a queue holds


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
