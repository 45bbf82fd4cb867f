"""Presets in core cycles against figures worked out by hand, and the address map against its model."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.config import PRESETS, ConfigError, DRAMConfig
from hw.dram.address import locate, location_layout, split_address
from hw.dram.timing import DEVICES, dram_timing


def timing(name: str, beat_bytes: int = 32, megabytes: int = 16):
    return dram_timing(DRAMConfig(channels=1, timing=name, megabytes_per_channel=megabytes), beat_bytes)


def test_figures_of_the_default_presets():
    hbm, ddr = timing("hbm2"), timing("ddr4-3200")
    assert (hbm.cl, hbm.cwl, hbm.rcd, hbm.rp, hbm.ras, hbm.rc, hbm.ccd_s, hbm.ccd_l) == (14, 4, 14, 14, 34, 48, 1, 2)
    assert (hbm.peak_bytes_per_cycle, hbm.command_buses) == (32, 2)
    # Two bank groups in lockstep: the second one's commands are 2.5 ns behind, every activate counts twice in tFAW.
    assert (ddr.beat_cycles, ddr.ccd_s, ddr.ccd_l, ddr.rrd_s, ddr.rcd, ddr.ras, ddr.faw_activates) == (5, 5, 5, 5, 15, 35, 2)
    assert ddr.peak_bytes_per_cycle == 6.4
    assert 2 * hbm.peak_bytes_per_cycle / ddr.peak_bytes_per_cycle == 10


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("beat_bytes", [16, 32, 64, 128])
def test_every_preset_can_be_built_for_every_beat(name, beat_bytes):
    t = timing(name, beat_bytes)
    assert t.geometry.bytes == 16 << 20
    assert t.ccd_l >= t.ccd_s >= t.beat_cycles and t.rrd_l >= t.rrd_s
    assert t.rc >= t.ras and 0.9 < t.refresh_limit < 1


def test_each_configuration_has_channels_that_can_be_built():
    for config in PRESETS.values():
        for tier in (config.hbm, config.ddr):
            assert dram_timing(tier, config.beat_bytes).geometry.bytes == tier.megabytes_per_channel << 20


def test_unknown_preset_is_refused():
    with pytest.raises(ConfigError, match=r"'edo'.*hbm2"):
        timing("edo")


@pytest.mark.parametrize(("name", "beat_bytes"), [("hbm2", 32), ("ddr4-3200", 32), ("ddr5-4800", 16), ("hbm2", 128)])
def test_address_map_is_one_to_one_and_equals_its_model(name, beat_bytes):
    rules = timing(name, beat_bytes, 1 if beat_bytes < 128 else 2)
    geometry = rules.geometry
    beats = range(1 << geometry.address_bits)
    assert len({locate(rules, beat) for beat in beats}) == len(beats)

    class Map(wiring.Component):
        address: In(geometry.address_bits)
        where: Out(location_layout(geometry))

        def elaborate(self, platform):
            m = Module()
            m.d.comb += self.where.as_value().eq(split_address(rules, self.address))
            return m

    unit = Map()
    simulator = Simulator(unit)

    async def bench(ctx):
        for beat in np.random.default_rng(5).integers(0, len(beats), 300):
            ctx.set(unit.address, int(beat))
            await ctx.delay(1e-9)
            where = ctx.get(unit.where)
            assert (where.bank, where.row, where.column) == locate(rules, int(beat))

    simulator.add_testbench(bench)
    simulator.run()


def test_neighbours_share_a_row_and_a_chunk_uses_half_of_the_groups_at_a_time():
    hbm, ddr5 = timing("hbm2"), timing("ddr5-4800")
    assert locate(hbm, 0)[:2] == locate(hbm, 1)[:2]
    groups = [locate(hbm, beat)[0] % 4 for beat in range(128)]
    assert groups[:64] == [0, 0, 1, 1] * 16 and groups[64:] == [2, 2, 3, 3] * 16
    # Writes to one group of DDR5 keep 9 cycles of distance, three beats: three groups or more follow each other.
    assert [locate(ddr5, beat)[0] % 8 for beat in range(0, 8, 2)] == [0, 1, 2, 3]
