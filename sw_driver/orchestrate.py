"""Hardware-orchestrated launch: schedules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .errors import DeviceError, DeviceFault, DeviceTimeout
from .kernel import Kernel
from .memory import Buffer
from .observe import Observed
from .schedule import Schedule
from .schedule_compiler import Compiled, compile_schedule
from .waits import where_it_is

__all__ = ["HardwareLaunch", "ScheduleRun"]


@dataclass(frozen=True)
class ScheduleRun:
    """A schedule that has run. ``cycles``: from its start to its END, by the device's own counter; ``doorbells``: operands of the
    SIGNALs that raised an interrupt and were seen (a later one replaces an earlier one that the host has not read yet);
    ``program_words``: (kernel, words that its launch sends) for each launch in the schedule's text; ``words``: of the schedule;
    ``image_words``: of the program images beside it; ``steps``: instructions that the device has executed."""

    cycles: int
    doorbells: tuple[int, ...]
    program_words: tuple[tuple[str, int], ...]
    words: int
    image_words: int
    steps: int


@dataclass
class _UnderWay:
    """A schedule that was started: what it was compiled to, its kernels, and the doorbells seen so far."""

    compiled: Compiled
    kernels: list[Kernel]
    doorbells: list[int] = field(default_factory=list)


class HardwareLaunch(Observed):
    """Runs schedules, one at a time."""

    _under_way: _UnderWay | None = None

    def compile_schedule(self, schedule: Schedule, **values: int) -> Compiled:
        """The instructions that :meth:`run_schedule` would run now (they depend on what the device holds); ``listing`` prints them."""
        with self._lock:
            return compile_schedule(schedule, self.config, self._held, **values)

    def run_schedule(self, schedule: Schedule, *, max_cycles: int = 10_000_000, on_signal: Callable[[int], None] | None = None,
                     **values: int) -> ScheduleRun:
        """A hardware-orchestrated launch: :meth:`start_schedule` and :meth:`wait_schedule`."""
        self.start_schedule(schedule, **values)
        return self.wait_schedule(max_cycles=max_cycles, on_signal=on_signal)

    def start_schedule(self, schedule: Schedule, **values: int) -> None:
        """Hands ``schedule`` to the device and returns at once. ``values``: what its values begin with, by name.

        Words and images stay in HBM as long as there is room, so that the same schedule is sent once. Until its end was seen no
        kernel can be loaded or launched; memory can be read and written.
        """
        with self._lock:
            if self._scheduled is not None:
                raise DeviceError(f"schedule {schedule.name!r}: schedule {self._scheduled!r} has not ended: "
                                  "wait_schedule() or reset() first")
            if self._running:
                raise DeviceError(f"schedule {schedule.name!r}: group {min(self._running)} still runs a kernel: wait for it first")
            if self._prepared:
                raise DeviceError(f"schedule {schedule.name!r}: kernel {self._prepared[0].name!r} is prepared: execute it first")
            compiled = self.compile_schedule(schedule, **values)
            self.resident.begin()
            images = [self._resident(image) for image in compiled.images]
            words = self._resident(compiled.place([(image.tier, image.address) for image in images]))
            self._loaded.clear()
            self._start_schedule(words)
            self._scheduled, self._held = schedule.name, compiled.held
            self._under_way = _UnderWay(compiled, schedule.kernels)

    def wait_schedule(self, *, max_cycles: int = 10_000_000, on_signal: Callable[[int], None] | None = None) -> ScheduleRun:
        """Waits for the end of the schedule that was started; after a timeout it may be called again. ``on_signal``: called with the
        DOORBELL of each SIGNAL that raises an interrupt.

        Errors as of :meth:`wait`; the message names the instruction that the schedule is at and what this waits for. A schedule that
        waits for another thread's write to memory needs ``stall_cycles`` longer than that may take, or 0.
        """
        end, what = self.backend.cycles + max_cycles, f"schedule {self._scheduled!r}"
        while True:
            if self._scheduled is None:
                raise DeviceError("no schedule is under way: start_schedule() first")
            try:
                seen = self._until({"schedule_done": 1, "signal": 1}, end, max_cycles, what, self._where)
            except DeviceFault as fault:
                raise DeviceFault(f"{what}: {fault}{self._where()}") from None
            with self._lock:
                if not seen["signal"]:
                    return self._ended()
                self.write_register("IRQ_STATUS", signal=1)
                self._under_way.doorbells.append(self.read_register("DOORBELL"))
            if on_signal:
                on_signal(self._under_way.doorbells[-1])
            if self.backend.cycles >= end:                # it may signal for ever
                raise DeviceTimeout(f"{what} has not finished in {max_cycles} cycles{self._where()}")

    def reset(self) -> None:
        with self._lock:
            super().reset()
            self._under_way = None

    # Inside ---------------------------------------------------------------------------------------------------------------
    def _start_schedule(self, words: Buffer) -> None:
        self.write_register("IRQ_STATUS", schedule_done=1, signal=1, group_done=0xFFFF, load_done=1)
        self.write_register("SCHEDULE_LO", words.address & 0xFFFF_FFFF)
        self.write_register("SCHEDULE_HI", address=words.address >> 32, tier=words.tier)
        self.write_register("SCHEDULE_WORDS", words=words.size // 4)
        self.write_register("SCHEDULE", 1)

    def _ended(self) -> ScheduleRun:
        compiled, doorbells = self._under_way.compiled, self._under_way.doorbells
        self._scheduled = self._under_way = None
        self.resident.begin()
        return ScheduleRun(self.read_register("SCHEDULE_CYCLES"), tuple(doorbells), tuple(compiled.program_words),
                           len(compiled.words), sum(map(len, compiled.images)), self.read_register("SCHEDULE_STEPS"))

    def _where(self) -> str:
        position, steps = self.read_register("SCHEDULE_POSITION"), self.read_register("SCHEDULE_STEPS")
        at = where_it_is(self.config, self._under_way.compiled.words, position)
        return f"; the schedule is at {at} ({steps} instructions begun)"

    def _launched(self) -> list[Kernel]:
        return [*super()._launched(), *(self._under_way.kernels if self._under_way else ())]
