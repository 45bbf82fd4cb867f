"""The C side of a bench, seen from Python: generated glue, the functions of the library, payloads as bytes and back."""

from __future__ import annotations

import ctypes
import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from amaranth.hdl import Const, Shape, Value
from amaranth.lib import data

from .ports import Ports

__all__ = ["CPP", "HOST", "Collected", "Condition", "as_int", "declare", "glue", "load", "pack", "storage_bytes"]

CPP = Path(__file__).parent / "cpp"
HOST = [CPP / "host.cpp", Path(__file__).parent / "peer/peer_link.cpp"]      # the clock loop of a whole device


class Condition(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("index", ctypes.c_int32), ("value", ctypes.c_uint64))


@dataclass
class Collected:
    """What went over one stream or link since it was attached. Reading it copies what has arrived so far."""

    bench: object                        # a UnitBench; must not be closed when this is read
    endpoint: int
    width: int

    @property
    def _library(self) -> ctypes.CDLL:
        return self.bench.lib

    def __len__(self) -> int:
        return self._library.bench_count(self.bench.handle, self.endpoint)

    def _array(self, function: str, dtype, columns: int = 1) -> np.ndarray:
        count = len(self) * columns
        address = getattr(self._library, function)(self.bench.handle, self.endpoint)
        if not count or not address:
            return np.empty(0, dtype)
        return np.frombuffer((ctypes.c_char * (count * np.dtype(dtype).itemsize)).from_address(address), dtype).copy()

    @property
    def bytes(self) -> np.ndarray:
        """One row per payload: its bytes, little-endian, as many as the smallest of 1, 2, 4, 8, 4n that hold it."""
        size = self._library.bench_bytes(self.bench.handle, self.endpoint)
        return self._array("bench_payloads", np.uint8, size).reshape(-1, size)

    @property
    def words(self) -> np.ndarray:
        """One row of 32-bit words per payload, low word first: ``words[:, :lanes]`` is the data of vector packets."""
        raw = self.bytes
        raw = np.pad(raw, ((0, 0), (0, -raw.shape[1] % 4)))
        return np.ascontiguousarray(raw).view(np.uint32)

    @property
    def floats(self) -> np.ndarray:
        return self.words.view(np.float32)

    def ints(self) -> list[int]:
        return [int.from_bytes(row.tobytes(), "little") for row in self.bytes]

    @property
    def cycles(self) -> np.ndarray:
        """The cycle of each transfer."""
        return self._array("bench_cycles", np.uint64).astype(np.int64)

    @property
    def labels(self) -> np.ndarray:
        """The label of each packet of a link."""
        return self._array("bench_labels", np.uint32)


_loaded: set[Path] = set()
_copies = itertools.count(1)


def load(library: Path) -> ctypes.CDLL:
    """The library with global variables of its own (device models keep their storage in some), however often it is loaded."""
    if library not in _loaded:
        _loaded.add(library)
        return ctypes.CDLL(str(library))
    copy = os.memfd_create(library.parent.name)
    try:
        with library.open("rb") as source:
            os.sendfile(copy, source.fileno(), 0, library.stat().st_size)
        # The loader takes equal names for equal files, and descriptors are used again: no two copies may have the same name.
        spelling = "".join("./" if bit == "0" else ".//" for bit in f"{next(_copies):b}")
        return ctypes.CDLL(f"/proc/self/{spelling}fd/{copy}")
    finally:
        os.close(copy)


def glue(ports: Ports) -> str:
    """The C++ that tells the clock loop where the design's ports are."""
    # Verilator keeps double underscores for itself and spells those of a design differently.
    members = ((port, port.verilog.replace("__", "___05F")) for port in ports.ports)
    rows = "\n".join(f'        ports.push_back({{"{port.name}", &top->{name}, {port.width}}});' for port, name in members)
    clock, reset = ports.index.get("clk", -1), ports.index.get("rst", -1)
    return f'''#include "Vtop.h"
#include "{CPP / "glue.h"}"
class Design final : public DesignModel {{
public:
    Design() {{
{rows}
        clock = {clock}, reset = {reset};
    }}
}};
Model* makeModel() {{ return new Design; }}
'''


def pack(payloads, size: int, port) -> np.ndarray:
    """``payloads`` as rows of ``size`` bytes."""
    if isinstance(payloads, np.ndarray) and payloads.dtype.kind in "iuf":
        words = payloads if payloads.ndim == 2 else payloads.reshape(-1, 1)
        if words.dtype.kind == "f":
            words = words.astype(np.float32).view(np.uint32)
        raw = np.ascontiguousarray(words.astype(np.uint32) if words.dtype.itemsize != 4 else words).view(np.uint8)
        fits = raw[:, :size]
        if raw.shape[1] > size and raw[:, size:].any():
            raise ValueError(f"payloads of {raw.shape[1]} bytes do not fit in {size}")
        return np.ascontiguousarray(np.pad(fits, ((0, 0), (0, size - fits.shape[1]))))
    values: Iterable = payloads
    shape = port.shape if port else Shape(0)
    mask = (1 << port.width) - 1 if port else 0
    raw = b"".join((as_int(value, shape) & mask).to_bytes(size, "little") for value in values)
    return np.frombuffer(raw, np.uint8).reshape(-1, size) if size else np.zeros((len(list(payloads)), 0), np.uint8)


def as_int(value, shape) -> int:
    """The bits of ``value`` as a port of ``shape`` would hold it."""
    if isinstance(value, data.Const):
        return value.as_bits()
    if isinstance(value, dict | list | tuple):
        return data.Layout.cast(shape).const(value).as_bits()
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return int(np.float32(value).view(np.uint32))
    return Const.cast(Value.cast(value)).value


def storage_bytes(width: int) -> int:
    return next((size for size in (1, 2, 4, 8) if width <= 8 * size), -(-width // 32) * 4)


def declare(lib: ctypes.CDLL) -> ctypes.CDLL:
    handle, text, integer, u64 = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint64
    for name, result, arguments in (
        ("bench_new", handle, []), ("bench_delete", None, [handle]), ("bench_port", handle, [handle, integer]),
        ("bench_touch", None, [handle]), ("bench_monitor", None, [handle, integer]), ("bench_cycle", u64, [handle]),
        ("bench_message", text, [handle]), ("bench_settle", integer, [handle]), ("bench_reset", integer, [handle]),
        ("bench_stream", None, [handle, text, integer, integer, integer, integer]),
        ("bench_link", None, [handle, text, *[integer] * 7]),
        ("bench_attach", None, [handle, integer, integer, ctypes.c_double, text, u64, u64]),
        ("bench_feed", None, [handle, integer, integer, text, u64]), ("bench_bytes", ctypes.c_uint32, [handle, integer]),
        ("bench_count", u64, [handle, integer]), ("bench_transfers", u64, [handle, integer]),
        ("bench_pending", u64, [handle, integer]),
        ("bench_payloads", handle, [handle, integer]), ("bench_cycles", handle, [handle, integer]),
        ("bench_labels", handle, [handle, integer]),
        ("bench_run", integer, [handle, u64, ctypes.c_double, u64, ctypes.POINTER(Condition), integer]),
        ("bench_trace", None, [handle, text, u64, u64]), ("bench_trace_close", None, [handle]),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib
