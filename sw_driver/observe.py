"""What a device shows of itself: counters, who works, and why nothing moves."""

from __future__ import annotations

from collections.abc import Callable

from .errors import DeviceHang, DeviceTimeout
from .kernel import Kernel
from .launch import SoftwareLaunch
from .stall import StallReport, find_stall
from .units import event_names

__all__ = ["Counters", "Observed", "difference"]

Counters = dict[str, dict[str, int]]
TURN_CYCLES = 5000                # of a wait, after which a thread that wants the device gets it
# Events that only happen when data moves; the others tell of waiting.
MOVES = ("packets_in", "packets_out", "iterations", "mac_cycles", "beats_read", "beats_written", "write_vectors", "read0_vectors",
         "read1_vectors")


def difference(after: Counters, before: Counters) -> Counters:
    """How far each counter has advanced, units and events without change left out."""
    moved = {unit: {event: (value - before[unit][event]) & 0xFFFF_FFFF for event, value in events.items()
                    if value != before[unit][event]} for unit, events in after.items()}
    return {unit: events for unit, events in moved.items() if events}


class Observed(SoftwareLaunch):
    """Counters and waits that tell what is wrong."""

    stall_cycles = 20_000             # between two looks at whether anything moves; 0: no look

    def counters(self, units: list[str] | None = None, events: tuple[str, ...] | None = None) -> Counters:
        """Event counters by unit and event name; all, or those of ``units`` that are among ``events``. Memory channels and links are
        among them ("hbm0", "ddr0", "link0")."""
        with self._lock:
            values: Counters = {}
            for number, name in sorted(self._names.items()):
                if units is not None and name not in units:
                    continue
                wanted = [(index, event) for index, event in enumerate(event_names(self.config, name))
                          if events is None or event in events]
                values[name], due = {}, None
                for index, event in wanted:
                    if index != due:                     # reading a counter selects the next one
                        self.write_register("COUNTER_SELECT", unit=number, index=index)
                    values[name][event] = self.read_register("COUNTER_VALUE")
                    due = index + 1
            return values

    def busy_units(self) -> list[str]:
        """Units of which the counter ``busy`` advances: who keeps a kernel from finishing."""
        first = self.counters(self._cores(), ("busy",))
        return [*difference(self.counters(self._cores(), ("busy",)), first)]

    def wait(self, kernel: Kernel, max_cycles: int = 10_000_000) -> int:
        """Waits for the kernel; returns its cycles from Execute to finished.

        Raises :class:`DeviceFault` if it was stopped, :class:`DeviceTimeout` (naming the busy units) after ``max_cycles``, and
        :class:`DeviceHang` once nothing has moved in any unit between two looks, ``stall_cycles`` apart.
        """
        self._until({"group_done": 1 << kernel.group}, self.backend.cycles + max_cycles, max_cycles, f"kernel {kernel.name!r}")
        with self._lock:
            self._running.discard(kernel.group)
            return self.read_register("KERNEL_CYCLES", kernel.group)

    def _until(self, events: dict[str, int], end: int, max_cycles: int, what: str,
               where: Callable[[], str] = lambda: "") -> dict[str, int]:
        """IRQ_STATUS once one of ``events`` is there; every TURN_CYCLES another thread may have the device. ``where``: more about
        what keeps ``what``, for the message of a timeout or a hang. Errors as of :meth:`wait`."""
        moved, look = None, self.backend.cycles + self.stall_cycles
        while True:
            with self._lock:
                turn = min(end, self.backend.cycles + TURN_CYCLES, look if self.stall_cycles else end)
                try:
                    return self._wait_for_any(events, turn, max_cycles, what, busy=False)
                except DeviceTimeout:
                    if self.backend.cycles >= end:
                        raise DeviceTimeout(f"{what} has not finished in {max_cycles} cycles; "
                                            f"busy: {', '.join(self.busy_units()) or 'no unit'}{where()}") from None
                if not self.stall_cycles or self.backend.cycles < look:
                    continue
                look = self.backend.cycles + self.stall_cycles
                before, moved = moved, (self.read_register("SCHEDULE_STEPS"), self.counters(self._cores(), MOVES))
                if moved == before:
                    raise DeviceHang(f"{what} cannot finish: {self.explain_stall()}{where()}")

    def explain_stall(self) -> StallReport:
        """Which unit waits for what, followed to a cycle of units or to the one that starves or blocks the others."""
        with self._lock:
            before = self.counters(self._cores())
            moved = difference(self.counters(self._cores()), before)
            enabled = {self._names[unit] for kernel in self._launched() for unit in kernel.programs if unit >= self._held.first_unit}
            enabled |= {self._names[unit] for group in range(self.config.groups) for unit in self._held.enabled(group)}
            return find_stall(self.config, moved, enabled, self._launched())

    def _launched(self) -> list[Kernel]:
        """The kernels that may be running."""
        return [*self._loaded.values()]

    def _cores(self) -> list[str]:
        return [name for name in self._names.values() if name.startswith(("pcu", "pmu", "agcu"))]

