"""The expert cache: HBM as a software-managed cache of expert weights that live in DDR."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from .memory import Buffer

__all__ = ["ExpertCache", "Lookup"]


@dataclass(frozen=True)
class Lookup:
    """Where an expert's weights are in HBM, whether they were there already, and which expert made room."""

    buffer: Buffer
    hit: bool
    evicted: Hashable | None = None


class ExpertCache:
    """Keeps the least recently used experts out.

    Parameters
    ----------
    slots: HBM buffers, one per resident expert.
    copy: called with (expert, slot) on a miss; copies the expert's weights from DDR into the slot.

    Contract: weights are read-only, so an eviction copies nothing back. If ``copy`` raises, the slot is free again and the
    expert is not resident; the others stay.
    Source: SN40L paper V.B and VI.C (LRU, read-only symbols skip the copy back).
    """

    def __init__(self, slots: list[Buffer], copy: Callable[[Hashable, Buffer], None]):
        if not slots:
            raise ValueError("slots is empty: the HBM expert region must hold at least one expert")
        self._free = list(reversed(slots))
        self._copy = copy
        self._resident: OrderedDict[Hashable, Buffer] = OrderedDict()      # least recently used first
        self.hits = self.misses = 0

    @property
    def resident(self) -> list[Hashable]:
        """Experts in HBM, least recently used first."""
        return list(self._resident)

    @property
    def hit_rate(self) -> float:
        """Share of look-ups that hit; 0 before the first."""
        return self.hits / max(1, self.hits + self.misses)

    def drop(self, expert: Hashable) -> None:
        """Forgets ``expert`` if it is resident: its weights in HBM are in doubt, the next look-up copies them again."""
        if expert in self._resident:
            self._free.append(self._resident.pop(expert))

    def lookup(self, expert: Hashable) -> Lookup:
        """The HBM buffer of ``expert``, copied in if it is not resident."""
        if expert in self._resident:
            self.hits += 1
            self._resident.move_to_end(expert)
            return Lookup(self._resident[expert], hit=True)
        self.misses += 1
        evicted = None
        if not self._free:
            evicted, slot = self._resident.popitem(last=False)
            self._free.append(slot)
        slot = self._free[-1]
        self._copy(expert, slot)
        self._free.pop()
        self._resident[expert] = slot
        return Lookup(slot, hit=False, evicted=evicted)
