"""Device models of memory channels: they store data and check every timing rule."""

from .device import COMMANDS, SOURCES, DRAMDevice, commands, inject, number_from, report, rules_text, set_rules, storage, violations

__all__ = ["COMMANDS", "SOURCES", "DRAMDevice", "commands", "inject", "number_from", "report", "rules_text", "set_rules",
           "storage", "violations"]
