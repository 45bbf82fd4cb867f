"""The lowest layer of a device: identity, registers, memory, events."""

from __future__ import annotations

import math

import numpy as np

from hw.agcu.program import Segment, Tier
from hw.common.packet import FaultCause
from hw.common.program import field_position
from hw.host.registers import ID_VALUE, LauncherError, register
from hw.peer.link import peer_address
from hw.programs import unit_program_of

from .backend import Backend
from .errors import DeviceError, DeviceFault, DeviceTimeout
from .memory import Buffer, DeviceMemoryError, TierAllocator
from .resident import Resident
from .turns import TurnLock
from .units import counter_units

__all__ = ["DDR", "HBM", "SEGMENT_OF_TIER", "DeviceBase", "peer_segment"]

HBM, DDR = 0, 1
RESIDENT_SHARE = 8                           # images and schedules take up to this part of HBM
SEGMENT_OF_TIER = {HBM: 0, DDR: 1}           # every tier is one segment, readable and writable, from its first byte


def peer_segment(link: int = 0) -> int:
    """The segment that leads over peer link ``link``: stores go to the AGCU of the same number of the socket behind it (unless
    :meth:`DeviceBase.set_segment` says otherwise), loads take what comes from there."""
    return len(SEGMENT_OF_TIER) + link


class DeviceBase:
    """Registers and memory of a ``backend``; checks at the start that it is the device that its configuration says."""

    def __init__(self, backend: Backend):
        self.backend, self.config = backend, backend.config
        self._lock = TurnLock()
        self.memory = {HBM: TierAllocator("HBM", HBM, self.config.hbm.bytes),
                       DDR: TierAllocator("DDR", DDR, self.config.ddr.bytes)}
        self.resident = Resident(self.memory[HBM], self.config.hbm.bytes // RESIDENT_SHARE)
        everywhere = {SEGMENT_OF_TIER[HBM]: Segment(base=0, size=self.config.hbm.bytes, tier=Tier.HBM),
                      SEGMENT_OF_TIER[DDR]: Segment(base=0, size=self.config.ddr.bytes, tier=Tier.DDR)}
        self._segments = [everywhere | {
            peer_segment(link): Segment(base=peer_address(link=link, agcu=agcu), size=1 << 32, tier=Tier.PEER)
            for link in range(self.config.peer.links)} for agcu in range(len(self.config.agcu_ports))]     # of each AGCU, by number
        self._names = {number: name for name, number in counter_units(self.config).items()}
        try:
            self._check_identity()
            self._write_segments()
        except BaseException:
            backend.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_exception) -> None:
        self.close()

    def close(self) -> None:
        """Ends the simulation (or releases the board); a second call does nothing."""
        with self._lock:
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
        """A new buffer of ``size`` bytes in HBM (0) or DDR (1). When HBM is full, images and schedules that are not in use make room."""
        with self._lock:
            while True:
                try:
                    return self._tier(tier).allocate(size)
                except DeviceMemoryError:
                    if tier != HBM or size <= 0 or not self.resident.give_back():
                        raise

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

    def set_segment(self, agcu: int, number: int, segment: Segment) -> None:
        """Sets an entry of an AGCU's segment table, for all kernels from now on; it outlives :meth:`reset`."""
        if not 0 <= agcu < len(self._segments) or not 0 <= number < self.config.agcu.segments:
            raise DeviceError(f"agcu={agcu}, number={number}: {self.config.name} has {len(self._segments)} AGCUs, "
                              f"each with {self.config.agcu.segments} segments")
        with self._lock:
            self._write_segment(agcu, number, segment)
            self._segments[agcu][number] = segment

    def _tier(self, tier: int) -> TierAllocator:
        if tier not in self.memory:
            raise DeviceError(f"memory tier {tier} does not exist; tiers are {HBM} (HBM) and {DDR} (DDR)")
        return self.memory[tier]

    def _inside(self, buffer: Buffer, offset: int, size: int) -> None:
        self._tier(buffer.tier).check(buffer)
        if offset < 0 or offset + size > buffer.size:
            raise DeviceError(f"bytes {offset} to {offset + size} lie outside the buffer of {buffer.size} bytes "
                              f"at {buffer.address:#x}")

    def _resident(self, words: np.ndarray) -> Buffer:
        """A buffer in HBM that holds ``words``."""
        return self.resident.place(words.tobytes(), lambda buffer: self.write(buffer, words))

    # Inside ---------------------------------------------------------------------------------------------------------------
    def _check_identity(self) -> None:
        identity, digest = self.read_register("ID"), self.read_register("CONFIG_HASH")
        if identity != ID_VALUE:
            raise DeviceError(f"no OpenRDU answers: ID is {identity:#010x}, expected {ID_VALUE:#010x}")
        if digest != self.config.digest:
            raise DeviceError(f"the device was built from configuration {digest:#010x}, the driver uses {self.config.name} "
                              f"({self.config.digest:#010x}): build the simulator again or choose its preset")

    def _write_segments(self) -> None:
        for agcu, segments in enumerate(self._segments):
            for number, segment in segments.items():
                self._write_segment(agcu, number, segment)

    def _write_segment(self, agcu: int, number: int, segment: Segment) -> None:
        table, _ = field_position(unit_program_of(self.config, "agcu"), "core.segments")
        words = segment.words()
        self.write_register("ARGUMENT_SELECT", unit=self.config.agcu_id(agcu), word=table // 32 + 2 * number)
        for word in words:                           # the register's word index advances by itself
            self.write_register("ARGUMENT", word)

    def _wait_for(self, event: str, mask: int, max_cycles: int, what: str, busy: bool = True) -> None:
        self._wait_for_any({event: mask}, self.backend.cycles + max_cycles, max_cycles, what, busy)

    def _wait_for_any(self, events: dict[str, int], end: int, max_cycles: int, what: str,
                      busy: bool = True) -> dict[str, int]:
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
                units = f"; busy: {', '.join(self.busy_units()) or 'no unit'}" if busy else ""
                raise DeviceTimeout(f"{what} has not finished in {max_cycles} cycles{units}")
            self.backend.run_until_interrupt(end - self.backend.cycles)

    def _fault(self) -> DeviceFault:
        fault, offset = self.read_fields("FAULT"), self.read_register("FAULT_OFFSET")
        name = self._names[fault["unit"]]
        place = f"scratchpad byte {offset:#x}" if name.startswith("pmu") else f"virtual address {fault['segment']:#x}:{offset:#010x}"
        return DeviceFault(f"{name}: {FaultCause(fault['cause']).name} at {place}; reset the device before the next launch")
