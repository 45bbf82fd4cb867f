"""What can go wrong with a device."""

from __future__ import annotations

__all__ = ["BusError", "DeviceError", "DeviceFault", "DeviceHang", "DeviceTimeout"]


class DeviceError(RuntimeError):
    """The device did not do what was asked."""


class BusError(DeviceError):
    """The device answered a register or memory access with an error: no such address, a full queue, damaged memory."""


class DeviceTimeout(DeviceError):
    """A kernel, a schedule or a load has not finished in the cycles given."""


class DeviceHang(DeviceTimeout):
    """Nothing moves any more: the kernel cannot finish. The message is that of :meth:`Device.explain_stall`."""


class DeviceFault(DeviceError):
    """A kernel was stopped by an illegal access. The device needs :meth:`Device.reset`; its memory is intact."""
