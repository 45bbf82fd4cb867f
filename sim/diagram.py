"""Timing diagrams as text, from a waveform file: what the pages of docs/ show is what the RTL did."""

from __future__ import annotations

from collections.abc import Mapping

from .waves import Waves

__all__ = ["diagram"]


def diagram(waves: Waves, signals: Mapping[str, str], first: int, last: int) -> str:
    """Cycles ``first`` to ``last`` of ``signals``: label -> full name. One bit: a line, low ``_`` or high ``▔``; more: values in
    hexadecimal where they change. Settled values, as a register sees them at the end of the cycle."""
    columns = {label: waves.values(name)[first - waves.start:last + 1 - waves.start] for label, name in signals.items()}
    if any(len(values) != last + 1 - first for values in columns.values()):
        raise ValueError(f"cycles {first} to {last} are not all in the window, {waves.start} to {waves.end - 1}")
    wide = [f"{value:x}" for label, values in columns.items() for value in values if waves.width(signals[label]) > 1]
    cell = max(len(text) for text in [*wide, str(last)]) + 2
    margin = max(map(len, ["cycle", *columns])) + 1
    lines = ["cycle".ljust(margin) + "".join(str(cycle).ljust(cell) for cycle in range(first, last + 1)).rstrip()]
    for label, values in columns.items():
        if waves.width(signals[label]) == 1:
            row = "".join(("▔" if value else "_") * cell for value in values)
        else:
            row = "".join(("|" + f"{value:x}" if index == 0 or value != values[index - 1] else "").ljust(cell)
                          for index, value in enumerate(values))
        lines.append(label.ljust(margin) + row.rstrip())
    return "\n".join(lines)
