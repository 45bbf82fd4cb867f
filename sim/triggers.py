"""Waveform windows that begin by themselves: at a kernel, or around a fault."""

from __future__ import annotations

import re
from pathlib import Path

from hw.host.registers import register

__all__ = ["TriggeredWaves", "parse_trigger"]

DEFAULT_CYCLES = 2000


def parse_trigger(text: str) -> tuple[Path, str, int, int] | None:
    """(file, "kernel" or "fault", its number, cycles) of "FILE:kernel=N[+CYCLES]" or "FILE:fault[+CYCLES]"; None: it is neither.

    Raises ``ValueError`` for a kernel or a window of 0.
    """
    found = re.fullmatch(r"(.+?\.(?:vcd|fst)):(?:kernel=(\d+)|(fault))(?:\+(\d+))?", text)
    if not found:
        return None
    number, cycles = int(found[2] or 1), int(found[4] or DEFAULT_CYCLES)
    if not number or not cycles:
        raise ValueError(f"waves={text!r}: kernels and cycles are counted from 1")
    return Path(found[1]), "fault" if found[3] else "kernel", number, cycles


class TriggeredWaves:
    """A simulated backend, able to trace, that opens its waveform file by a trigger.

    "kernel": ``cycles`` cycles from the host's ``number``-th Execute or SCHEDULE (from 1). "fault": windows of ``cycles`` cycles
    follow one another in two files; when the driver reads a valid FAULT the present window is ``file``, and the one before it
    lies beside it (``run.before.fst`` for ``run.fst``). Everything else passes through.
    """

    def __init__(self, backend, file: Path, kind: str, number: int, cycles: int):
        self.backend, self.file, self.kind, self.left, self.window = backend, Path(file), kind, number, cycles
        self.before = self.file.with_suffix(f".before{self.file.suffix}")
        self.next_window, self.fired = 0, False

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def reg_write(self, address: int, value: int) -> None:
        self._roll()
        if self.kind == "kernel" and address in (register("EXECUTE").address, register("SCHEDULE").address) and not self.fired:
            self.left -= 1
            if not self.left:
                self.fired = True
                self.backend.waves_window(self.file, self.window)
        self.backend.reg_write(address, value)

    def reg_read(self, address: int) -> int:
        self._roll()
        value = self.backend.reg_read(address)
        if self.kind == "fault" and address == register("FAULT").address and value & 1 and not self.fired:
            self.fired = True
            self.backend.end_waves()
        return value

    def run(self, cycles: int) -> None:
        while cycles > 0:
            part = self._part(cycles)
            self.backend.run(part)
            cycles -= part

    def run_until_interrupt(self, max_cycles: int) -> bool:
        while max_cycles > 0:
            part = self._part(max_cycles)
            if self.backend.run_until_interrupt(part):
                return True
            max_cycles -= part
        return False

    def _part(self, cycles: int) -> int:
        """How long the clock may run until the next window is due."""
        self._roll()
        return min(cycles, max(1, self.next_window - self.backend.cycles)) if self.kind == "fault" and not self.fired else cycles

    def _roll(self) -> None:
        if self.kind == "fault" and not self.fired and self.backend.cycles >= self.next_window:
            self.backend.end_waves()
            if self.file.exists():
                self.file.replace(self.before)
            self.next_window = self.backend.cycles + self.window
            self.backend.waves(self.file)
