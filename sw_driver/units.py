"""The units of a device by name, and their counters."""

from __future__ import annotations

from hw.config import RDUConfig

__all__ = ["event_names", "unit_names"]


def unit_names(config: RDUConfig) -> dict[str, int]:
    """Every unit of a tile by name ("pcu(0,0)", "switch(0,0)", "agcu0") and its number on the config network."""
    names = {f"switch({r},{c})": config.switch_id(r, c) for r, c in config.grid}
    names |= {f"{'pcu' if config.is_pcu(r, c) else 'pmu'}({r},{c})": config.unit_id(r, c) for r, c in config.grid}
    return names | {f"agcu{index}": config.agcu_id(index) for index in range(len(config.agcu_ports))}


def event_names(config: RDUConfig, unit: str) -> list[str]:
    """The counters of the unit called ``unit``, in the order of their index."""
    from hw.tile import counter_names

    return counter_names(config)[unit.rstrip("0123456789(,)")]
