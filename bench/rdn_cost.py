"""What the switches of a mesh cost to simulate, idle and busy: ``rdu bench rdn-cost [--mesh RxC --slots N]``.

Traffic comes from counters beside the mesh, not from the bench, so that nothing but the switches is measured: every row and every
column carries one packet per link per cycle in both directions, on all labels.
"""

from __future__ import annotations

import dataclasses
import time
from functools import reduce
from operator import xor

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.common.program import ConfigRegister, ConfigWrite
from hw.config import RDNConfig, RDUConfig
from hw.hierarchy import instantiate
from hw.rdn.mesh import Mesh
from hw.rdn.node import EAST, LOCAL, NORTH, SOUTH, WEST, switch_program
from hw.rdn.program import SwitchProgram
from sim.unit_bench import UnitBench

from .common import metric, steps

DESCRIPTION = "simulation cost of the switches of a mesh, idle and busy; --mesh RxC (default 4x4) --slots N"


class BusyMesh(wiring.Component):
    """A mesh with packet sources at the ends of its rows and columns. Members: ``write`` In(ConfigWrite); ``enable`` In;
    ``seen`` Out, a sum over what arrives; ``arrived`` Out, how many packets did."""

    def __init__(self, rows: int, columns: int, config: RDNConfig):
        self.mesh = Mesh(rows, columns, config)
        self.mesh.identity = (rows, columns, config)
        super().__init__({"write": In(ConfigWrite()), "enable": In(1), "seen": Out(32), "arrived": Out(32)})

    def elaborate(self, platform):
        m = Module()
        mesh = self.mesh
        m.submodules.mesh = instantiate(platform, mesh)
        for number, program in enumerate(mesh.program):
            m.submodules[f"config_{number}"] = config = ConfigRegister(switch_program(mesh.config))
            wiring.connect(m, config.write, wiring.flipped(self.write))
            m.d.comb += [config.unit_id.eq(number), program.eq(config.program)]
        count = Signal(32)
        m.d.sync += count.eq(count + 1)
        links = mesh.config.local_links
        ends = [*zip(mesh.west_in, mesh.west_out, strict=True), *zip(mesh.east_in, mesh.east_out, strict=True),
                *[(mesh.vector_in[column * links], mesh.vector_out[column * links]) for column in range(mesh.columns)]]
        for into, out in ends:
            data = count.replicate(mesh.config.lanes)
            m.d.sync += [into.valid.eq(self.enable), into.label.eq(count % mesh.config.labels), into.payload.data.eq(data)]
            with m.If(out.valid):
                m.d.sync += out.credit.eq(1 << out.label)
            with m.Else():
                m.d.sync += out.credit.eq(0)
        # Something must depend on every bit, or Verilator leaves the mesh out.
        sums = [Mux(out.valid, reduce(xor, out.payload.data), 0) for _, out in ends]
        m.d.sync += [self.seen.eq(reduce(xor, sums)), self.arrived.eq(self.arrived + sum(out.valid for _, out in ends))]
        return m


def program(rows: int, row: int, labels: int) -> SwitchProgram:
    """Rows straight through both ways; columns down, back at the bottom, up and out at the top."""
    ways = {WEST: EAST, EAST: WEST, NORTH: SOUTH if row < rows - 1 else NORTH, SOUTH: NORTH if row else LOCAL}
    if row == 0:
        ways[LOCAL] = SOUTH
        del ways[NORTH]
    return SwitchProgram(vector={(port, label): frozenset({(out, label)})
                                 for port, out in ways.items() for label in range(labels)})


def seconds_per_cycle(bench: UnitBench, cycles: int = 4000, repeat: int = 5) -> float:
    """CPU time (not wall time: the machine may be shared), the best of several runs."""
    best = float("inf")
    for _ in range(repeat):
        begin = time.process_time()
        bench.tick(cycles)
        best = min(best, time.process_time() - begin)
    return best / cycles


def run(socket: RDUConfig, console, *, full: bool = False, mesh: str = "4x4", slots: int = 0) -> list[dict]:
    """Processor time per simulated cycle of a mesh of the preset's switches, with ``slots`` for dynamic packets that nobody sends."""
    sizes = mesh.lower().split("x")
    if len(sizes) != 2 or not all(size.isdecimal() and 1 < int(size) <= 16 for size in sizes):
        raise ValueError(f"mesh={mesh} must be ROWSxCOLUMNS, each from 2 to 16")
    rows, columns = map(int, sizes)
    config = dataclasses.replace(socket.rdn, dynamic_slots=slots)
    with steps(console, "building the mesh", 2) as step, UnitBench(BusyMesh(rows, columns, config), optimize="-O3") as bench:
        bench.set("write.valid", 1)
        for number in range(rows * columns):
            bench.set("write.unit", number)
            for word, value in program(rows, number // columns, config.labels).words(config).items():
                bench.set("write.word", word)
                bench.set("write.data", value)
                bench.tick()
        bench.set("write.valid", 0)
        step("idle")
        idle = seconds_per_cycle(bench)
        step("busy")
        bench.set("enable", 1)
        bench.tick(100)
        before, begin = bench.get("arrived"), bench.cycle
        busy = seconds_per_cycle(bench)
        rate = (bench.get("arrived") - before) / (bench.cycle - begin)
    return [metric("idle_us_per_cycle", mesh, idle * 1e6, "us"), metric("busy_us_per_cycle", mesh, busy * 1e6, "us"),
            metric("packets_arriving_per_cycle", mesh, rate, "packets/cycle")]
