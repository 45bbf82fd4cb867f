"""A device: registers, memory, kernels, schedules, faults and counters, on any :class:`~sw_driver.backend.Backend`."""

from __future__ import annotations

from hw.config import RDUConfig, preset

from .device_base import DDR, HBM, SEGMENT_OF_TIER, peer_segment
from .errors import BusError, DeviceError, DeviceFault, DeviceHang, DeviceTimeout
from .launch import Launched
from .observe import difference
from .orchestrate import HardwareLaunch, ScheduleRun

__all__ = ["DDR", "HBM", "SEGMENT_OF_TIER", "BusError", "Device", "DeviceError", "DeviceFault", "DeviceHang", "DeviceTimeout", "Launched",
           "ScheduleRun", "difference", "peer_segment"]


class Device(HardwareLaunch):
    """One RDU. A context manager; its methods may be called from several threads (one call at a time is served).

    Parameters
    ----------
    backend: the machine below.

    Contract: Program Load happens only for a kernel that is not the one loaded in its group, and only for words that the units do not
    hold; Argument Load only for words that change. Buffers and loaded kernels are forgotten when the device is closed.
    Errors: :class:`DeviceError` and its subclasses; :class:`~sw_driver.kernel.KernelError` for a kernel of another preset;
    :class:`~sw_driver.memory.DeviceMemoryError` when a tier is full.
    """

    @classmethod
    def open(cls, config: RDUConfig | str = "small", backend: str = "verilator", *, waves: str | None = None) -> Device:
        """A device of a preset (or any configuration) on a backend by name: "verilator", the simulator, built at its first use.

        ``waves``: see :func:`sim.device.open_backend`.
        """
        if backend != "verilator":
            raise DeviceError(f"backend {backend!r} does not exist; backends are: verilator (others: Device(backend) with an object)")
        from sim.device import open_backend

        return cls(open_backend(preset(config) if isinstance(config, str) else config, waves=waves))
