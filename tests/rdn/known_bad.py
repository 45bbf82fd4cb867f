"""Switches that break their contract, which the tests of this folder must catch."""

from hw.rdn.dynamic import DynamicInput

__all__ = ["NoElders"]


class NoElders(DynamicInput):
    """The lowest slot goes first, not the eldest."""

    in_order = False
