"""A mesh of switches on the RTL under synthetic traffic of dynamic packets; the loop and the checks are in C++."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from hw.config import RDNConfig
from hw.hierarchy import to_verilog
from hw.rdn.dynamic import PORT_BITS, destination_layout
from hw.rdn.ends import NodeWithEnds
from hw.rdn.node import LOCAL
from hw.rdn.sender import sender_program
from sim.bench_library import CPP, glue, load, storage_bytes
from sim.build import build
from sim.ports import Ports

__all__ = ["HOT_SHARE", "PATTERNS", "MeshTraffic", "Point", "TrafficError", "mesh_size"]

PATTERNS = ("uniform", "transpose", "bit-complement", "neighbour", "hotspot")
HOT_SHARE = 0.1                      # of "hotspot" traffic goes to one node in the middle, the rest is uniform


class TrafficError(AssertionError):
    """A packet was lost, came twice, out of order or to the wrong node."""


class _Settings(ctypes.Structure):
    _fields_ = ([(name, ctypes.c_int32) for name in ("rows", "columns", "pattern", "label_bits", "port_bits", "coordinate_bits",
                                                     "exit_port", "sequence_bits")]
                + [("rate", ctypes.c_double), ("hot_share", ctypes.c_double)]
                + [(name, ctypes.c_uint64) for name in ("warm", "measured", "drain", "seed")])


class _Result(ctypes.Structure):
    _fields_ = ([("accepted", ctypes.c_double), ("mean_latency", ctypes.c_double)]
                + [(name, ctypes.c_uint64) for name in ("delivered", "born", "undelivered", "worst_latency", "fewest", "most")])


@dataclass(frozen=True)
class Point:
    """What one offered rate gives: packets per node and cycle that arrived; latency in cycles from the moment a packet is made
    to the moment its unit has it; ``drained``: every packet made while measuring arrived."""

    offered: float
    accepted: float
    mean_latency: float
    worst_latency: int
    drained: bool
    fairness: float                  # packets taken from the worst-off node / from the best-off


def mesh_size(text: str, most: int = 16) -> tuple[int, int]:
    """``"4x8"`` as (rows, columns). Raises ValueError."""
    sizes = text.lower().split("x")
    if len(sizes) != 2 or not all(size.isdecimal() and 1 < int(size) <= most for size in sizes):
        raise ValueError(f"mesh={text} must be ROWSxCOLUMNS, each from 2 to {most}")
    return int(sizes[0]), int(sizes[1])


class _Ports(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_int32) for name in ("source_valid", "source_ready", "source_payload", "sink_valid", "sink_ready",
                                                      "sink_payload", "position", "sender")),
                ("into", ctypes.c_int32 * 16), ("out", ctypes.c_int32 * 16)]


class MeshTraffic:
    """``rows`` x ``columns`` switches, one unit at each, dynamic packets of one word.

    Parameters: ``slots``, packets that each input can hold; ``labels``, virtual circuits beside them (unused, but there).
    Latency is counted from the packet's making to its arrival in the unit: a queue at the source counts.
    One node is Verilated, for meshes of all sizes.
    """

    def __init__(self, rows: int, columns: int, *, slots: int, labels: int = 1):
        self.rows, self.columns = rows, columns
        self.config = RDNConfig(lanes=1, labels=labels, buffer_depth=2, dynamic_slots=slots, coordinate_bits=4, local_links=1)
        node = NodeWithEnds(self.config)
        verilog = to_verilog(node, "traffic_node")
        ports = Ports(node, verilog, "traffic_node")
        library = build(verilog, "traffic_node", sources=[CPP / "mesh_traffic.cpp"], generated={"glue.cpp": glue(ports)})
        self._lib = load(library)
        self._lib.traffic_new.restype, self._lib.traffic_message.restype = ctypes.c_void_p, ctypes.c_char_p
        parts = ("valid", "label", "payload", "credit")
        links = [[ports.index[f"{side}[{port}].{part}"] for port in range(LOCAL) for part in parts] for side in ("inputs", "outputs")]
        ends = [ports.index[f"{end}.{part}"] for end, parts in (("source", ("valid", "ready", "payload")),
                                                                ("sink", ("valid", "ready", "payload"))) for part in parts]
        numbers = _Ports(*ends, ports.index["position"], ports.index["sender"], *((ctypes.c_int32 * 16)(*side) for side in links))
        self._handle = ctypes.c_void_p(self._lib.traffic_new(ctypes.byref(numbers)))
        program = sender_program(self.config, 1).const([{"dynamic": {"enable": 1, "by_data": 1}}]).as_bits()
        size = storage_bytes(ports.ports[ports.index["sender"]].width)
        self._lib.traffic_build(self._handle, rows, columns, self.config.coordinate_bits, program.to_bytes(size, "little"), size)

    def run(self, pattern: str, rate: float, *, warm: int = 1000, measured: int = 3000, drain: int = 3000, seed: int = 1) -> Point:
        """Traffic at ``rate`` packets per node and cycle. Raises :class:`TrafficError` when the network breaks its contract."""
        if pattern not in PATTERNS:
            raise ValueError(f"pattern={pattern} must be one of: {', '.join(PATTERNS)}")
        if pattern == "transpose" and self.rows != self.columns:
            raise ValueError(f"pattern=transpose needs as many rows as columns, not {self.rows}x{self.columns}")
        if not 0 < rate <= 1:
            raise ValueError(f"rate={rate} must be above 0 and at most 1 packet per node and cycle")
        layout = destination_layout(self.config.coordinate_bits, self.config.labels)
        settings = _Settings(self.rows, self.columns, PATTERNS.index(pattern), layout["label"].width, PORT_BITS,
                             self.config.coordinate_bits, LOCAL, self.config.sequence_bits, rate, HOT_SHARE, warm, measured, drain, seed)
        result = _Result()
        if not self._lib.traffic_run(self._handle, ctypes.byref(settings), ctypes.byref(result)):
            raise TrafficError(self._lib.traffic_message(self._handle).decode())
        return Point(rate, result.accepted, result.mean_latency, result.worst_latency, not result.undelivered,
                     result.fewest / max(result.most, 1))

    def close(self) -> None:
        if self._handle:
            self._lib.traffic_delete(self._handle)
            self._handle = None

    def __enter__(self) -> MeshTraffic:
        return self

    def __exit__(self, *_) -> None:
        self.close()
