"""A PCU multiplies matrices: weights, rows and bias come as streams, the result is compared with the numpy model bit by bit."""

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from hw.config import preset
from hw.pcu import library
from hw.pcu.model import pack_rows, run

from .streams import collect, feed, pulse, reset, until_low, vector, words

CONFIG = preset("tiny").pcu
ROWS, K, FEATURES = 2, 12, 16


@cocotb.test(timeout_time=20, timeout_unit="us")
@cocotb.parametrize(("stall", [0.0, 0.4]))
async def gemm(dut, stall):
    """relu(x @ w + bias), BF16 operands, FP32 sums."""
    random = np.random.default_rng(1)
    x, w, bias = (random.normal(size=shape).astype(np.float32) for shape in ((ROWS, K), (K, FEATURES), (1, FEATURES)))
    inputs = {0: pack_rows(w, CONFIG.lanes), 1: pack_rows(x, CONFIG.lanes), 2: pack_rows(bias, CONFIG.lanes, packed=False)}
    program = library.gemm(CONFIG, rows=ROWS, k=K, features=FEATURES, relu=True).pack(CONFIG)
    expected = run(program, CONFIG, inputs).vector

    await reset(dut, "execute", "control_in", *(f"vector_in__{port}__valid" for port in range(CONFIG.vector_inputs)),
                *(f"scalar_in__{port}__valid" for port in range(CONFIG.scalar_inputs)))
    dut.program.value = program
    taken = []
    cocotb.start_soon(collect(dut, "vector_out__0", taken, stall, seed=9))
    for port, rows in inputs.items():
        cocotb.start_soon(feed(dut, f"vector_in__{port}", map(vector, rows), stall, seed=port))
    await pulse(dut, dut.execute)
    cycles = await until_low(dut, dut.busy)
    await ClockCycles(dut.clk, 20)
    dut._log.info("%d MACs in %d cycles", ROWS * K * FEATURES, cycles)
    np.testing.assert_array_equal(words(taken, CONFIG.lanes), expected)
    close = np.maximum(x @ w + bias, 0)
    np.testing.assert_allclose(words(taken, CONFIG.lanes).view(np.float32).reshape(ROWS, FEATURES), close, atol=0.1)
