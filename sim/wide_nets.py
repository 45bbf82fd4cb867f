"""Modules with more input bits than Amaranth can number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from amaranth.hdl import _nir

__all__ = ["wide_nets"]


@contextmanager
def wide_nets() -> Iterator[None]:
    """Amaranth 0.5 numbers the bits of a cell, and of all inputs of a module, with 16 bits; the pins of 64 units are more.

    Inside, they are numbered with 24. The Verilog of a module that fits in 16 does not change.
    """
    net = _nir.Net
    narrow = {name: net.__dict__[name] for name in ("from_cell", "cell", "bit")}
    net.from_cell = classmethod(lambda cls, cell, bit: cls(cell << 24 | bit))
    net.cell, net.bit = property(lambda self: int(self) >> 24), property(lambda self: int(self) & 0xFFFFFF)
    try:
        yield
    finally:
        for name, value in narrow.items():
            setattr(net, name, value)
