"""MAC utilisation of a PCU in systolic mode, from its own events ``mac_cycles`` and ``busy``.

    rdu bench gemm --preset paper_unit [--shape MxKxN]

A PCU of the preset on the RTL (Verilated); x, w and bias are offered at one vector a cycle on each input by the bench (no PMU
or network in between) and results are always taken. Operands packed BF16, results FP32, compared bit for bit. The peak is
lanes x min(M, stages) MACs a cycle: a single row (decode) can use one stage. ``mac_utilization_total``: useful MACs / (peak x
busy cycles); ``mac_utilization_steady``: / (peak x cycles from the first systolic step to the last). Padding is not useful.
"""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.config import PCUConfig, RDUConfig
from hw.hierarchy import instantiate
from hw.pcu.layout import Initial
from hw.pcu.model import pack_rows
from hw.pcu.pcu import PCU
from hw.pcu.program import SystolicProgram

from .common import metric, steps

__all__ = ["DESCRIPTION", "choose", "run"]

DESCRIPTION = "MAC utilisation of one PCU; --shape MxKxN (default 192x256x256 and 1x2048x256); --from hbm: of a tile, compiled"
SHAPES = "192x256x256,1x2048x256"


class Counted(wiring.Component):
    """A PCU with its events counted since ``execute``: ``busy_cycles``, ``steps``, ``first`` and ``last`` (busy cycles before
    the first systolic step, and up to the last one)."""

    def __init__(self, config: PCUConfig):
        self.core = PCU(config)
        ports = self.core.signature.members
        names = ("vector_in", "vector_out")
        super().__init__({"program": In(self.core.program_layout), "execute": In(1), "busy": Out(1), "busy_cycles": Out(32),
                          "steps": Out(32), "first": Out(32), "last": Out(32)} | {name: ports[name] for name in names})

    def elaborate(self, platform):
        m = Module()
        core = self.core
        m.submodules.core = instantiate(platform, core)
        m.d.comb += [core.program.eq(self.program), core.execute.eq(self.execute), self.busy.eq(core.busy)]
        for inside, outside in zip([*core.vector_in, *core.vector_out], [*self.vector_in, *self.vector_out], strict=True):
            connect(m, inside, flipped(outside))
        step = Signal()
        m.d.comb += step.eq(core.events.mac_cycles)
        with m.If(self.execute):
            m.d.sync += [counter.eq(0) for counter in (self.busy_cycles, self.steps, self.first, self.last)]
        with m.Else():
            m.d.sync += [self.busy_cycles.eq(self.busy_cycles + core.events.busy), self.steps.eq(self.steps + step)]
            with m.If(step):
                m.d.sync += self.last.eq(self.busy_cycles + 1)
                with m.If(self.steps == 0):
                    m.d.sync += self.first.eq(self.busy_cycles)
        return m


