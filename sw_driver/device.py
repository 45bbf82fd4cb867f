"""A device: registers, memory, kernels, faults and counters, on any :class:`~sw_driver.backend.Backend`."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hw.agcu.program import Segment, Tier
from hw.common.packet import FaultCause
from hw.common.program import field_position
from hw.host.instructions import decode
from hw.host.registers import ID_VALUE, LauncherError, register
from hw.programs import unit_program_of

from .backend import Backend
from .held import Held
from .kernel import Kernel, encode_image
from .memory import Buffer, TierAllocator
from .schedule import Schedule
from .schedule_compiler import Compiled, compile_schedule
from .units import unit_names

__all__ = ["DDR", "HBM", "SEGMENT_OF_TIER", "Device", "DeviceError", "DeviceFault", "DeviceTimeout", "Launched", "ScheduleRun"]

HBM, DDR = 0, 1
SEGMENT_OF_TIER = {HBM: 0, DDR: 1}           # every tier is one segment, readable and writable, from its first byte


class DeviceError(RuntimeError):
    """The device did not do what was asked."""


class DeviceTimeout(DeviceError):
    """A kernel or a load has not finished in the cycles given."""


class DeviceFault(DeviceError):
    """A kernel was stopped by an illegal access. The device needs :meth:`Device.reset`; its memory is intact."""


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


@dataclass(frozen=True)
class Launched:
    """A kernel that has run: its cycles from Execute to finished, by the device's own counter."""

    kernel: Kernel
    cycles: int


