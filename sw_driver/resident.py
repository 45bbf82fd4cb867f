"""Words that the device reads by itself, program images and schedules: kept in HBM, once for each content."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

from .memory import Buffer, DeviceMemoryError, TierAllocator, room_of

__all__ = ["Resident"]


class Resident:
    """Which contents are in ``memory``, the least recently used given back first.

    Contract: all contents together take at most ``limit`` bytes, unless those of the present launch alone are larger: what
    :meth:`place` has returned since :meth:`begin` stays, because the device may be reading it.
    """

    def __init__(self, memory: TierAllocator, limit: int):
        self.memory, self.limit = memory, limit
        self._buffers: OrderedDict[bytes, Buffer] = OrderedDict()      # least recently used first
        self._held: set[bytes] = set()

    def __iter__(self) -> Iterator[tuple[bytes, Buffer]]:
        return iter(self._buffers.items())

    @property
    def size(self) -> int:
        """Bytes of HBM that the contents take."""
        return sum(room_of(buffer.size) for buffer in self._buffers.values())

    def begin(self) -> None:
        """The device reads none of the contents any more."""
        self._held.clear()

    def place(self, content: bytes, write: Callable[[Buffer], None]) -> Buffer:
        """The buffer of ``content``; ``write`` is called if it is new. Raises :class:`DeviceMemoryError` without room."""
        if content not in self._buffers:
            while self.size + room_of(len(content)) > self.limit and self.give_back():
                pass
            buffer = self._allocate(len(content))
            try:
                write(buffer)
            except BaseException:
                self.memory.free(buffer)
                raise
            self._buffers[content] = buffer
        self._buffers.move_to_end(content)
        self._held.add(content)
        return self._buffers[content]

    def _allocate(self, size: int) -> Buffer:
        while True:
            try:
                return self.memory.allocate(size)
            except DeviceMemoryError:
                if not self.give_back():
                    raise

    def give_back(self) -> bool:
        """Frees the content that was used longest ago; False if there is none to free."""
        content = next((content for content in self._buffers if content not in self._held), None)
        if content is None:
            return False
        self.memory.free(self._buffers.pop(content))
        return True
