"""cocotb tests of the example device; run in the simulator by test_cocotb.py."""

import json
import os
import time
from pathlib import Path

import cocotb
import pytest
from cocotb.task import bridge

from sim.cocotb_backend import CocotbHost
from tests.sim.host_scenario import scenario


@cocotb.test()
async def same_scenario(dut):
    host = await CocotbHost.start(dut)
    result = await bridge(scenario)(host)
    Path(os.environ["RESULT"]).write_text(json.dumps(result))


@cocotb.test()
async def bus_error_is_raised(dut):
    host = await CocotbHost.start(dut)

    def bad(host):
        with pytest.raises(OSError, match="write at address 0x44 answered SLVERR"):
            host.reg_write(0x44, 1)
    await bridge(bad)(host)


@cocotb.test()
async def waiting_is_fast(dut):
    host = await CocotbHost.start(dut)
    begin = time.process_time()
    await bridge(lambda host: host.run_until_interrupt(200_000))(host)
    speed = 200_000 / (time.process_time() - begin)
    Path(os.environ["SPEED"]).write_text(str(speed))


@cocotb.test()
async def known_bad(dut):
    assert "KNOWN_BAD" not in os.environ
