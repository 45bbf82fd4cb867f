"""The driver runs kernels on a whole socket, its buses driven by cocotbext-axi; run by test_device.py."""

import json
import os
from pathlib import Path

import cocotb
from cocotb.task import bridge

from hw.config import preset
from sim.cocotb_backend import CocotbBackend

from . import kernels


@cocotb.test(timeout_time=200, timeout_unit="us")
@cocotb.parametrize(("name", ["copy", "gemm"]))
async def kernel(dut, name):
    backend = await CocotbBackend.start(dut, preset("tiny"))
    result = await bridge(getattr(kernels, name))(backend)
    dut._log.info("%s: %d cycles", name, result["cycles"])
    (Path(os.environ["RESULTS"]) / f"{name}.json").write_text(json.dumps(result))
