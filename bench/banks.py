"""What programmable bank bits gain: stalls of one write and two reads a cycle, with a fixed interleaving and with chosen bits.

    rdu bench banks [--cycles 100000]

Every case is one PMU of the preset on the RTL (Verilated), inputs always there and outputs always taken: a tensor of FP32 is
written row by row and read by both engines column by column, each half of the rows in turn; engine 1 begins with the other
half. The programs of a case differ in the bank map only.
"""

from __future__ import annotations

import dataclasses

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import PMUConfig, RDUConfig
from hw.hierarchy import instantiate
from hw.pmu.bank_bits import choose
from hw.pmu.geometry import BankMap
from hw.pmu.pmu import PMU
from hw.pmu.program import Loop, PMUProgram, Read, Write
from hw.pmu.traffic import simulate

from .common import metric, steps

__all__ = ["DESCRIPTION", "SHAPES", "halves", "measure", "run", "table"]

DESCRIPTION = "stalls of a PMU with fixed and chosen bank bits; --cycles N (default 20000; with --full 1000000)"

SHAPES = ((37, 53), (100, 7), (64, 64), (61, 40), (33, 65))
BUFFERS = (2, 3)


def halves(config: PMUConfig, rows: int, columns: int, buffers: int, count: int) -> PMUProgram:
    """One write and two reads a cycle: rows padded to whole vectors and an even number, halves a power of two apart."""
    lanes = config.lanes
    pitch, half = -(-columns // lanes), -(-rows // 2)
    size = 1 << (half * pitch - 1).bit_length()
    along = (Loop(pitch, lanes), Loop(half, pitch * lanes), Loop(2, size * lanes), Loop(count))
    across = (Loop(half, pitch * lanes), Loop(pitch, lanes))
    return PMUProgram(
        write=Write(loops=along, handover=3, vectors=(0,)),
        reads=(Read(loops=(*across, Loop(2, size * lanes), Loop(count)), handover=3),
               Read(loops=(*across, Loop(2, -size * lanes), Loop(count)), handover=3, base=size * lanes)),
        buffers=buffers, buffer_stride=2 * size * lanes)


class _Counted(wiring.Component):
    """A PMU whose inputs are always valid and whose outputs are always ready, with its conflict cycles counted."""

    def __init__(self, config: PMUConfig):
        self.config = config
        self.core = PMU(config)
        super().__init__({"program": In(self.core.program_layout), "execute": In(1), "busy": Out(1), "conflicts": Out(32),
                          "cycles": Out(32)})

    def elaborate(self, platform):
        m = Module()
        core = self.core
        m.submodules.core = instantiate(platform, core)
        number = Signal(32)
        m.d.comb += [core.program.eq(self.program), core.execute.eq(self.execute), self.busy.eq(core.busy),
                     core.vector_in[0].valid.eq(1), core.vector_in[0].p.data[0].eq(number)]
        m.d.comb += [stream.ready.eq(1) for stream in core.vector_out]
        with m.If(self.execute):
            m.d.sync += [self.conflicts.eq(0), self.cycles.eq(0)]
        with m.Else():
            m.d.sync += [self.conflicts.eq(self.conflicts + core.events.bank_conflict), self.cycles.eq(self.cycles + core.busy)]
        with m.If(core.vector_in[0].ready):
            m.d.sync += number.eq(number + 1)
        return m


def measure(bench, program: PMUProgram, config: PMUConfig) -> tuple[int, int]:
    """(busy cycles, stall cycles) of one execution on the RTL."""
    bench.set("program", program.pack(config))
    bench.pulse("execute")
    bench.run(1 << 30, until={"busy": 0}, progress_limit=0)
    return bench.get("cycles"), bench.get("conflicts")


def table(config: PMUConfig, cycles: int, console, shapes=SHAPES) -> list[dict]:
    """The metrics of every case."""
    from sim.unit_bench import UnitBench
    metrics = []
    total = 2 * len(shapes) * len(BUFFERS)
    with steps(console, "building the PMU", total) as step, UnitBench(_Counted(config)) as bench:
        for (rows, columns), buffers in ((shape, n) for shape in shapes for n in BUFFERS):
            program = halves(config, rows, columns, buffers, 2 * buffers)
            per_buffer = program.write.accesses
            maps = {"fixed": BankMap.low(config), "chosen": choose(program, config).bank_map}
            short, long = (simulate(halves(config, rows, columns, buffers, n * buffers), config, conflicts=False).cycles
                           for n in (2, 4))
            count = min(-(-cycles // per_buffer), 65535)
            for kind, bank_map in maps.items():
                case = f"{rows}x{columns} fp32, {buffers} buffers, {kind}"
                step(case)
                program = dataclasses.replace(halves(config, rows, columns, buffers, count), bank_map=bank_map)
                busy, stalls = measure(bench, program, config)
                free = short + (count - 2 * buffers) * (long - short) / (2 * buffers)
                metrics += [metric("stall_cycles", case, stalls, "cycles"), metric("slowdown", case, busy / free, "ratio"),
                            metric("cycles", case, busy, "cycles")]
    return metrics


def run(config: RDUConfig, console, *, full: bool = False, cycles: int = 20_000) -> list[dict]:
    """The table for the preset's PMU."""
    if not 0 < cycles <= 10_000_000:
        raise ValueError(f"cycles={cycles} must be from 1 to 10000000")
    return table(config.pmu, 1_000_000 if full else cycles, console)
