"""Simulation cost of a PCU: CPU time of a cycle, idle and under several programs: ``python -m tests.pcu.cost [name ...]``.

The PCU has its program in a register, as in its shell, and endless data in a memory beside it: nothing but the PCU works.
"""

import sys
import time

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.config import PCUConfig
from hw.hierarchy import instantiate
from hw.pcu import library
from hw.pcu.pcu import PCU
from hw.pcu.program import SystolicProgram
from sim.unit_bench import UnitBench

__all__ = ["Endless", "cost", "programs"]

DEPTH = 64


class Endless(wiring.Component):
    """A PCU whose inputs always have data and whose outputs are always taken."""

    def __init__(self, config: PCUConfig):
        self.core = PCU(config)
        super().__init__({"program": In(self.core.program_layout), "load": In(1), "execute": In(1), "busy": Out(1), "digest": Out(32)})

    def elaborate(self, platform):
        m = Module()
        core, lanes = self.core, self.core.config.lanes
        m.submodules.core = instantiate(platform, core)
        random = np.random.default_rng(1)
        values = (random.normal(size=(DEPTH, lanes)).astype(np.float32).view(np.uint32) & 0xFFFF0000).astype(object)
        values = values | (values >> 16)                          # a pair of equal BF16 numbers, nearly the FP32 number
        rows = [sum(int(word) << 32 * lane for lane, word in enumerate(row)) for row in values]
        program = Signal(core.program.shape())
        with m.If(self.load):
            m.d.sync += program.eq(self.program)
        m.d.comb += [core.program.eq(program), core.execute.eq(self.execute), self.busy.eq(core.busy)]
        m.submodules.data = data = Memory(shape=32 * lanes, depth=DEPTH, init=rows)
        for number, port in enumerate([*core.vector_in, *core.scalar_in]):
            read, vector = data.read_port(domain="comb"), number < len(core.vector_in)
            held = Signal(32 * lanes if vector else 32, name=f"held_{number}", init=rows[number] if vector else 0x3F800000)
            m.d.comb += [port.valid.eq(1), port.payload.data.eq(held)]
            with m.If(port.ready):
                m.d.sync += [read.addr.eq(read.addr + 1), held.eq(read.data)]
        for out in (core.vector_out[0], core.scalar_out[0]):
            m.d.comb += out.ready.eq(1)
        words = core.vector_out[0].payload
        m.d.sync += self.digest.eq(sum((words[lane] for lane in range(lanes)), core.scalar_out[0].payload))
        return m


def programs(config: PCUConfig) -> dict:
    """Name and program of every case, each long enough for a measurement."""
    shape = {"rows": 20_000, "n": 8 * config.lanes}
    return {
        "idle": None,
        "systolic": SystolicProgram(k=16 * 4, rows=4 * config.stages, groups=4, feature_blocks=2, column_tiles=200, row_tiles=200),
        "add": library.residual_add(config, **shape), "silu": library.silu(config, **shape),
        "row_sum": library.row_sum(config, **shape), "row_max": library.row_max(config, **shape),
        "rotary": library.rotary(config, **shape),
    }


def cost(bench: UnitBench, config: PCUConfig, program, cycles: int = 20_000, repeat: int = 5) -> float:
    """ns of CPU time a cycle under ``program``, the best of ``repeat``."""
    bench.reset()
    if program is not None:
        bench.set("program", program.pack(config))
        bench.pulse("load")
        bench.pulse("execute")
    bench.tick(200)
    best = float("inf")
    for _ in range(repeat):
        begin = time.process_time()
        bench.tick(cycles)
        best = min(best, time.process_time() - begin)
        if bool(bench.get("busy")) != (program is not None):
            raise RuntimeError("the program has ended")
    return best / cycles * 1e9


def main(names: list[str]) -> None:
    config = PCUConfig()
    with UnitBench(Endless(config)) as bench:
        for name, program in programs(config).items():
            if not names or name in names:
                print(f"{name:10s} {cost(bench, config, program):7.0f} ns per cycle", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
