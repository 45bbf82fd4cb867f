"""The units of a device by name, and their counters."""

from __future__ import annotations

from hw.config import RDUConfig

__all__ = ["counter_units", "event_names", "unit_names"]


def unit_names(config: RDUConfig) -> dict[str, int]:
    """Every unit of a tile by name ("pcu(0,0)", "switch(0,0)", "agcu0") and its number on the config network."""
    names = {f"switch({r},{c})": config.switch_id(r, c) for r, c in config.grid}
    names |= {f"{'pcu' if config.is_pcu(r, c) else 'pmu'}({r},{c})": config.unit_id(r, c) for r, c in config.grid}
    return names | {f"agcu{index}": config.agcu_id(index) for index in range(len(config.agcu_ports))}


def counter_units(config: RDUConfig) -> dict[str, int]:
    """Everything that has event counters: the units, the memory channels ("hbm0", "ddr0") and the links to other sockets ("link0")."""
    return unit_names(config) | {name: config.channel_id(index) for index, name in enumerate(config.channels)}


def event_names(config: RDUConfig, unit: str) -> list[str]:
    """The counters of the unit or channel called ``unit``, in the order of their index."""
    from hw.socket import event_counters

    return event_counters(config)[unit.rstrip("0123456789(,)")]
