"""An AGCU stores streams to HBM and DDR at once, and loads them back, through network, controllers and DRAM devices."""

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from hw.agcu.program import AGCUProgram, LoadProgram, Loop, Segment, StoreProgram, Tier
from hw.config import preset

from .streams import collect, feed, pulse, reset, until_low, vector, words

CONFIG = preset("tiny")
BEAT, COUNT = CONFIG.beat_bytes, 48
SEGMENTS = {0: Segment(base=0x1000, size=0x2000), 1: Segment(base=0x4000, size=0x2000, tier=Tier.DDR)}
STRIDE = 3 * BEAT                        # every third beat: the program's addresses, not only a running count


def program(kind: type) -> int:
    """Two engines, one per tier (engine and segment have the same number), as the bits of an AGCU program."""
    both = tuple(kind(loops=(Loop(COUNT, STRIDE),), segment=tier, base=0x40) for tier in range(2))
    return AGCUProgram(**{"stores" if kind is StoreProgram else "loads": both}, segments=SEGMENTS).pack(CONFIG.agcu)


async def execute(dut) -> int:
    await pulse(dut, dut.execute)
    cycles = await until_low(dut, dut.busy)
    assert not int(dut.fault.value) & 1, "the AGCU reports a fault"
    return cycles


@cocotb.test(timeout_time=50, timeout_unit="us")
@cocotb.parametrize(("stall", [0.0, 0.3]))
async def store_then_load(dut, stall):
    await reset(dut, "execute", "control_in", "quiesce", *(f"vector_in__{port}__valid" for port in range(2)),
                *(f"scalar_in__{port}__valid" for port in range(CONFIG.agcu.scalar_inputs)))
    rows = np.random.default_rng(int(10 * stall)).integers(0, 1 << 32, (2, COUNT, CONFIG.lanes), dtype=np.uint32)
    dut.program.value = program(StoreProgram)
    for engine in range(2):
        cocotb.start_soon(feed(dut, f"vector_in__{engine}", map(vector, rows[engine]), stall, seed=engine))
    stored = await execute(dut)

    dut.program.value = program(LoadProgram)
    taken = [[], []]
    for engine in range(2):
        cocotb.start_soon(collect(dut, f"vector_out__{engine}", taken[engine], stall, seed=engine))
    loaded = await execute(dut)
    await ClockCycles(dut.clk, 10)
    dut._log.info("%d beats each way in %d and %d cycles", 2 * COUNT, stored, loaded)
    for engine in range(2):
        np.testing.assert_array_equal(words(taken[engine], CONFIG.lanes), rows[engine], err_msg=f"engine {engine}")
