"""The storage that simulates fast does, cycle by cycle, what the single-ported SRAMs do."""

import dataclasses
import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hw.config import PMUConfig
from hw.hierarchy import to_verilog
from hw.pmu.geometry import Geometry
from hw.pmu.pmu import PMU
from hw.pmu.storage import LaneColumns, SinglePortedBanks

CONFIG = PMUConfig(lanes=2, banks=4, bank_rows=4)


class Pair(wiring.Component):
    """Both forms with the same stimulus: that of the first."""

    def __init__(self, config):
        self.one, self.other = LaneColumns(config), SinglePortedBanks(config)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules += [self.one, self.other]
        for name in ("write", "mask", "data"):
            m.d.comb += getattr(self.other, name).eq(getattr(self.one, name))
        m.d.comb += [other.eq(one) for one, other in zip(self.one.read, self.other.read, strict=True)]
        return m


def access(source, taken, g):
    """A random access to banks that nobody has, or none."""
    banks = [bank for bank in range(CONFIG.banks) if bank not in taken]
    if not banks or source.random() < 0.2:
        return {"enable": 0}
    bank, straddles = source.choice(banks), source.random() < 0.4
    bank_next = source.choice(banks)
    taken |= {bank, bank_next} if straddles else {bank}
    return {"enable": 1, "bank": bank, "bank_next": bank_next, "straddles": straddles, "turn": source.randrange(g.half_lanes),
            "rows": source.getrandbits(g.half_lanes * g.row_bits)}


@pytest.mark.parametrize(("seed", "ecc"), [(0, False), (1, False), (2, True)])
def test_both_forms_agree(seed, ecc):
    config = dataclasses.replace(CONFIG, ecc=ecc)
    pair, source, g = Pair(config), random.Random(seed), Geometry(config)
    compared = 0

    async def bench(ctx):
        nonlocal compared
        for _ in range(400):
            taken, reads = set(), []
            ctx.set(pair.one.write, access(source, taken, g))
            ctx.set(pair.one.mask, source.getrandbits(g.half_lanes))
            ctx.set(pair.one.data, source.getrandbits(g.cell_bits * g.half_lanes))
            for port in pair.one.read:
                reads.append(access(source, taken, g))
                ctx.set(port, reads[-1])
            await ctx.tick()
            for index, read in enumerate(reads):
                if read["enable"]:
                    compared += 1
                    assert ctx.get(pair.one.q[index]) == ctx.get(pair.other.q[index])

    simulator = Simulator(pair)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    assert compared > 200


def test_synthesis_gets_single_ported_banks():
    config = PMUConfig(lanes=2, banks=2, bank_rows=4, vector_inputs=1)
    assert "module bank(" in to_verilog(PMU(config), "pmu", synthesis=True)
    assert "module bank(" not in to_verilog(PMU(config), "pmu")
