"""What a device driver needs of the machine below it; simulators and boards implement it."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from hw.config import RDUConfig

__all__ = ["Backend"]


class Backend(Protocol):
    """A device with a register port, a window into its memory, an interrupt line and a clock.

    Attributes: ``config``, the sizes of the device.
    """

    config: RDUConfig

    def reg_read(self, address: int) -> int:
        """The 32-bit register at byte ``address`` (one AXI4-Lite read)."""

    def reg_write(self, address: int, value: int) -> None:
        """Writes the 32-bit register at byte ``address`` (one AXI4-Lite write)."""

    def mem_read(self, tier: int, address: int, length: int) -> np.ndarray:
        """``length`` bytes of device memory, uint8."""

    def mem_write(self, tier: int, address: int, values: np.ndarray) -> None:
        """Writes bytes (uint8) to device memory."""

    def run_until_interrupt(self, max_cycles: int) -> bool:
        """Lets the clock run until the interrupt line is high (True) or ``max_cycles`` have passed (False)."""

    @property
    def cycles(self) -> int:
        """Clock cycles since the backend was opened."""

    def close(self) -> None:
        """Ends the simulation and releases its files; a second call does nothing."""
