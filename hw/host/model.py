"""What the launcher does, in Python: the config words that an image stands for. No HDL is imported."""

from __future__ import annotations

from collections.abc import Sequence

from .registers import LauncherError

__all__ = ["play"]


def play(image: Sequence[int]) -> tuple[list[tuple[int, int, int]], LauncherError, int]:
    """(unit, word, value) of every config write of ``image`` in order, how it ended, and the index of the word where it ended."""
    writes, position = [], 0
    while position < len(image):
        header = int(image[position])
        count, word, unit = header & 0xFF, header >> 8 & 0x3FF, header >> 18
        if count == 0:
            return writes, LauncherError.NONE, position
        for index in range(count):
            if position + 1 + index >= len(image):
                return writes, LauncherError.TRUNCATED, len(image) - 1
            writes.append((unit, (word + index) % 1024, int(image[position + 1 + index])))
        position += 1 + count
    return writes, LauncherError.TRUNCATED, max(len(image) - 1, 0)
