"""A PMU as the stage buffer between two stages of a pipeline: written once, read by both read engines at once."""

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from hw.config import preset
from hw.pmu.model import PMUModel
from hw.pmu.recipes import stage_buffer

from .streams import collect, feed, pulse, reset, until_low, vector, words

CONFIG = preset("tiny").pmu
VECTORS, COUNT, REPEAT = 5, 4, 2         # a buffer of five vectors, four times, each read twice


@cocotb.test(timeout_time=20, timeout_unit="us")
@cocotb.parametrize(("stall", [0.0, 0.4]))
async def two_readers(dut, stall):
    program = stage_buffer(CONFIG, vectors=VECTORS, count=COUNT, repeat=REPEAT, engines=(0, 1))
    rows = np.random.default_rng(2).integers(0, 1 << 32, (VECTORS * COUNT, CONFIG.lanes), dtype=np.uint32)
    expected = PMUModel(CONFIG).run(program, {0: rows})

    await reset(dut, "execute", "control_in", *(f"vector_in__{port}__valid" for port in range(CONFIG.vector_inputs)),
                *(f"scalar_in__{port}__valid" for port in range(CONFIG.scalar_inputs)))
    dut.program.value = program.pack(CONFIG)
    taken = [[], []]
    for engine in range(2):              # the readers are stalled independently: the slower one holds the buffer
        cocotb.start_soon(collect(dut, f"vector_out__{engine}", taken[engine], stall * (1 + engine) / 2, seed=engine))
    cocotb.start_soon(feed(dut, "vector_in__0", map(vector, rows), stall, seed=7))
    await pulse(dut, dut.execute)
    await until_low(dut, dut.busy)
    await ClockCycles(dut.clk, 20)
    for engine in range(2):
        np.testing.assert_array_equal(words(taken[engine], CONFIG.lanes), expected[engine], err_msg=f"engine {engine}")
