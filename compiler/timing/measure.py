"""What the device's counters say of a kernel: which unit was busiest, and how many bytes went to and from memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sw_driver.device import Device
from sw_driver.observe import Counters, difference

from .work import MEMORY

__all__ = ["Busiest", "Meter"]

# Events of which a unit can count at most one a cycle when nothing holds it up.
WORK = {"pcu": ("mac_cycles", "iterations"), "pmu": ("write_vectors", "read0_vectors", "read1_vectors"),
        "agcu": ("beats_read", "beats_written")}
EVENTS = tuple(event for events in WORK.values() for event in events)


def _kind(unit: str) -> str:
    """pcu of "pcu(0,1)", agcu of "agcu3"."""
    return unit.partition("(")[0].rstrip("0123456789")


@dataclass(frozen=True)
class Busiest:
    """The unit with the most work in a kernel: ``share`` of its cycles, ``bytes`` between the tile and memory, ``work`` of all units."""

    unit: str
    share: float
    bytes: int
    work: Mapping[str, float] = field(default_factory=dict, repr=False)

    def is_as_busy(self, unit: str) -> bool:
        """Whether no unit has more work than ``unit``: of several that have the same, each is the busiest."""
        return self.work.get(unit, -1) >= self.work[self.unit]

    @property
    def kind(self) -> str:
        """pcu, pmu, agcu or memory."""
        return _kind(self.unit)


class Meter:
    """Reads the counters after every launch: ``program.run(device, inputs, observe=meter)``."""

    def __init__(self, device: Device) -> None:
        self.device, self.config = device, device.config
        self.units = [name for name in device.counters(events=()) if _kind(name) in WORK]
        self.found: list[Busiest] = []
        self._before = self._read()

    def _read(self) -> Counters:
        return self.device.counters(self.units, EVENTS)

    def __call__(self, cycles: int) -> None:
        """Notes the launch that took ``cycles``."""
        now = self._read()
        moved, self._before = difference(now, self._before), now
        work, beats = {}, 0
        for unit, events in moved.items():
            kind = _kind(unit)
            counts = [events.get(event, 0) for event in WORK[kind]]
            work[unit] = sum(counts) if kind == "agcu" else max(counts)     # an AGCU sends one request a cycle, of either kind
            beats += sum(counts) if kind == "agcu" else 0
        work[MEMORY] = beats / self.config.hbm.channels
        unit = max(work, key=work.get)
        self.found.append(Busiest(unit, work[unit] / cycles, beats * self.config.beat_bytes, work))