def choose(config: PCUConfig, rows: int, k: int, features: int) -> SystolicProgram:
    """The program for a GEMM with the fewest systolic steps."""
    programs = []
    for blocks in (2 << n for n in range(config.accumulators.bit_length() - 1)):
        groups = max(1, config.accumulators // blocks)
        tile = min(rows, groups * config.stages)
        chunks = -(-k // (config.broadcast_depth // groups))
        row_tiles = -(-rows // tile)
        programs.append(SystolicProgram(
            k=-(-k // chunks), chunks=chunks, rows=tile, last_rows=rows - (row_tiles - 1) * tile, groups=groups,
            feature_blocks=blocks, row_tiles=row_tiles, column_tiles=-(-features // (blocks * config.lanes)),
            initial=Initial.BIAS))
    programs = [p for p in programs if p.feature_blocks <= config.accumulators]
    return min(programs, key=lambda p: np.prod(p.loops()))


def _bf16(random, shape) -> np.ndarray:
    return (random.normal(size=shape).astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def _tiles(p: SystolicProgram, rows: int, lanes: int):
    """(slice of rows, slice of features) in the order of the program."""
    width = p.feature_blocks * lanes
    for row in range(p.row_tiles):
        for column in range(p.column_tiles):
            yield slice(row * p.rows, min(rows, (row + 1) * p.rows)), slice(column * width, (column + 1) * width)


def measure(bench, config: PCUConfig, rows: int, k: int, features: int) -> tuple[float, float]:
    """(steady, total) utilisation of one GEMM; raises if a result differs."""
    random, p, lanes = np.random.default_rng(1), choose(config, rows, k, features), config.lanes
    padded_k, padded_n = p.k * p.chunks, p.column_tiles * p.feature_blocks * lanes
    x, w = np.zeros((rows, padded_k), np.float32), np.zeros((padded_k, padded_n), np.float32)
    x[:, :k], w[:k, :features], bias = _bf16(random, (rows, k)), _bf16(random, (k, features)), _bf16(random, padded_n)
    weights, vectors, biases, order = [], [], [], [*_tiles(p, rows, lanes)]
    for some_rows, columns in order:
        weights.append(pack_rows(w[:, columns], lanes, True))
        vectors += [pack_rows(x[some_rows, c * p.k:(c + 1) * p.k], lanes, True) for c in range(p.chunks)]
        biases.append(pack_rows(bias[None, columns], lanes, False))
    bench.reset()
    bench.set("program", p.pack(config))
    for port, parts in enumerate((weights, vectors, biases)):
        bench.feed(f"vector_in[{port}]", np.concatenate(parts))
    out = bench.collect("vector_out[0]")
    bench.pulse("execute")
    bench.run(100 + 8 * int(np.prod(p.loops())), until={"vector_out[0]": rows * padded_n // lanes, "busy": 0})
    sums = np.broadcast_to(bias, (rows, padded_n)).copy()
    for step in range(padded_k):
        sums = sums + x[:, step:step + 1] * w[step]
    expected = np.concatenate([sums[tile].reshape(-1, lanes) for tile in order])
    if not (out.words[:, :lanes] == expected.view(np.uint32)).all():
        raise RuntimeError(f"gemm {rows}x{k}x{features}: results differ from the model")
    ideal = rows * k * features / (lanes * min(rows, config.stages))
    return ideal / (bench.get("last") - bench.get("first")), ideal / bench.get("busy_cycles")


def run(config: RDUConfig, console, *, full: bool = False, shape: str = "", from_: str = "streams") -> list[dict]:
    """The metrics; ``full`` adds 256x256x256 to ``--from hbm`` (:mod:`bench.gemm_memory`), else the default has the published shapes."""
    from sim.unit_bench import UnitBench

    from . import gemm_memory
    if from_ not in ("streams", "hbm"):
        raise ValueError(f"from={from_} must be streams or hbm")
    if not shape:
        shape = SHAPES if from_ == "streams" else gemm_memory.SHAPES + f",{gemm_memory.LARGE}" * full
    shapes = []
    for text in shape.split(","):
        sizes = text.lower().split("x")
        if len(sizes) != 3 or not all(size.isdecimal() and int(size) for size in sizes):
            raise ValueError(f"shape={text} must be ROWSxKxFEATURES, such as 192x256x256")
        shapes.append(tuple(map(int, sizes)))
    if from_ == "hbm":
        return gemm_memory.run(config, console, shapes)
    metrics = []
    with steps(console, "building the PCU", len(shapes)) as step, UnitBench(Counted(config.pcu)) as bench:
        for sizes in shapes:
            name = "x".join(map(str, sizes))
            step(f"gemm {name}")
            steady, total = measure(bench, config.pcu, *sizes)
            metrics += [metric("mac_utilization_steady", f"{name} {config.name}", steady, "ratio"),
                        metric("mac_utilization_total", f"{name} {config.name}", total, "ratio")]
    return metrics
