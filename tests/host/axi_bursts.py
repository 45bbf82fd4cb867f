"""Random AXI4 bursts of every kind and what they do to memory, by the standard's own arithmetic. Knows no simulator.

Source: IHI 0022, A3.4.1 (burst address equations) and A3.4.3 (data lanes).
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Burst", "Kind", "random_burst"]

BOUNDARY = 4096         # no burst crosses it


class Kind(enum.IntEnum):
    """AxBURST."""

    FIXED = 0
    INCR = 1
    WRAP = 2


@dataclass(frozen=True)
class Burst:
    """``length`` transfers of ``size`` bytes (a power of two) on a bus of ``bus`` bytes."""

    kind: Kind
    address: int
    length: int
    size: int
    bus: int
    identity: int

    def transfers(self) -> Iterator[tuple[int, int, int]]:
        """(first byte address, first lane, lanes) of each transfer."""
        aligned = self.address // self.size * self.size
        container = self.size * self.length
        lower = self.address // container * container
        place = self.address
        for number in range(self.length):
            lane = place % self.bus
            yield place, lane, self.size - place % self.size
            match self.kind:
                case Kind.INCR:
                    place = aligned + (number + 1) * self.size
                case Kind.WRAP:
                    place = lower + (place + self.size - lower) % container
                case Kind.FIXED:
                    pass

    def beats(self) -> list[int]:
        """The bus-aligned address of each transfer."""
        return [place // self.bus * self.bus for place, _, _ in self.transfers()]


def random_burst(rng: random.Random, bus: int, region: tuple[int, int], identity: int, longest: int = 40) -> Burst:
    """Any legal burst inside ``region`` (first address, bytes; on 4 KiB boundaries). Narrow ones are as frequent as wide ones."""
    kind, size = rng.choice(list(Kind)), 1 << rng.randrange(bus.bit_length())
    length = {Kind.FIXED: rng.randint(1, 16), Kind.WRAP: rng.choice([2, 4, 8, 16]), Kind.INCR: rng.randint(1, longest)}[kind]
    page = region[0] + rng.randrange(region[1] // BOUNDARY) * BOUNDARY
    if kind == Kind.FIXED:
        offset = rng.randrange(BOUNDARY)
    else:
        length = max(1 if kind == Kind.INCR else 2, min(length, BOUNDARY // size))
        offset = rng.randrange(BOUNDARY // size - (length if kind == Kind.INCR else 0) + 1) % (BOUNDARY // size) * size
        if kind == Kind.INCR and offset + length * size > BOUNDARY:
            offset = BOUNDARY - length * size
        if kind == Kind.INCR:
            offset += rng.randrange(size)                 # the first transfer may be unaligned; the last still ends in the page
    return Burst(kind, page + offset, length, size, bus, identity)
