"""Hardware-orchestrated launch: schedules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hw.host.instructions import decode

from .errors import DeviceError, DeviceTimeout
from .launch import SoftwareLaunch
from .memory import Buffer
from .schedule import Schedule
from .schedule_compiler import Compiled, compile_schedule

__all__ = ["HardwareLaunch", "ScheduleRun"]


@dataclass(frozen=True)
class ScheduleRun:
    """A schedule that has run. ``cycles``: from its start to its END, by the device's own counter; ``doorbells``: operands of the
    SIGNALs that raised an interrupt and were seen (a later one replaces an earlier one that the host has not read yet);
    ``program_words``: (kernel, words that its launch sends) for each launch in the schedule's text; ``words``: of the schedule;
    ``image_words``: of the program images beside it."""

    cycles: int
    doorbells: tuple[int, ...]
    program_words: tuple[tuple[str, int], ...]
    words: int
    image_words: int


class HardwareLaunch(SoftwareLaunch):
    """Runs schedules."""

    def compile_schedule(self, schedule: Schedule, **values: int) -> Compiled:
        """The instructions that :meth:`run_schedule` would run now (they depend on what the device holds); ``listing`` prints them."""
        with self._lock:
            return compile_schedule(schedule, self.config, self._held, **values)

    def run_schedule(self, schedule: Schedule, *, max_cycles: int = 10_000_000, on_signal: Callable[[int], None] | None = None,
                     **values: int) -> ScheduleRun:
        """A hardware-orchestrated launch: hands ``schedule`` to the device and waits for its end. ``values``: what its values begin
        with, by name; ``on_signal``: called with the DOORBELL of each SIGNAL that raises an interrupt.

        Words and images stay in HBM, so that the same schedule is sent once. Errors as of :meth:`wait`; the message of a timeout
        names the instruction that waits.
        """
        with self._lock:
            if self._running:
                raise DeviceError(f"schedule {schedule.name!r}: group {min(self._running)} still runs a kernel: wait for it first")
            if self._prepared:
                raise DeviceError(f"schedule {schedule.name!r}: kernel {self._prepared[0].name!r} is prepared: execute it first")
            compiled = self.compile_schedule(schedule, **values)
            images = [self._resident(image) for image in compiled.images]
            words = self._resident(compiled.place([(image.tier, image.address) for image in images]))
            self._loaded.clear()
            self._start_schedule(words)
            doorbells = self._follow(schedule, compiled, max_cycles, on_signal)
            self._held = compiled.held
            return ScheduleRun(self.read_register("SCHEDULE_CYCLES"), tuple(doorbells), tuple(compiled.program_words),
                               len(compiled.words), sum(map(len, compiled.images)))

    def _start_schedule(self, words: Buffer) -> None:
        self.write_register("IRQ_STATUS", schedule_done=1, signal=1, group_done=0xFFFF, load_done=1)
        self.write_register("SCHEDULE_LO", words.address & 0xFFFF_FFFF)
        self.write_register("SCHEDULE_HI", address=words.address >> 32, tier=words.tier)
        self.write_register("SCHEDULE_WORDS", words=words.size // 4)
        self.write_register("SCHEDULE", 1)

    def _follow(self, schedule: Schedule, compiled: Compiled, max_cycles: int, on_signal) -> list[int]:
        """Waits for the end of a schedule; returns the doorbells on the way."""
        what, end, doorbells = f"schedule {schedule.name!r}", self.backend.cycles + max_cycles, []
        while True:
            try:
                seen = self._wait_for_any({"schedule_done": 1, "signal": 1}, end, max_cycles, what)
            except DeviceTimeout as error:
                position = self.read_register("SCHEDULE_POSITION")
                raise DeviceTimeout(f"{error}; the schedule is at word{decode(compiled.words, position)}") from None
            if seen["signal"]:
                self.write_register("IRQ_STATUS", signal=1)
                doorbells.append(self.read_register("DOORBELL"))
                if on_signal:
                    on_signal(doorbells[-1])
            elif seen["schedule_done"]:
                return doorbells
