"""Software-orchestrated launch: Program Load, Argument Load, Execute, each by registers."""

from __future__ import annotations

from dataclasses import dataclass

from hw.common.program import SHADOW

from .device_base import DeviceBase
from .errors import DeviceError, DeviceTimeout
from .held import LAUNCH_WORD, UNKNOWN, Held
from .kernel import Kernel, encode_image
from .memory import Buffer

__all__ = ["Launched", "SoftwareLaunch"]

RESET_LIMIT = 100_000             # cycles
Programs = dict[int, dict[int, int]]


@dataclass(frozen=True)
class Launched:
    """A kernel that has run: its cycles from Execute to finished, by the device's own counter, and the words that were loaded."""

    kernel: Kernel
    cycles: int
    loaded_words: int = 0


class SoftwareLaunch(DeviceBase):
    """Loads and starts kernels.

    Program Load sends the words that differ from what the units hold (a *delta* load; words that are arguments are always sent,
    so that the same pair of kernels has one image, which stays in HBM). ``delta = False``: every word of the kernel.
    """

    def __init__(self, backend):
        self.delta = True
        self._held = Held(backend.config.unit_id(0, 0))
        self._loaded: dict[int, Kernel] = {}             # by group
        self._running: set[int] = set()                  # groups started and not yet waited for
        self._prepared: tuple[Kernel, set[int]] | None = None
        self._scheduled: str | None = None               # the schedule that was started and has not been seen to end
        super().__init__(backend)

    def load(self, kernel: Kernel, max_cycles: int = 1_000_000) -> int:
        """Program Load, unless the kernel is loaded in its group already; returns the program words sent.

        Units of the group's previous kernel that this one does not use are switched off with it; a kernel of another group
        that loses a unit to this one counts as not loaded.
        """
        with self._lock:
            if self._loaded.get(kernel.group) is kernel:
                return 0
            kernel.check(self.config)
            self._must_be_idle(kernel.group, kernel)
            if self._prepared:
                raise DeviceError(f"kernel {kernel.name!r}: kernel {self._prepared[0].name!r} is prepared: execute it first")
            self._rob(kernel)
            changes = self._changes(kernel, self._wanted(kernel), "active")
            self._loaded.pop(kernel.group, None)
            for unit, words in changes.items():          # a load that fails half way leaves one or the other
                for word in words:
                    self._held.set(unit, word, UNKNOWN)
            self._play(changes, 1 << kernel.group, max_cycles)
            self._held.write(changes)
            self._loaded[kernel.group] = kernel
            return sum(map(len, changes.values()))

    def prepare(self, kernel: Kernel, max_cycles: int = 1_000_000) -> int:
        """Program Load into the shadows, while the group's present kernel runs; returns the program words sent. The kernel counts
        as loaded for :meth:`set_arguments`, and its :meth:`execute` or :meth:`launch` switches to it. One kernel can be
        prepared at a time."""
        with self._lock:
            kernel.check(self.config)
            self._must_have_ended(kernel)
            if not self.config.shadow:
                raise DeviceError(f"kernel {kernel.name!r} cannot be prepared: this device ({self.config.name}) has no shadows")
            if self._prepared:
                raise DeviceError(f"kernel {kernel.name!r}: kernel {self._prepared[0].name!r} is prepared: execute it first")
            wanted = self._wanted(kernel)
            units = set(self._held.difference(wanted)) | {place.unit for places in kernel.arguments.values() for place in places}
            wanted = {unit: wanted[unit] for unit in units}
            changes = self._changes(kernel, wanted, "shadow")
            for unit in units - set(changes):            # a write arms a unit
                word, value = next(iter(wanted[unit].items()))
                changes[unit] = {word: value}
            self._prepared = kernel, units
            self._play(changes, 0, max_cycles, shadow=1)
            self._held.write(changes, "shadow")
            return sum(map(len, changes.values()))

    def set_arguments(self, kernel: Kernel, **values: int) -> int:
        """Argument Load of what differs from what the loaded or prepared ``kernel`` holds; returns the number of words sent."""
        with self._lock:
            prepared = self._prepared is not None and self._prepared[0] is kernel
            if not prepared:
                if self._loaded.get(kernel.group) is not kernel:
                    raise DeviceError(f"kernel {kernel.name!r} is not loaded: its arguments cannot be set")
                self._must_be_idle(kernel.group, kernel)     # the launcher replaces words at once
            bank = "shadow" if prepared else "active"
            words = kernel.argument_words(getattr(self._held, bank), **values)
            selected = None
            for unit, word, value in words:
                if selected != (unit, word):                 # the register moves on by itself
                    self.write_register("ARGUMENT_SELECT", unit=unit, word=word + SHADOW * prepared)
                self.write_register("ARGUMENT", value)
                self._held.set(unit, word, value, bank)
                selected = unit, word + 1
            return len(words)

    def execute(self, kernel: Kernel) -> None:
        """Starts the loaded or prepared kernel and returns at once."""
        with self._lock:
            exchange = self._prepared is not None and self._prepared[0] is kernel
            if not exchange and self._loaded.get(kernel.group) is not kernel:
                raise DeviceError(f"kernel {kernel.name!r} is not loaded")
            self._must_be_idle(kernel.group, kernel)
            if exchange:
                self._rob(kernel)
            self.write_register("IRQ_STATUS", group_done=1 << kernel.group)
            self.write_register("EXECUTE", groups=1 << kernel.group, exchange=exchange)
            self._running.add(kernel.group)
            if exchange:
                self._held.exchange(self._prepared[1])
                self._prepared, self._loaded[kernel.group] = None, kernel

    def launch(self, kernel: Kernel, *, max_cycles: int = 10_000_000, **arguments: int) -> Launched:
        """Program Load if needed, Argument Load, Execute, wait: a software-orchestrated launch."""
        with self._lock:
            words = 0 if self._prepared is not None and self._prepared[0] is kernel else self.load(kernel)
            self.set_arguments(kernel, **arguments)
            self.execute(kernel)
        return Launched(kernel, self.wait(kernel, max_cycles), words)

    def image_words(self, kernel: Kernel) -> dict[str, int]:
        """Words of the kernel's image: "full", and "delta" as a load would send it now."""
        with self._lock:
            sizes = {"full": kernel.programs, "delta": self._changes(kernel, self._wanted(kernel), "active")}
            return {name: len(encode_image(programs)) for name, programs in sizes.items()}

    def reset(self) -> None:
        """Drains and resets the tile after a fault or a timeout. Memory and buffers stay, every kernel must be loaded again."""
        with self._lock:
            self._loaded.clear()
            self._running.clear()
            self._scheduled = None
            self.resident.begin()
            self._prepared, self._held = None, Held(self._held.first_unit)
            self.write_register("IRQ_STATUS", 0xFFFF_FFFF)
            self.write_register("TILE_RESET", 1)
            self._wait_for("reset_done", 1, RESET_LIMIT, "tile reset")
            end = self.backend.cycles + RESET_LIMIT
            while self.read_fields("STATUS")["resetting"]:       # the event was that of an earlier reset
                if self.backend.cycles > end:
                    raise DeviceTimeout(f"tile reset has not finished in {RESET_LIMIT} cycles")
            self.write_register("IRQ_STATUS", 0xFFFF_FFFF)       # a fault or an end that came while the tile drained
            self._write_segments()

    # Inside ---------------------------------------------------------------------------------------------------------------
    def _wanted(self, kernel: Kernel) -> Programs:
        """The kernel's programs, and the units of its group that it does not use switched off."""
        stale = self._held.enabled(kernel.group) - set(kernel.programs)
        return {**kernel.programs, **{unit: {LAUNCH_WORD: 0} for unit in sorted(stale)}}

    def _changes(self, kernel: Kernel, wanted: Programs, bank: str) -> Programs:
        if not self.delta:
            return {unit: dict(words) for unit, words in wanted.items()}
        changes = self._held.difference(wanted, bank)
        before = self._loaded.get(kernel.group)
        for own in (kernel, before) if before else (kernel,):
            for place in (place for places in own.arguments.values() for place in places):
                if place.word in wanted.get(place.unit, {}):
                    changes.setdefault(place.unit, {})[place.word] = wanted[place.unit][place.word]
        return changes

    def _rob(self, kernel: Kernel) -> None:
        """Kernels of other groups that lose a unit to ``kernel`` must be idle, and are not loaded any more."""
        units = {unit for unit in kernel.programs if unit >= self._held.first_unit}        # switches have no group
        robbed = [other for other in range(self.config.groups) if other != kernel.group and self._held.enabled(other) & units]
        for other in robbed:
            self._must_be_idle(other, kernel)
        for other in robbed:
            self._loaded.pop(other, None)

    def _must_have_ended(self, kernel: Kernel) -> None:
        if self._scheduled is not None:
            raise DeviceError(f"kernel {kernel.name!r}: schedule {self._scheduled!r} has not ended: wait_schedule() or reset() first")

    def _must_be_idle(self, group: int, kernel: Kernel) -> None:
        self._must_have_ended(kernel)
        if group in self._running:
            raise DeviceError(f"kernel {kernel.name!r}: group {group} still runs a kernel: wait for it first")

    def _play(self, programs: Programs, after: int, max_cycles: int, shadow: int = 0) -> None:
        """A Program Load of ``programs``, if there are any."""
        if programs:
            self._play_from(self._resident(encode_image(programs)), after, max_cycles, shadow)
            self.resident.begin()                        # the image has been read

    def _play_from(self, image: Buffer, after: int, max_cycles: int, shadow: int) -> None:
        self.write_register("IRQ_STATUS", load_done=1)
        self.write_register("IMAGE_LO", image.address & 0xFFFF_FFFF)
        self.write_register("IMAGE_HI", address=image.address >> 32, tier=image.tier)
        self.write_register("IMAGE_WORDS", words=image.size // 4)
        self.write_register("LOAD", after=after, shadow=shadow)
        self._wait_for("load_done", 1, max_cycles, "program load")