class Device:
    """One RDU. A context manager; its methods may be called from several threads (one call at a time is served).

    Parameters
    ----------
    backend: the machine below.

    Contract: Program Load happens only for a kernel that is not the one loaded in its group; Argument Load only for words
    that change. Buffers and loaded kernels are forgotten when the device is closed.
    Errors: :class:`DeviceError` and its subclasses; :class:`~sw_driver.kernel.KernelError` for a kernel of another preset;
    :class:`~sw_driver.memory.DeviceMemoryError` when a tier is full.
    """

    def __init__(self, backend: Backend):
        self.backend, self.config = backend, backend.config
        self._lock = threading.RLock()
        self.memory = {HBM: TierAllocator("HBM", HBM, self.config.hbm.bytes),
                       DDR: TierAllocator("DDR", DDR, self.config.ddr.bytes)}
        self._images: dict[int, tuple[Kernel, Buffer]] = {}      # by id(kernel); the kernel kept here keeps its id its own
        self._held = Held(self.config.unit_id(0, 0))
        self._schedules: dict[bytes, Buffer] = {}        # words of schedules and of their images that are in HBM
        self._loaded: dict[int, Kernel] = {}             # by group
        self._enabled: dict[int, set[int]] = {}          # by group: units that a load, finished or not, has given a program
        self._running: set[int] = set()                  # groups started and not yet waited for
        self._names = {number: name for name, number in unit_names(self.config).items()}
        try:
            self._check_identity()
            self._write_segments()
        except BaseException:
            backend.close()
            raise

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_exception) -> None:
        self.close()

    def close(self) -> None:
        """Ends the simulation (or releases the board); a second call does nothing."""
        self.backend.close()

    # Registers ------------------------------------------------------------------------------------------------------------
    def read_register(self, name: str, index: int = 0) -> int:
        """The value of a register of the map (docs/host.md)."""
        with self._lock:
            return self.backend.reg_read(register(name).address + 4 * index)

    def read_fields(self, name: str) -> dict[str, int]:
        """The fields of a register."""
        return register(name).unpack(self.read_register(name))

    def write_register(self, name: str, value: int | None = None, **fields: int) -> None:
        """Writes a register, as a whole or by its fields (all others 0)."""
        target = register(name)
        with self._lock:
            self.backend.reg_write(target.address, target.pack(**fields) if value is None else value)

    @property
    def cycles(self) -> int:
        """Core cycles since the device was reset."""
        with self._lock:
            low = self.read_register("CYCLES_LO")
            return self.read_register("CYCLES_HI") << 32 | low

    # Memory ---------------------------------------------------------------------------------------------------------------
    def allocate(self, tier: int, size: int) -> Buffer:
        """A new buffer of ``size`` bytes in HBM (0) or DDR (1)."""
        with self._lock:
            return self._tier(tier).allocate(size)

    def free(self, buffer: Buffer) -> None:
        """Gives a buffer back."""
        with self._lock:
            self._tier(buffer.tier).free(buffer)

    def write(self, buffer: Buffer, values: np.ndarray, offset: int = 0) -> None:
        """Copies an array's bytes into a buffer, row-major."""
        raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self._inside(buffer, offset, raw.size)
        with self._lock:
            self.backend.mem_write(buffer.tier, buffer.address + offset, raw)

    def read(self, buffer: Buffer, dtype, shape: tuple[int, ...], offset: int = 0) -> np.ndarray:
        """An array from a buffer, row-major."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        self._inside(buffer, offset, size)
        with self._lock:
            return np.array(self.backend.mem_read(buffer.tier, buffer.address + offset, size)).view(dtype).reshape(shape)

    def upload(self, tier: int, values: np.ndarray) -> Buffer:
        """A new buffer that holds ``values``."""
        buffer = self.allocate(tier, values.nbytes)
        self.write(buffer, values)
        return buffer

    def _tier(self, tier: int) -> TierAllocator:
        if tier not in self.memory:
            raise DeviceError(f"memory tier {tier} does not exist; tiers are {HBM} (HBM) and {DDR} (DDR)")
        return self.memory[tier]

    def _inside(self, buffer: Buffer, offset: int, size: int) -> None:
        self._tier(buffer.tier).check(buffer)
        if offset < 0 or offset + size > buffer.size:
            raise DeviceError(f"bytes {offset} to {offset + size} lie outside the buffer of {buffer.size} bytes "
                              f"at {buffer.address:#x}")

    # Kernels --------------------------------------------------------------------------------------------------------------
    def load(self, kernel: Kernel, max_cycles: int = 1_000_000) -> bool:
        """Program Load, unless the kernel is loaded in its group already (then False).

        Units of the group's previous kernel that this one does not use are switched off before; a kernel of another group
        that loses a unit to this one counts as not loaded.
        """
        with self._lock:
            group = kernel.group
            if self._loaded.get(group) is kernel:
                return False
            kernel.check(self.config)
            self._must_be_idle(group, kernel)
            if id(kernel) not in self._images:
                self._images[id(kernel)] = (kernel, self.upload(HBM, kernel.image()))
            units = {unit for unit in kernel.programs if unit >= self.config.unit_id(0, 0)}        # switches have no group
            robbed = [other for other, theirs in self._enabled.items() if other != group and theirs & units]
            for other in robbed:
                self._must_be_idle(other, kernel)
            for other in robbed:
                self._loaded.pop(other, None)
                self._enabled[other] -= units
            self._loaded.pop(group, None)
            before = self._enabled.get(group, set())
            self._enabled[group] = before | units        # a load that fails half way leaves these to be switched off
            if stale := {unit: {0: 0} for unit in before - units}:
                self._play(encode_image(stale), group, max_cycles)
            self._play_from(self._images[id(kernel)][1], group, max_cycles)
            self._held.write({**stale, **kernel.programs})
            self._enabled[group] = units
            self._loaded[group] = kernel
            return True

    def set_arguments(self, kernel: Kernel, **values: int) -> int:
        """Argument Load of what differs from what the loaded ``kernel`` holds; returns the number of words sent."""
        with self._lock:
            if self._loaded.get(kernel.group) is not kernel:
                raise DeviceError(f"kernel {kernel.name!r} is not loaded: its arguments cannot be set")
            self._must_be_idle(kernel.group, kernel)     # the launcher replaces words at once
            words = kernel.argument_words(self._held.active, **values)
            for unit, word, value in words:
                self.write_register("ARGUMENT_SELECT", unit=unit, word=word)
                self.write_register("ARGUMENT", value)
                self._held.set(unit, word, value)
            return len(words)

    def execute(self, kernel: Kernel) -> None:
        """Starts the loaded kernel and returns at once."""
        with self._lock:
            if self._loaded.get(kernel.group) is not kernel:
                raise DeviceError(f"kernel {kernel.name!r} is not loaded")
            self._must_be_idle(kernel.group, kernel)
            self.write_register("IRQ_STATUS", group_done=1 << kernel.group)
            self.write_register("EXECUTE", groups=1 << kernel.group)
            self._running.add(kernel.group)

    def wait(self, kernel: Kernel, max_cycles: int = 10_000_000) -> int:
        """Waits for the kernel; returns its cycles from Execute to finished.

        Raises :class:`DeviceFault` if it was stopped, :class:`DeviceTimeout` (naming the busy units) after ``max_cycles``.
        """
        with self._lock:
            self._wait_for("group_done", 1 << kernel.group, max_cycles, f"kernel {kernel.name!r}")
            self._running.discard(kernel.group)
            return self.read_register("KERNEL_CYCLES", kernel.group)

    def launch(self, kernel: Kernel, *, max_cycles: int = 10_000_000, **arguments: int) -> Launched:
        """Program Load if needed, Argument Load, Execute, wait: a software-orchestrated launch."""
        with self._lock:
            self.load(kernel)
            self.set_arguments(kernel, **arguments)
            self.execute(kernel)
            return Launched(kernel, self.wait(kernel, max_cycles))

    # Schedules --------------------------------------------------------------------------------------------------------------
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
            compiled = self.compile_schedule(schedule, **values)
            images = [self._resident(image) for image in compiled.images]
            words = self._resident(compiled.place([(image.tier, image.address) for image in images]))
            self._loaded.clear()
            self._enabled = {group: set(self._held.enabled(group) | compiled.held.enabled(group))
                             for group in range(self.config.groups)}
            self._start_schedule(words)
            doorbells = self._follow(schedule, compiled, max_cycles, on_signal)
            self._held = compiled.held
            return ScheduleRun(self.read_register("SCHEDULE_CYCLES"), tuple(doorbells), tuple(compiled.program_words),
                               len(compiled.words), sum(map(len, compiled.images)))

    def _resident(self, words: np.ndarray) -> Buffer:
        """A buffer in HBM that holds ``words``, made once for each content."""
        key = words.tobytes()
        if key not in self._schedules:
            self._schedules[key] = self.upload(HBM, words)
        return self._schedules[key]

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

    def reset(self) -> None:
        """Drains and resets the tile after a fault or a timeout. Memory and buffers stay, every kernel must be loaded again."""
        with self._lock:
            for state in (self._loaded, self._enabled, self._running):
                state.clear()
            self._held = Held(self._held.first_unit)
            self.write_register("IRQ_STATUS", 0xFFFF_FFFF)
            self.write_register("TILE_RESET", 1)
            self._wait_for("reset_done", 1, 100_000, "tile reset")
            self.write_register("IRQ_STATUS", 0xFFFF_FFFF)       # a fault or an end that came while the tile drained
            self._write_segments()

    # Observation ----------------------------------------------------------------------------------------------------------
    def counters(self) -> dict[str, dict[str, int]]:
        """Every event counter by unit and event name."""
        from .units import event_names

        with self._lock:
            values: dict[str, dict[str, int]] = {}
            for number, name in sorted(self._names.items()):
                events = event_names(self.config, name)
                self.write_register("COUNTER_SELECT", unit=number, index=0)
                values[name] = {event: self.read_register("COUNTER_VALUE") for event in events}
            return values

    def busy_units(self) -> list[str]:
        """Units of which the counter ``busy`` advances: who keeps a kernel from finishing."""
        first, second = self.counters(), self.counters()
        return [name for name, events in second.items() if events.get("busy", 0) != first[name].get("busy", 0)]

    # Inside ---------------------------------------------------------------------------------------------------------------
    def _check_identity(self) -> None:
        identity, digest = self.read_register("ID"), self.read_register("CONFIG_HASH")
        if identity != ID_VALUE:
            raise DeviceError(f"no OpenRDU answers: ID is {identity:#010x}, expected {ID_VALUE:#010x}")
        if digest != self.config.digest:
            raise DeviceError(f"the device was built from configuration {digest:#010x}, the driver uses {self.config.name} "
                              f"({self.config.digest:#010x}): build the simulator again or choose its preset")

    def _write_segments(self) -> None:
        segments = {HBM: Segment(base=0, size=self.config.hbm.bytes, tier=Tier.HBM),
                    DDR: Segment(base=0, size=self.config.ddr.bytes, tier=Tier.DDR)}
        table, _ = field_position(unit_program_of(self.config, "agcu"), "core.segments")
        for index in range(len(self.config.agcu_ports)):
            for tier, segment in segments.items():
                self.write_register("ARGUMENT_SELECT", unit=self.config.agcu_id(index),
                                    word=table // 32 + 2 * SEGMENT_OF_TIER[tier])
                for word in segment.words():         # the register's word index advances by itself
                    self.write_register("ARGUMENT", word)

    def _must_be_idle(self, group: int, kernel: Kernel) -> None:
        if group in self._running:
            raise DeviceError(f"kernel {kernel.name!r}: group {group} still runs a kernel: wait for it first")

    def _play(self, image: np.ndarray, group: int, max_cycles: int) -> None:
        buffer = self.upload(HBM, image)
        try:
            self._play_from(buffer, group, max_cycles)
        finally:
            self.free(buffer)

    def _play_from(self, image: Buffer, group: int, max_cycles: int) -> None:
        self.write_register("IRQ_STATUS", load_done=1)
        self.write_register("IMAGE_LO", image.address & 0xFFFF_FFFF)
        self.write_register("IMAGE_HI", address=image.address >> 32, tier=image.tier)
        self.write_register("IMAGE_WORDS", words=image.size // 4)
        self.write_register("LOAD", after=1 << group)
        self._wait_for("load_done", 1, max_cycles, "program load")

    def _wait_for(self, event: str, mask: int, max_cycles: int, what: str) -> None:
        self._wait_for_any({event: mask}, self.backend.cycles + max_cycles, max_cycles, what)

    def _wait_for_any(self, events: dict[str, int], end: int, max_cycles: int, what: str) -> dict[str, int]:
        """IRQ_STATUS as soon as one bit of ``events`` (masks by name) is there; a fault or an error of the launcher raises."""
        stops = {} if "reset_done" in events else {"fault": 1, "error": 1}        # a reset is the way out of both
        self.write_register("IRQ_ENABLE", **stops, **events)
        while True:
            status = self.read_fields("IRQ_STATUS")
            if status["fault"] and stops:
                raise self._fault()
            if status["error"] and stops:
                error = self.read_fields("ERROR")
                raise DeviceError(f"{what}: the launcher halted with error {LauncherError(error['code']).name} "
                                  f"at word {error['position']}; reset the device")
            if any(status[event] & mask for event, mask in events.items()):
                return status
            if self.backend.cycles >= end:
                raise DeviceTimeout(f"{what} has not finished in {max_cycles} cycles; "
                                    f"busy: {', '.join(self.busy_units()) or 'no unit'}")
            self.backend.run_until_interrupt(end - self.backend.cycles)

    def _fault(self) -> DeviceFault:
        fault, offset = self.read_fields("FAULT"), self.read_register("FAULT_OFFSET")
        name = self._names[fault["unit"]]
        place = f"scratchpad byte {offset:#x}" if name.startswith("pmu") else f"virtual address {fault['segment']:#x}:{offset:#010x}"
        return DeviceFault(f"{name}: {FaultCause(fault['cause']).name} at {place}; reset the device before the next launch")
