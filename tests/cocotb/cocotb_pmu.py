"""A PMU as stage buffer (written once, read by both read engines at once), and with the access patterns of attention."""

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from hw.config import preset
from hw.pmu.model import PMUModel
from hw.pmu.program import PMUProgram
from hw.pmu.recipes import half_rotated, stage_buffer, transposed_rows

from .streams import collect, feed, pulse, reset, until_low, vector, words

CONFIG = preset("tiny").pmu
VECTORS, COUNT, REPEAT = 5, 4, 2         # a buffer of five vectors, four times, each read twice


@cocotb.test(timeout_time=20, timeout_unit="us")
@cocotb.parametrize(("stall", [0.0, 0.4]))
async def two_readers(dut, stall):
    """The readers are stalled independently: the slower one holds the buffer."""
    await run(dut, stage_buffer(CONFIG, vectors=VECTORS, count=COUNT, repeat=REPEAT, engines=(0, 1)), stall)


@cocotb.test(timeout_time=20, timeout_unit="us")
async def keys_transposed(dut):
    """K of 16 tokens and two heads of eight BF16 columns, read as K^T of each head, three times over."""
    await run(dut, transposed_rows(CONFIG, rows=16, columns=8, heads=2, tile=1, count=3), 0.3)


@cocotb.test(timeout_time=20, timeout_unit="us")
async def rotary_halves(dut):
    """One buffer read at two offsets at once."""
    await run(dut, half_rotated(CONFIG, rows=6, columns=16, count=2), 0.3)


async def run(dut, program: PMUProgram, stall: float):
    """Random vectors through ``program``, both outputs against the model."""
    count = program.write.accesses * program.write.handovers
    rows = np.random.default_rng(2).integers(0, 1 << 32, (count, CONFIG.lanes), dtype=np.uint32)
    expected = PMUModel(CONFIG).run(program, {0: rows})

    await reset(dut, "execute", "control_in", *(f"vector_in__{port}__valid" for port in range(CONFIG.vector_inputs)),
                *(f"scalar_in__{port}__valid" for port in range(CONFIG.scalar_inputs)))
    dut.program.value = program.pack(CONFIG)
    taken = [[], []]
    for engine in range(2):
        cocotb.start_soon(collect(dut, f"vector_out__{engine}", taken[engine], stall * (1 + engine) / 2, seed=engine))
    cocotb.start_soon(feed(dut, "vector_in__0", map(vector, rows), stall, seed=7))
    await pulse(dut, dut.execute)
    await until_low(dut, dut.busy)
    await ClockCycles(dut.clk, 20)
    for engine in range(2):
        assert len(taken[engine]) == len(expected[engine])
        if expected[engine]:
            np.testing.assert_array_equal(words(taken[engine], CONFIG.lanes), expected[engine], err_msg=f"engine {engine}")
