"""The same blocking interface as :class:`sim.verilated.VerilatedHost`, inside a cocotb testbench.

Code that drives a device is ordinary blocking Python; in a testbench it runs in a cocotb *bridge*, and every access below is a
coroutine *resumed* from it:

    @cocotb.test()
    async def kernel_runs(dut):
        host = await CocotbHost.start(dut)
        await cocotb.task.bridge(drive)(host)          # def drive(host): host.reg_write(...); host.run_until_interrupt(...)
"""

from __future__ import annotations

import logging

import numpy as np
from cocotb.clock import Clock
from cocotb.task import resume
from cocotb.triggers import ClockCycles, First, RisingEdge
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiMaster, AxiResp

from hw.config import RDUConfig

from .verilated import RESET_CYCLES, TIER_SHIFT

__all__ = ["CocotbBackend", "CocotbHost"]

PERIOD_NS = 1


class CocotbHost:
    """Registers and window of ``dut`` by cocotbext-axi's masters (``s_axil_*``, ``s_axi_*``, ``irq``, ``clk``, ``rst``).

    Made by :meth:`start`. The methods block, and may be called only from a function that runs in a cocotb bridge.
    """

    def __init__(self, dut):
        self.dut = dut
        for name in ("cocotb", "cocotbext"):
            logging.getLogger(f"{name}.{dut._name}").setLevel(logging.WARNING)
        self._registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self._window = AxiMaster(AxiBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)

    @classmethod
    async def start(cls, dut, *arguments) -> CocotbHost:
        """Starts the clock, resets the design and the masters."""
        host = cls(dut, *arguments)
        dut.rst.value = 1
        Clock(dut.clk, PERIOD_NS, unit="ns").start()
        await ClockCycles(dut.clk, RESET_CYCLES)
        dut.rst.value = 0
        await RisingEdge(dut.clk)
        return host

    @property
    def cycles(self) -> int:
        return int(get_sim_time("ns")) // PERIOD_NS

    def reg_read(self, address: int) -> int:
        """One AXI4-Lite read."""
        return resume(self._read)(self._registers, address, 4)[1]

    def reg_write(self, address: int, value: int) -> None:
        """One AXI4-Lite write."""
        resume(self._write)(self._registers, address, int(value & 0xFFFFFFFF).to_bytes(4, "little"))

    def window_read(self, address: int, length: int) -> np.ndarray:
        """``length`` bytes at any byte address of the AXI window."""
        return np.frombuffer(resume(self._read)(self._window, address, length)[0], np.uint8).copy()

    def window_write(self, address: int, values) -> None:
        """Bytes (any contiguous array) to any byte address of the AXI window."""
        resume(self._write)(self._window, address, np.ascontiguousarray(values).tobytes())

    def run(self, cycles: int) -> None:
        """Exactly ``cycles`` clock cycles."""
        resume(self._wait)(cycles)

    def run_until_interrupt(self, max_cycles: int) -> bool:
        """Until the interrupt line is high (True) or ``max_cycles`` have passed (False)."""
        return resume(self._until_interrupt)(max_cycles)

    def close(self) -> None:
        """Nothing to release: the simulator ends with its tests."""

    @staticmethod
    async def _read(master, address: int, length: int) -> tuple[bytes, int]:
        answer = await master.read(address, length)
        if answer.resp != AxiResp.OKAY:
            raise OSError(f"bus error: read at address {address:#x} answered {AxiResp(answer.resp).name}")
        return bytes(answer.data), int.from_bytes(answer.data, "little")

    @staticmethod
    async def _write(master, address: int, values: bytes) -> None:
        answer = await master.write(address, values)
        if answer.resp != AxiResp.OKAY:
            raise OSError(f"bus error: write at address {address:#x} answered {AxiResp(answer.resp).name}")

    async def _wait(self, cycles: int) -> None:
        await ClockCycles(self.dut.clk, cycles)

    async def _until_interrupt(self, max_cycles: int) -> bool:
        if not self.dut.irq.value:
            await First(RisingEdge(self.dut.irq), ClockCycles(self.dut.clk, max_cycles))
        return bool(self.dut.irq.value)


class CocotbBackend(CocotbHost):
    """A socket of ``config`` with its memory, as ``sw_driver.backend.Backend``: the same ``Device`` runs on it."""

    def __init__(self, dut, config: RDUConfig):
        self.config = config
        super().__init__(dut)

    def mem_read(self, tier: int, address: int, length: int) -> np.ndarray:
        """``length`` bytes of device memory, uint8."""
        return self.window_read(tier << TIER_SHIFT | address, length)

    def mem_write(self, tier: int, address: int, values) -> None:
        """Writes the bytes of an array to device memory."""
        self.window_write(tier << TIER_SHIFT | address, values)
