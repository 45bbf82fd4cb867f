"""Memory: which symbols there are, how long each lives, and where it lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hw.config import RDUConfig
from hw.tln.interleave import DEFAULT_GRANULARITY

from ..errors import CompileError
from ..graph.ir import Graph

__all__ = ["SLACK", "Symbol", "allocate", "check_size", "round_bytes"]

ALIGN = 256
LARGE = 4                # rounds of chunks from which on a symbol begins with a round
SLACK = 4096             # bytes behind the last symbol that vector loads of a ragged end may touch
TIERS = ("HBM", "DDR")


@dataclass(frozen=True)
class Symbol:
    """A tensor in memory. ``size``: bytes per element, 4, 2 (packed BF16) or 1 (INT8 weights). ``first``, ``last``: launches between
    which it is alive; ``traffic``: bytes that kernels move from and to it. ``tier`` and ``address`` (in the tier's region) once it is
    placed."""

    name: str
    elements: int
    size: int
    first: int = 0
    last: int = 0
    traffic: int = 0
    read_only: bool = False
    tier: int = 0
    address: int = 0

    @property
    def bytes(self) -> int:
        return self.elements * self.size


def round_bytes(config: RDUConfig) -> int:
    """Bytes of a round: one chunk in each HBM channel."""
    return config.hbm.channels * config.beat_bytes << DEFAULT_GRANULARITY


def check_size(graph: Graph, config: RDUConfig) -> None:
    """:class:`CompileError` if inputs, constants and outputs alone are larger than the memory: told before anything is mapped."""
    lasting = {name: graph[name] for name in (*graph.inputs, *graph.outputs, *(tensor.name for tensor in graph.constants))}
    needed, there = sum(tensor.bytes for tensor in lasting.values()), config.hbm.bytes + config.ddr.bytes
    if needed > there:
        largest = max(lasting.values(), key=lambda tensor: tensor.bytes)
        raise CompileError(f"inputs, constants and outputs need {needed} bytes (the largest is {largest}), HBM and DDR of {config.name} "
                           f"have {there}", way_out="use a larger preset or a smaller batch")


def allocate(symbols: Sequence[Symbol], config: RDUConfig, reserved: int, limits: Mapping[int, int] | None = None) -> list[Symbol]:
    """Every symbol with a place: symbols that are never alive together share addresses; in HBM, and in DDR those with the least
    traffic for their size that do not fit. ``reserved``: bytes of HBM kept for kernel images.

    Raises :class:`CompileError` if both tiers are too small.
    """
    whole = round_bytes(config)
    room = {0: config.hbm.bytes - reserved - SLACK - whole, 1: config.ddr.bytes - SLACK} | dict(limits or {})
    spilled: set[str] = set()
    while True:
        placed, used = _first_fit([symbol for symbol in symbols if symbol.name not in spilled], whole)
        if used <= room[0]:
            break
        left = [symbol for symbol in symbols if symbol.name not in spilled]
        spilled.add(min(left, key=lambda s: (s.traffic / max(s.bytes, 1), -s.bytes, s.name)).name)
    in_ddr, used = _first_fit([symbol for symbol in symbols if symbol.name in spilled], ALIGN)
    if used > room[1]:
        raise CompileError(f"the tensors need {used} bytes of DDR beside {room[0]} of HBM, which has room for {room[1]}",
                           way_out="use a larger preset or a smaller batch")
    places = {symbol.name: symbol for symbol in placed} | {symbol.name: replace(symbol, tier=1) for symbol in in_ddr}
    return [places[symbol.name] for symbol in symbols]


def _first_fit(symbols: Sequence[Symbol], whole: int) -> tuple[list[Symbol], int]:
    """Places by decreasing size at the lowest address that is free while the symbol lives, of large ones a multiple of ``whole``; and
    the end of the region."""
    done: list[Symbol] = []
    for symbol in sorted(symbols, key=lambda s: (-s.bytes, s.first, s.name)):
        address, align = 0, whole if symbol.bytes >= LARGE * whole else ALIGN
        for other in sorted((o for o in done if o.first <= symbol.last and symbol.first <= o.last), key=lambda o: o.address):
            if address + symbol.bytes <= other.address:
                break
            address = max(address, -(-(other.address + other.bytes) // align) * align)
        done.append(replace(symbol, address=address))
    return done, max((symbol.address + symbol.bytes for symbol in done), default=0)
