"""Device memory: one first-fit allocator per tier."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ALIGNMENT", "Buffer", "DeviceMemoryError", "TierAllocator", "room_of"]

ALIGNMENT = 256          # bytes; a whole number of beats in every preset


class DeviceMemoryError(MemoryError):
    """A tier has no room for a buffer, or a buffer was used after it was freed."""


def room_of(size: int) -> int:
    """Bytes that a buffer of ``size`` bytes takes."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Buffer:
    """``size`` bytes at byte ``address`` of memory tier ``tier`` (0 HBM, 1 DDR)."""

    tier: int
    address: int
    size: int


class TierAllocator:
    """Hands out parts of one tier's ``capacity`` bytes, first fit, freed parts joined with their neighbours."""

    def __init__(self, name: str, tier: int, capacity: int):
        self.name, self.tier, self.capacity = name, tier, capacity
        self._free: list[tuple[int, int]] = [(0, capacity)]          # (address, size), sorted
        self._used: set[Buffer] = set()

    @property
    def free_bytes(self) -> int:
        return sum(size for _, size in self._free)

    def allocate(self, size: int) -> Buffer:
        """A new buffer of ``size`` bytes, aligned to :data:`ALIGNMENT`. Raises :class:`DeviceMemoryError` if there is no room."""
        if size <= 0:
            raise DeviceMemoryError(f"{self.name}: size={size} must be positive")
        rounded = room_of(size)
        for index, (address, room) in enumerate(self._free):
            if room >= rounded:
                self._free[index:index + 1] = [(address + rounded, room - rounded)] if room > rounded else []
                buffer = Buffer(self.tier, address, size)
                self._used.add(buffer)
                return buffer
        largest = max((room for _, room in self._free), default=0)
        raise DeviceMemoryError(f"{self.name}: {size} bytes asked, {self.free_bytes} of {self.capacity} free "
                                f"(largest piece {largest}): free buffers or keep the data in another tier")

    def check(self, buffer: Buffer) -> None:
        """Raises :class:`DeviceMemoryError` if ``buffer`` is not in use."""
        if buffer not in self._used:
            raise DeviceMemoryError(f"{self.name}: buffer at {buffer.address:#x} is not in use (freed before?)")

    def free(self, buffer: Buffer) -> None:
        """Gives ``buffer`` back. Raises :class:`DeviceMemoryError` if it is not in use."""
        self.check(buffer)
        self._used.remove(buffer)
        pieces = sorted([*self._free, (buffer.address, room_of(buffer.size))])
        joined = pieces[:1]
        for address, size in pieces[1:]:
            last_address, last_size = joined[-1]
            if last_address + last_size == address:
                joined[-1] = (last_address, last_size + size)
            else:
                joined.append((address, size))
        self._free = joined
