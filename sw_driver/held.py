"""What the units of a device hold, as far as its driver knows."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["UNKNOWN", "Held"]

UNKNOWN = None                    # a word that a schedule has computed
LAUNCH_WORD = 0                   # of a unit's program: {enable, group}
ALL_GROUPS = frozenset(range(16))


class Held:
    """Program words of every unit and of their shadows, and the groups that may be running.

    A word that nobody has written since the tile was reset is 0. ``first_unit``: units below it are switches, which have no
    launch word.
    """

    def __init__(self, first_unit: int):
        self.first_unit = first_unit
        self.active: dict[int, dict[int, int | None]] = {}
        self.shadow: dict[int, dict[int, int | None]] = {}
        self.running: set[int] = set()

    def copy(self) -> Held:
        other = Held(self.first_unit)
        other.active = {unit: dict(words) for unit, words in self.active.items()}
        other.shadow = {unit: dict(words) for unit, words in self.shadow.items()}
        other.running = set(self.running)
        return other

    def meet(self, other: Held) -> Held:
        """What holds whichever of the two is the case."""
        result = Held(self.first_unit)
        for name in ("active", "shadow"):
            mine, theirs = getattr(self, name), getattr(other, name)
            getattr(result, name).update(
                {unit: {word: mine.get(unit, {}).get(word, 0) if mine.get(unit, {}).get(word, 0) == theirs.get(unit, {}).get(word, 0)
                        else UNKNOWN for word in {*mine.get(unit, {}), *theirs.get(unit, {})}} for unit in {*mine, *theirs}})
        result.running = self.running | other.running
        return result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and self.running == other.running and all(
            dict(one.words(bank)) == dict(two.words(bank)) for one, two in ((self, other),) for bank in ("active", "shadow"))

    __hash__ = None

    def words(self, bank: str) -> Iterator[tuple[tuple[int, int], int | None]]:
        """((unit, word), value) of every word that is not 0."""
        return (((unit, word), value) for unit, words in getattr(self, bank).items() for word, value in words.items() if value != 0)

    def get(self, unit: int, word: int, bank: str = "active") -> int | None:
        return getattr(self, bank).get(unit, {}).get(word, 0)

    def set(self, unit: int, word: int, value: int | None, bank: str = "active") -> None:
        getattr(self, bank).setdefault(unit, {})[word] = value

    def difference(self, programs: dict[int, dict[int, int]], bank: str = "active") -> dict[int, dict[int, int]]:
        """Those words of ``programs`` that a bank does not hold, or may not."""
        found = {}
        for unit, words in programs.items():
            held = getattr(self, bank).get(unit, {})
            if changed := {word: value for word, value in words.items() if held.get(word, 0) != value}:
                found[unit] = changed
        return found

    def write(self, programs: dict[int, dict[int, int]], bank: str = "active") -> None:
        for unit, words in programs.items():
            getattr(self, bank).setdefault(unit, {}).update(words)

    def exchange(self, units) -> None:
        """Exchanges the programs of ``units`` with their shadows."""
        for unit in units:
            self.active[unit], self.shadow[unit] = self.shadow.pop(unit, {}), self.active.pop(unit, {})

    def groups_of(self, unit: int) -> frozenset[int]:
        """The groups that an Execute of may start ``unit``."""
        launch = self.get(unit, LAUNCH_WORD)
        if launch is UNKNOWN:
            return ALL_GROUPS
        return frozenset({launch >> 1 & 0xF}) if launch & 1 else frozenset()

    def enabled(self, group: int) -> set[int]:
        """Units that an Execute of ``group`` starts, or may start."""
        return {unit for unit in self.active if unit >= self.first_unit and group in self.groups_of(unit)}
