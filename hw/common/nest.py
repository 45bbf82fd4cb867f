"""Loop nests of the engines that move data between memory and streams (AGCU, PMU): what their programs share. No HDL is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import ProgramError

__all__ = ["Loop", "Nest"]


@dataclass(frozen=True)
class Loop:
    """One level of a loop nest: ``bound`` iterations, the address moving by ``stride``: bytes in an AGCU, elements in a PMU."""

    bound: int
    stride: int = 0


@dataclass(frozen=True, kw_only=True)
class Nest:
    """``loops``: innermost first. ``base``: the first address. ``handover``: loops that make up one buffer (None: all of them): it is
    handed over when they have all ended. ``wait_tokens``: control wires of which one token each is taken before a buffer is begun;
    ``send_tokens``: control wires that pulse when a buffer is finished."""

    loops: tuple[Loop, ...]
    base: int = 0
    handover: int | None = None
    wait_tokens: tuple[int, ...] = ()
    send_tokens: tuple[int, ...] = ()

    @property
    def buffer_loops(self) -> int:
        return len(self.loops) if self.handover is None else self.handover

    @property
    def iterations(self) -> int:
        return math.prod(loop.bound for loop in self.loops)

    def check(self, name: str, config) -> None:
        """Raises :class:`ProgramError` for what no engine called ``name`` of a unit of this size can do."""
        def require(condition: bool, field: str, value, limit: str) -> None:
            if not condition:
                raise ProgramError(f"{name}.{field}={value}: {limit}")

        depth = len(self.loops)
        require(1 <= depth <= config.counter_levels, "loops", f"{depth} loops", f"from 1 to {config.counter_levels}")
        for level, loop in enumerate(self.loops):
            require(0 <= loop.bound < 1 << config.counter_bits, f"loops[{level}].bound", loop.bound,
                    f"from 0 to {(1 << config.counter_bits) - 1}")
        require(0 <= self.buffer_loops <= depth, "handover", self.handover, f"from 0 to {depth} loops")
        for field in ("wait_tokens", "send_tokens"):
            for wire in getattr(self, field):
                require(0 <= wire < config.control_wires, field, wire, f"there are {config.control_wires} control wires")

    def fields(self, levels: int) -> dict:
        """What every engine's layout has of it; loops that are not used have bound 1."""
        return {"enable": 1, "handover": self.buffer_loops,
                "wait_tokens": sum(1 << wire for wire in self.wait_tokens),
                "send_tokens": sum(1 << wire for wire in self.send_tokens),
                "bounds": [loop.bound for loop in self.loops] + [1] * (levels - len(self.loops))}
