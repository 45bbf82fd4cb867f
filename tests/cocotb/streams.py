"""What the testbenches of units share: reset, sources and sinks of streams, values of vectors."""

from __future__ import annotations

import random

import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

__all__ = ["collect", "feed", "pulse", "reset", "until_low", "vector", "words"]


async def reset(dut, *inputs: str) -> None:
    """Starts the clock, sets ``inputs`` (and every input stream's valid, output stream's ready given by name) to 0, resets."""
    for name in inputs:
        getattr(dut, name).value = 0
    dut.rst.value = 1
    Clock(dut.clk, 1, unit="ns").start()
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await RisingEdge(dut.clk)


async def pulse(dut, signal) -> None:
    """One cycle of 1; returns in the cycle after it."""
    signal.value = 1
    await RisingEdge(dut.clk)
    signal.value = 0
    await RisingEdge(dut.clk)


async def until_low(dut, signal) -> int:
    """Waits until ``signal`` is 0; returns the cycles that took."""
    cycles = 0
    while int(signal.value):
        await RisingEdge(dut.clk)
        cycles += 1
    return cycles


async def feed(dut, name: str, payloads, stall: float = 0.0, seed: int = 0) -> None:
    """Sends ``payloads`` on the input stream ``name``, pausing with probability ``stall`` in each cycle between two."""
    valid, ready, payload = (getattr(dut, f"{name}__{member}") for member in ("valid", "ready", "payload"))
    draw = random.Random(seed)
    for value in payloads:
        while draw.random() < stall:
            await RisingEdge(dut.clk)
        valid.value, payload.value = 1, int(value)
        await RisingEdge(dut.clk)
        while not int(ready.value):
            await RisingEdge(dut.clk)
        valid.value = 0


async def collect(dut, name: str, taken: list[int], stall: float = 0.0, seed: int = 0) -> None:
    """Appends to ``taken`` what leaves by the output stream ``name``, not ready with probability ``stall``; runs for ever.

    Checks that a payload which waits stays valid and as it is.
    """
    valid, ready, payload = (getattr(dut, f"{name}__{member}") for member in ("valid", "ready", "payload"))
    draw, waiting = random.Random(seed), None
    while True:
        takes = draw.random() >= stall
        ready.value = int(takes)
        await RisingEdge(dut.clk)
        now = int(payload.value) if int(valid.value) else None
        assert waiting in (None, now), f"{name}: {waiting:#x} was withdrawn or changed while it waited"
        if now is not None and takes:
            taken.append(now)
        waiting = None if takes else now


def vector(row) -> int:
    """A row of 32-bit words as the payload of a stream, word 0 in the low bits (sequence ID 0)."""
    return int.from_bytes(np.ascontiguousarray(row, np.uint32).tobytes(), "little")


def words(payloads: list[int], lanes: int) -> np.ndarray:
    """Payloads as uint32 [n, lanes]."""
    raw = b"".join(payload.to_bytes(4 * lanes, "little") for payload in payloads)
    return np.frombuffer(raw, np.uint32).reshape(-1, lanes)
