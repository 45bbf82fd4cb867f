"""What programmable bank bits gain: stalls of one write and two reads a cycle, with a fixed interleaving and with chosen bits.

    rdu bench banks [--cycles 100000] [--shape 37x53,100x7] [--buffers 2]

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
from hw.pmu.schedule import schedule

from .common import metric, steps

__all__ = ["DESCRIPTION", "SHAPES", "halves", "measure", "parsed", "run", "table"]

DESCRIPTION = "stalls of a PMU with fixed and chosen bank bits; --shape RxC --buffers N --cycles N (--full: 1000000)"

SHAPES = ((37, 53), (100, 7), (64, 64), (61, 40), (33, 65))
BUFFERS = (2, 3)
TO_OUTPUT = 2                # cycles from the last access to the end of `busy`: SRAM and output FIFO


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


def table(config: PMUConfig, cycles: int, console, shapes=SHAPES, buffer_counts=BUFFERS) -> list[dict]:
    """The metrics of every case. Raises ProgramError, before anything is built, if a tensor does not fit the scratchpad."""
    from sim.unit_bench import UnitBench
    cases = [(rows, columns, buffers) for rows, columns in shapes for buffers in buffer_counts]
    programs = {}
    for case in cases:
        accesses = halves(config, *case, 1).write.accesses
        programs[case] = halves(config, *case, max(min(-(-cycles // accesses), 65535), 2 * case[2]))
        programs[case].check(config)
    metrics = []
    with steps(console, "building the PMU", 2 * len(cases)) as step, UnitBench(_Counted(config)) as bench:
        for (rows, columns, buffers), program in programs.items():
            maps = {"fixed": BankMap.low(config), "chosen": choose(program, config).bank_map}
            free = schedule(program, config).cycles + TO_OUTPUT
            for kind, bank_map in maps.items():
                case = f"{rows}x{columns} fp32, {buffers} buffers, {kind}"
                step(case)
                busy, stalls = measure(bench, dataclasses.replace(program, bank_map=bank_map), config)
                metrics += [metric("stall_cycles", case, stalls, "cycles"), metric("slowdown", case, busy / free, "ratio"),
                            metric("cycles", case, busy, "cycles")]
    return metrics


def parsed(shape: str) -> tuple[tuple[int, int], ...]:
    """"37x53,100x7" as pairs; empty: the published ones."""
    sizes = [part.lower().split("x") for part in shape.split(",") if part]
    for size in sizes:
        if len(size) != 2 or not all(number.isdecimal() and int(number) for number in size):
            raise ValueError(f"shape={shape} must be ROWSxCOLUMNS, several joined by commas")
    return tuple((int(rows), int(columns)) for rows, columns in sizes) or SHAPES


def run(config: RDUConfig, console, *, full: bool = False, cycles: int = 20_000, shape: str = "", buffers: int = 0) -> list[dict]:
    """The table for the preset's PMU; ``buffers=0``: 2 and 3."""
    if not 0 < cycles <= 10_000_000:
        raise ValueError(f"cycles={cycles} must be from 1 to 10000000")
    if not 0 <= buffers <= 64:
        raise ValueError(f"buffers={buffers} must be from 1 to 64")
    return table(config.pmu, 1_000_000 if full else cycles, console, parsed(shape), (buffers,) if buffers else BUFFERS)
