"""A whole device as a Verilated shared library, driven from Python with the clock loop in C++.

Register and window accesses go over the device's own AXI ports by bus masters in C++; between them the clock runs until the
interrupt line is high. :class:`sim.device.VerilatedBackend` is this for a whole socket, and what ``sw_driver.Device`` runs on.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from amaranth.lib import wiring

from hw.hierarchy import to_verilog

from .bench_library import HOST, glue, load
from .build import build
from .ports import Ports
from .unit_bench import ModelError

__all__ = ["TIER_SHIFT", "VerilatedHost"]

TIER_SHIFT = 40                          # of the tier in an address of the AXI window
SLICE_SECONDS = 0.05                     # longest time in C++ without a chance for Ctrl-C
WINDOW_BYTES = 1 << 16                   # likewise for memory transfers
RESET_CYCLES = 8
DONE, LIMIT, AGAIN, BROKEN, _, FINISHED = range(6)


class VerilatedHost:
    """Any design with the flat host ports: ``s_axil_*`` (AXI4-Lite), ``s_axi_*`` (AXI4), ``irq``; all optional.

    Parameters: ``component``, the design; ``sources``, Verilog and C++ beside it (device models); ``trace``, None, "vcd" or
    "fst": built able to write waveforms; ``optimize`` and ``flags`` as of :func:`sim.build.build`; ``beside``: a host of the same
    design that this one shares a clock with: whichever is driven, both advance, and a reset is one of both.

    Contract: reset when made. One bus transaction at a time, four bursts of up to 64 beats in flight. A transaction that is
    not answered in ``timeout`` cycles, an error response, and $fatal or a failed check of a device model raise
    :class:`~sim.unit_bench.ModelError`. Ctrl-C works within about 50 ms, after which the device goes on where it stopped.
    """

    def __init__(self, component: wiring.Component, name: str, *, sources: Sequence[Path | str] = (), trace: str | None = None,
                 optimize: str = "-O3", flags: Sequence[str] = (), timeout: int = 100_000,
                 verilog: str | None = None, library: Callable[[Ports], Path] | None = None, beside: VerilatedHost | None = None):
        text = to_verilog(component, name) if verilog is None else verilog
        self.ports = Ports(component, text, name)
        self.beat_bytes = next((port.width // 8 for port in self.ports.ports if port.name == "s_axi_wdata"), 0)
        if library is None:
            self.library = build(text, name, sources=[*HOST, *sources], generated={"glue.cpp": glue(self.ports)},
                                 optimize=optimize, flags=flags, trace=trace)
        else:
            self.library = library(self.ports)
        self.lib = _declare(load(self.library))
        self._handle = ctypes.c_void_p(self.lib.host_beside(beside.handle) if beside else self.lib.host_new())
        self.lib.host_timeout(self._handle, timeout)
        self.seconds, self.cycles_run = 0.0, 0
        self.reset()

    # The clock ----------------------------------------------------------------------------------------------------------
    @property
    def handle(self) -> ctypes.c_void_p:
        if self._handle is None:
            raise ValueError("this device is closed")
        return self._handle

    @property
    def cycles(self) -> int:
        return self.lib.host_cycle(self.handle)

    @property
    def cycles_per_second(self) -> float:
        """Speed of all runs so far."""
        return self.cycles_run / self.seconds if self.seconds else 0.0

    @property
    def unit_evaluations(self) -> int:
        """Clock edges that the units of a partitioned design took awake, of cycles x units in all."""
        return self.lib.host_unit_evaluations(self.handle)

    def check_units(self, on: bool) -> None:
        """From now on verify in every cycle that no unit of a partitioned design has a combinational path from an input to an output,
        and that none that sleeps would have changed (slow)."""
        self.lib.host_check_units(self.handle, on)

    def reset(self) -> None:
        self._check(self.lib.host_reset(self.handle, RESET_CYCLES))

    def link(self, number: int, other: VerilatedHost, other_number: int, cycles: int) -> None:
        """Joins peer link ``number`` to that of a host that shares the clock, both ways, by a wire of so many registers."""
        for here, mine, there, theirs in ((self, number, other, other_number), (other, other_number, self, number)):
            here._check(self.lib.host_link(here.handle, mine, there.handle, theirs, cycles))

    def damage(self, number: int, bit: int) -> None:
        """Turns over a bit of the next beat that leaves over peer link ``number``."""
        self._check(self.lib.host_damage(self.handle, number, bit))

    def run(self, cycles: int) -> None:
        """Exactly ``cycles`` clock cycles."""
        self._run(cycles, False)

    def run_until_interrupt(self, max_cycles: int) -> bool:
        """Until the interrupt line is high (True) or ``max_cycles`` have passed (False)."""
        return self._run(max_cycles, True) == DONE

    def _run(self, cycles: int, until_interrupt: bool) -> int:
        first, begin, status = self.cycles, time.perf_counter(), AGAIN
        try:
            while status == AGAIN:
                status = self.lib.host_run(self.handle, first + cycles, SLICE_SECONDS, until_interrupt)
        finally:
            self.seconds += time.perf_counter() - begin
            self.cycles_run += self.cycles - first
        if status == FINISHED:
            raise ModelError(f"the design called $finish in cycle {self.cycles}")
        if status == BROKEN:
            self._check(status)
        return status

    def _check(self, status: int) -> None:
        if status == BROKEN:
            raise ModelError(f"cycle {self.cycles}: {self.lib.host_message(self.handle).decode()}")

    # The buses ------------------------------------------------------------------------------------------------------------
    def reg_read(self, address: int) -> int:
        """One AXI4-Lite read."""
        value = ctypes.c_uint32()
        self._check(self.lib.host_register_read(self.handle, address, ctypes.byref(value)))
        return value.value

    def reg_write(self, address: int, value: int) -> None:
        """One AXI4-Lite write."""
        self._check(self.lib.host_register_write(self.handle, address, value & 0xFFFFFFFF))

    def window_read(self, address: int, length: int) -> np.ndarray:
        """``length`` bytes at any byte address of the AXI window."""
        values = np.empty(length, np.uint8)
        for start in range(0, length, WINDOW_BYTES):
            part = values[start:start + WINDOW_BYTES]
            self._check(self.lib.host_memory_read(self.handle, address + start, part.ctypes.data, part.size))
        return values

    def window_write(self, address: int, values) -> None:
        """Bytes (any contiguous array) to any byte address of the AXI window."""
        raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        for start in range(0, raw.size, WINDOW_BYTES):
            part = raw[start:start + WINDOW_BYTES]
            self._check(self.lib.host_memory_write(self.handle, address + start, part.ctypes.data, part.size))

    # Waveforms and the end --------------------------------------------------------------------------------------------------
    def waves(self, file: Path | str, start: int = 0, end: int = 2**63) -> None:
        """Writes cycles [start, end) to ``file``, whose folder is made; needs a device made with ``trace``. :meth:`close` closes it too."""
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        self.lib.host_trace(self.handle, str(file).encode(), start, end)

    def end_waves(self) -> None:
        """Closes the waveform file now."""
        self.lib.host_trace_close(self.handle)

    def get(self, name: str) -> int:
        """The value of a port of the top as of the last edge (debugging)."""
        index = self.ports.index[name]
        width = -(-self.ports.ports[index].width // 8)
        return int.from_bytes((ctypes.c_uint8 * width).from_address(self.lib.host_port(self.handle, index)), "little")

    def close(self) -> None:
        """Ends the simulation and its files; a second call does nothing."""
        if getattr(self, "_handle", None):
            self.end_waves()
            self.lib.host_delete(self._handle)
            self._handle = None

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __del__(self):
        self.close()


def _declare(lib: ctypes.CDLL) -> ctypes.CDLL:
    handle, text, integer, u32, u64 = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_uint64
    for name, result, arguments in (
        ("host_new", handle, []), ("host_beside", handle, [handle]), ("host_delete", None, [handle]), ("host_message", text, [handle]),
        ("host_link", integer, [handle, integer, handle, integer, integer]), ("host_damage", integer, [handle, integer, integer]),
        ("host_check_units", None, [handle, integer]), ("host_cycle", u64, [handle]),
        ("host_unit_evaluations", u64, [handle]),
        ("host_timeout", None, [handle, u64]), ("host_port", handle, [handle, integer]),
        ("host_reset", integer, [handle, integer]), ("host_settle", integer, [handle]),
        ("host_register_write", integer, [handle, u32, u32]),
        ("host_register_read", integer, [handle, u32, ctypes.POINTER(u32)]),
        ("host_memory_write", integer, [handle, u64, ctypes.c_void_p, u64]),
        ("host_memory_read", integer, [handle, u64, ctypes.c_void_p, u64]),
        ("host_run", integer, [handle, u64, ctypes.c_double, integer]),
        ("host_trace", None, [handle, text, u64, u64]), ("host_trace_close", None, [handle]),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib
