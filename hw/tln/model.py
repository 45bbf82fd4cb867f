"""Where the TLN keeps each byte of a tier: the numpy model of its interleave. No HDL is imported."""

from dataclasses import dataclass

import numpy as np

from hw.config import DRAMConfig, RDUConfig

__all__ = ["Interleave"]

TURN_BITS = 6        # log2 of hw.tln.interleave.TURN_ROUNDS


@dataclass(frozen=True, kw_only=True)
class Interleave:
    """The map of one tier. ``granularity`` and ``hash`` as in the ``interleave`` port of the TLN (these are its defaults)."""

    channels: int
    beats_per_channel: int
    granularity: int = 7
    hash: bool = True

    def __post_init__(self):
        if not 0 <= self.granularity <= 7:
            raise ValueError(f"granularity={self.granularity} must be from 0 to 7: 2**granularity beats lie in one channel")

    @classmethod
    def of(cls, config: RDUConfig, tier: DRAMConfig, **setting) -> "Interleave":
        """The map of ``config.hbm`` or ``config.ddr``."""
        return cls(channels=tier.channels, beats_per_channel=(tier.megabytes_per_channel << 20) // config.beat_bytes, **setting)

    def locate(self, beats) -> tuple[np.ndarray, np.ndarray]:
        """(channel, beat within it) of each beat index of the tier."""
        beats = np.asarray(beats, dtype=np.int64)
        bits = self.channels.bit_length() - 1
        if bits == 0:
            return np.zeros_like(beats), beats
        moved = beats >> self.granularity
        below = (1 << self.granularity) - 1
        channel = moved & (self.channels - 1)
        if self.hash:
            upper, turn = moved >> bits + TURN_BITS, 0
            while np.any(upper):
                turn = turn ^ (upper & (self.channels - 1))
                upper = upper >> bits
            channel = (channel + turn) % self.channels
        return channel, ((beats >> bits) & ~below) | (beats & below)

    def split(self, image: np.ndarray, first: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each channel: (its beat indices, their contents) of ``image[beats, bytes]``, which begins at beat ``first`` of
        the tier."""
        channel, local = self.locate(first + np.arange(len(image)))
        return [(local[channel == number], image[channel == number]) for number in range(self.channels)]

    def join(self, channels: list[np.ndarray], first: int, count: int) -> np.ndarray:
        """Beats ``first``..``first + count - 1`` of the tier, from each channel's storage ``[beats, bytes]``."""
        channel, local = self.locate(first + np.arange(count))
        result = np.empty((count, channels[0].shape[1]), dtype=channels[0].dtype)
        for number, storage in enumerate(channels):
            result[channel == number] = storage[local[channel == number]]
        return result
