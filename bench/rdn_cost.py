"""What the switches of a mesh cost to simulate, idle and busy: ``python -m bench.rdn_cost [preset] [rows] [columns]``.

Traffic comes from counters beside the mesh, not from the bench, so that nothing but the switches is measured: every row and every
column carries one packet per link per cycle in both directions, on all labels.
"""

from __future__ import annotations

import json
import sys
import time
from functools import reduce
from operator import xor

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.common.program import ConfigRegister, ConfigWrite
from hw.config import RDNConfig, preset
from hw.hierarchy import instantiate
from hw.rdn.mesh import Mesh
from hw.rdn.node import EAST, LOCAL, NORTH, SOUTH, WEST, switch_program
from hw.rdn.program import SwitchProgram
from sim.unit_bench import UnitBench


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
            m.d.sync += [into.valid.eq(self.enable), into.label.eq(count), into.payload.data.eq(data)]
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


def main(name: str = "small", rows: int = 4, columns: int = 4) -> None:
    config = preset(name).rdn
    with UnitBench(BusyMesh(rows, columns, config), optimize="-O3") as bench:
        bench.set("write.valid", 1)
        for number in range(rows * columns):
            bench.set("write.unit", number)
            for word, value in program(rows, number // columns, config.labels).words(config).items():
                bench.set("write.word", word)
                bench.set("write.data", value)
                bench.tick()
        bench.set("write.valid", 0)
        idle = seconds_per_cycle(bench)
        bench.set("enable", 1)
        bench.tick(100)
        before, begin = bench.get("arrived"), bench.cycle
        busy = seconds_per_cycle(bench)
        rate = (bench.get("arrived") - before) / (bench.cycle - begin)
    print(json.dumps({"bench": "rdn_cost", "preset": name, "mesh": f"{rows}x{columns}", "idle_us_per_cycle": round(idle * 1e6, 2),
                      "busy_us_per_cycle": round(busy * 1e6, 2),
                      "packets_arriving_per_cycle": round(rate, 2)}))


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:4]))
