"""Kernels that begin at the same moment of the memories' refresh, so that their cycles repeat."""

from __future__ import annotations

from hw.dram.controller import ControllerPolicy
from hw.dram.timing import dram_timing
from sw_driver.device import Device

__all__ = ["in_phase"]

LONG = 3000              # cycles of a kernel from which on it meets a refresh anyway
MARGIN = 100             # cycles after the last refresh that was due


def in_phase(device: Device, predicted: int) -> None:
    """Lets the clock of a simulated device run until all refreshes that were due are done: a kernel of ``predicted`` cycles that starts
    now, shorter than an interval, meets none. For longer ones the intervals since the last forced refresh are the same each time, too."""
    timings = [dram_timing(tier, device.config.beat_bytes) for tier in (device.config.hbm, device.config.ddr)]
    period = max(timing.refi for timing in timings) * (ControllerPolicy().postpone if predicted >= LONG else 1)
    start = max(timing.rfc for timing in timings) + MARGIN
    device.backend.run((start - device.backend.cycles) % period)
