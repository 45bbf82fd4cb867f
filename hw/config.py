"""Sizes of an RDU: frozen, validated dataclasses and the named presets. No HDL is imported here.

Every size of the hardware, the compiler and the driver comes from one :class:`RDUConfig`. A configuration that cannot be
built is refused when it is made, with a :class:`ConfigError` that names the value, the limit and the reason.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
from dataclasses import dataclass, field

__all__ = ["PRESETS", "AGCUConfig", "ConfigError", "DRAMConfig", "PCUConfig", "PMUConfig", "PeerConfig", "RDNConfig", "RDUConfig", "preset"]


class ConfigError(ValueError):
    """A configuration that cannot be built, or a preset that does not exist."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True, kw_only=True)
class PCUConfig:
    """Size of a pattern compute unit: a body of ``lanes`` x ``stages`` FP32/INT32 ALUs."""

    lanes: int = 8
    stages: int = 4
    accumulators: int = 8            # independent sums per lane-stage (systolic mode)
    broadcast_depth: int = 256       # values of k per row and buffer half (systolic mode)
    counter_levels: int = 5
    counter_bits: int = 16
    vector_inputs: int = 4
    vector_outputs: int = 1
    scalar_inputs: int = 2
    scalar_outputs: int = 1
    control_wires: int = 4
    sequence_bits: int = 8

    def __post_init__(self) -> None:
        _require(_power_of_two(self.lanes) and 2 <= self.lanes <= 64,
                 f"pcu.lanes={self.lanes} must be a power of two from 2 to 64 (the reduction tree is binary)")
        _require(1 <= self.stages <= 16, f"pcu.stages={self.stages} must be from 1 to 16")
        _require(_power_of_two(self.accumulators) and 4 <= self.accumulators <= 32,
                 f"pcu.accumulators={self.accumulators} must be a power of two from 4 to 32 (at least the MAC latency)")
        _require(self.broadcast_depth % (2 * self.lanes) == 0,
                 f"pcu.broadcast_depth={self.broadcast_depth} must be a multiple of 2 x lanes={2 * self.lanes} (one packed vector)")
        _require(self.vector_inputs >= 3,
                 f"pcu.vector_inputs={self.vector_inputs} must be at least 3: weights, rows and initial values of a systolic program")
        _require(5 <= self.counter_levels <= 8, f"pcu.counter_levels={self.counter_levels} must be from 5 to 8")

    @property
    def macs_per_cycle(self) -> int:
        return self.lanes * self.stages


@dataclass(frozen=True, kw_only=True)
class PMUConfig:
    """Size of a pattern memory unit: ``banks`` single-ported banks, each ``bank_rows`` vectors deep."""

    lanes: int = 8
    banks: int = 8
    bank_rows: int = 256
    counter_levels: int = 5
    counter_bits: int = 16
    vector_inputs: int = 4
    vector_outputs: int = 2          # one per read engine
    scalar_inputs: int = 2
    scalar_outputs: int = 2
    control_wires: int = 4
    sequence_bits: int = 8
    address_stages: int = 4          # of the address pipeline, shared by all engines
    ecc: bool = False                # SECDED check bits in the scratchpad

    def __post_init__(self) -> None:
        _require(_power_of_two(self.lanes), f"pmu.lanes={self.lanes} must be a power of two")
        _require(_power_of_two(self.banks), f"pmu.banks={self.banks} must be a power of two (bank bits select a bank)")
        _require(_power_of_two(self.bank_rows), f"pmu.bank_rows={self.bank_rows} must be a power of two")
        _require(0 <= self.address_stages <= 7,
                 f"pmu.address_stages={self.address_stages} must be from 0 to 7 (packets wait in a queue of 8)")

    @property
    def words(self) -> int:
        """Capacity in 32-bit words."""
        return self.lanes * self.banks * self.bank_rows


@dataclass(frozen=True, kw_only=True)
class RDNConfig:
    """Size of the reconfigurable dataflow network."""

    lanes: int = 8
    labels: int = 4                  # virtual circuits per link
    buffer_depth: int = 2            # packets per label and input port
    dynamic_slots: int = 0           # buffers for dynamic packets per input port; 0: none of that hardware is there
    coordinate_bits: int = 4         # of a row or column in a dynamic packet's destination
    local_links: int = 2             # vector links between a switch and its unit, each way
    sequence_bits: int = 8
    control_wires: int = 4           # single-bit wires per link of the control fabric
    rate_bits: int = 8               # resolution of the throttle's rate: tokens in 1/2**rate_bits packet per cycle

    def __post_init__(self) -> None:
        _require(1 <= self.labels <= 16, f"rdn.labels={self.labels} must be from 1 to 16")
        _require(2 <= self.buffer_depth <= 8,
                 f"rdn.buffer_depth={self.buffer_depth} must be from 2 (the credit round trip) to 8")
        _require(self.local_links in (1, 2), f"rdn.local_links={self.local_links} must be 1 or 2")
        _require(self.dynamic_slots == 0 or 2 <= self.dynamic_slots <= 16,
                 f"rdn.dynamic_slots={self.dynamic_slots} must be 0 or from 2 (the credit round trip) to 16")
        _require(1 <= self.coordinate_bits <= 6, f"rdn.coordinate_bits={self.coordinate_bits} must be from 1 to 6")


@dataclass(frozen=True, kw_only=True)
class AGCUConfig:
    """Size of an address generation and coalescing unit."""

    lanes: int = 8
    load_engines: int = 2
    store_engines: int = 2
    counter_levels: int = 5
    counter_bits: int = 16
    outstanding: int = 128           # reads, and as many writes, in flight per AGCU
    segments: int = 8
    scalar_inputs: int = 2
    scalar_outputs: int = 1
    control_wires: int = 4
    sequence_bits: int = 8

    def __post_init__(self) -> None:
        _require(_power_of_two(self.outstanding) and self.outstanding >= 4,
                 f"agcu.outstanding={self.outstanding} must be a power of two, at least 4")
        _require(_power_of_two(self.segments), f"agcu.segments={self.segments} must be a power of two")

    @property
    def beat_bytes(self) -> int:
        """Bytes of one memory beat: one vector."""
        return 4 * self.lanes

    @property
    def tag_bits(self) -> int:
        """Width of a memory request's tag: a slot of the load pool or, with the top bit set, of the store pool."""
        return self.outstanding.bit_length()


@dataclass(frozen=True, kw_only=True)
class DRAMConfig:
    """One memory tier: ``channels`` equal channels; ``timing`` names a preset of hw/dram/timing.py."""

    channels: int
    timing: str
    megabytes_per_channel: int
    ecc: bool = False                # SECDED: 8 check bits beside every 64 bits

    def __post_init__(self) -> None:
        _require(_power_of_two(self.channels), f"dram.channels={self.channels} must be a power of two (interleaving)")
        _require(_power_of_two(self.megabytes_per_channel),
                 f"dram.megabytes_per_channel={self.megabytes_per_channel} must be a power of two")

    @property
    def bytes(self) -> int:
        """Capacity of the tier in bytes."""
        return self.channels * self.megabytes_per_channel << 20


@dataclass(frozen=True, kw_only=True)
class PeerConfig:
    """Links to other sockets."""

    links: int = 0                   # 0: no hardware at all
    beat_cycles: int = 2             # cycles between beats: the link's bandwidth is a beat in so many cycles, each way
    inbox_beats: int = 64            # room for each AGCU's stream; covers beat_cycles x the round trip

    def __post_init__(self) -> None:
        _require(0 <= self.links <= 16, f"peer.links={self.links} must be from 0 to 16 (4 address bits)")
        _require(1 <= self.beat_cycles <= 64, f"peer.beat_cycles={self.beat_cycles} must be from 1 to 64")
        _require(4 <= self.inbox_beats <= 1024, f"peer.inbox_beats={self.inbox_beats} must be from 4 to 1024")


@dataclass(frozen=True, kw_only=True)
class RDUConfig:
    """One socket: a tile of ``rows`` x ``columns`` switches, its AGCUs, and the memory tiers."""

    name: str
    rows: int
    columns: int
    agcus_per_edge: int = 2
    pcu_parity: int = 0              # of row + column of the grid points that hold a PCU
    groups: int = 2                  # sets of units that can be launched independently
    shadow: bool = True              # the next kernel's program loads into shadows while the present one runs
    pcu: PCUConfig = field(default_factory=PCUConfig)
    pmu: PMUConfig = field(default_factory=PMUConfig)
    rdn: RDNConfig = field(default_factory=RDNConfig)
    agcu: AGCUConfig = field(default_factory=AGCUConfig)
    hbm: DRAMConfig = field(default_factory=lambda: DRAMConfig(channels=2, timing="hbm2", megabytes_per_channel=16))
    ddr: DRAMConfig = field(default_factory=lambda: DRAMConfig(channels=1, timing="ddr4-3200", megabytes_per_channel=64))
    peer: PeerConfig = field(default_factory=PeerConfig)

    def __post_init__(self) -> None:
        _require(re.fullmatch("[A-Za-z0-9_]+", self.name) is not None,
                 f"name={self.name!r} must be made of letters, digits and _: it becomes part of Verilog names and file names")
        _require(1 <= self.rows <= 64 and 2 <= self.columns <= 64,
                 f"rows={self.rows}, columns={self.columns}: the grid must be from 1x2 to 64x64")
        for part in ("pmu", "rdn", "agcu"):
            lanes = getattr(self, part).lanes
            _require(lanes == self.pcu.lanes,
                     f"{part}.lanes={lanes} differs from pcu.lanes={self.pcu.lanes}: every unit speaks vectors of the same width")
            bits = getattr(self, part).sequence_bits
            _require(bits == self.pcu.sequence_bits,
                     f"{part}.sequence_bits={bits} differs from pcu.sequence_bits={self.pcu.sequence_bits}")
        _require(self.pcu_parity in (0, 1), f"pcu_parity={self.pcu_parity} must be 0 or 1")
        _require(1 <= self.agcus_per_edge <= self.rows,
                 f"agcus_per_edge={self.agcus_per_edge} must be from 1 to rows={self.rows}")
        self._check_ports()
        if self.rdn.dynamic_slots:
            _require(max(self.rows, self.columns) <= 1 << self.rdn.coordinate_bits,
                     f"rdn.coordinate_bits={self.rdn.coordinate_bits} cannot name every switch of {self.rows}x{self.columns}")
        _require(2 + self.peer.links <= self.agcu.segments,
                 f"peer.links={self.peer.links} and the two memories need more than agcu.segments={self.agcu.segments}")
        _require(not self.peer.links or len(self.agcu_ports) <= 16,
                 f"peer.links={self.peer.links}: a link serves 16 AGCUs at most, not {len(self.agcu_ports)}")

    def _check_ports(self) -> None:
        """A port of a unit is a label of the link to its switch."""
        labels, links = self.rdn.labels, self.rdn.local_links
        for unit, name in itertools.product(("pcu", "pmu"), ("vector_inputs", "vector_outputs")):
            count = getattr(getattr(self, unit), name)
            _require(count <= links * labels, f"{unit}.{name}={count} exceeds rdn.local_links x rdn.labels={links * labels}")
        single = (*itertools.product(("pcu", "pmu", "agcu"), ("scalar_inputs", "scalar_outputs")), ("agcu", "load_engines"),
                  ("agcu", "store_engines"))
        for unit, name in single:
            count = getattr(getattr(self, unit), name)
            _require(count <= labels, f"{unit}.{name}={count} exceeds rdn.labels={labels}")
        _require(self.pmu.vector_outputs == self.pmu.scalar_outputs,
                 f"pmu.vector_outputs={self.pmu.vector_outputs} differs from pmu.scalar_outputs={self.pmu.scalar_outputs}: "
                 "a read engine has one of each")

    # Geometry -----------------------------------------------------------------------------------------------------------
    @property
    def lanes(self) -> int:
        """Words per vector."""
        return self.pcu.lanes

    @property
    def beat_bytes(self) -> int:
        """Bytes per memory beat (one vector)."""
        return 4 * self.lanes

    def is_pcu(self, row: int, column: int) -> bool:
        """Whether grid point (row, column) holds a PCU or a PMU: a checkerboard."""
        return (row + column) % 2 == self.pcu_parity

    @property
    def grid(self) -> list[tuple[int, int]]:
        return [(row, column) for row in range(self.rows) for column in range(self.columns)]

    @property
    def agcu_ports(self) -> list[tuple[int, str]]:
        """(row, "west" | "east") of each AGCU, evenly spaced along the edges; the index is the AGCU's number."""
        step = self.rows / self.agcus_per_edge
        rows = [int(index * step) for index in range(self.agcus_per_edge)]
        return [(row, edge) for edge in ("west", "east") for row in rows]

    # Unit numbers on the config network -----------------------------------------------------------------------------------
    def switch_id(self, row: int, column: int) -> int:
        return row * self.columns + column

    def unit_id(self, row: int, column: int) -> int:
        """Config-network number of the PCU or PMU at (row, column)."""
        return self.rows * self.columns + row * self.columns + column

    def agcu_id(self, index: int) -> int:
        return 2 * self.rows * self.columns + index

    @property
    def channels(self) -> list[str]:
        """What the top-level network leads to, in the order of its ports: "hbm0", "ddr0", "link0" and so on."""
        return [f"{name}{index}" for name, count in (("hbm", self.hbm.channels), ("ddr", self.ddr.channels), ("link", self.peer.links))
                for index in range(count)]

    def channel_id(self, index: int) -> int:
        """Number by which the event counters of ``channels[index]`` are selected; there is nothing to configure."""
        return self.agcu_id(len(self.agcu_ports)) + index

    # JSON -----------------------------------------------------------------------------------------------------------------
    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> RDUConfig:
        """Inverse of :meth:`to_json`; unknown keys are refused by name."""
        parts = {"pcu": PCUConfig, "pmu": PMUConfig, "rdn": RDNConfig, "agcu": AGCUConfig, "hbm": DRAMConfig, "ddr": DRAMConfig,
                 "peer": PeerConfig}
        values = json.loads(text)

        def build(kind: type, values: dict, where: str):
            known = {f.name for f in dataclasses.fields(kind)}
            unknown = sorted(set(values) - known)
            _require(not unknown, f"unknown key {unknown} in {where}; known keys: {sorted(known)}")
            return kind(**{k: build(parts[k], v, k) if k in parts and kind is cls else v for k, v in values.items()})

        return build(cls, values, "configuration")

    @property
    def digest(self) -> int:
        """32-bit hash of every size, kept in kernel images and in the device's CONFIG_HASH register."""
        return int.from_bytes(hashlib.sha256(self.to_json().encode()).digest()[:4], "little")


def _sized(name: str, rows: int, columns: int, lanes: int, stages: int, **changes) -> RDUConfig:
    parts = {
        "pcu": PCUConfig(lanes=lanes, stages=stages, **changes.pop("pcu", {})),
        "pmu": PMUConfig(lanes=lanes, **changes.pop("pmu", {})),
        "rdn": RDNConfig(lanes=lanes, **changes.pop("rdn", {})),
        "agcu": AGCUConfig(lanes=lanes, **changes.pop("agcu", {})),
    }
    return RDUConfig(name=name, rows=rows, columns=columns, **parts, **changes)


PRESETS: dict[str, RDUConfig] = {config.name: config for config in (
    _sized("tiny", 2, 2, 4, 2, agcus_per_edge=1, pcu={"broadcast_depth": 32}, pmu={"banks": 4, "bank_rows": 32},
           hbm=DRAMConfig(channels=1, timing="hbm2", megabytes_per_channel=1),
           ddr=DRAMConfig(channels=1, timing="ddr4-3200", megabytes_per_channel=1)),
    _sized("small", 4, 4, 8, 4),
    _sized("medium", 8, 8, 8, 4, agcus_per_edge=4, rdn={"labels": 8},
           hbm=DRAMConfig(channels=4, timing="hbm2", megabytes_per_channel=16)),
    _sized("paper_unit", 1, 3, 32, 6, agcus_per_edge=1, pcu_parity=1, pmu={"banks": 16, "bank_rows": 256},
           hbm=DRAMConfig(channels=8, timing="hbm2", megabytes_per_channel=16)),          # a vector of 128 B every cycle, with room
    _sized("sn40l", 40, 52, 32, 6, agcus_per_edge=8, rdn={"labels": 8}, pmu={"banks": 16, "bank_rows": 256},
           hbm=DRAMConfig(channels=32, timing="hbm2", megabytes_per_channel=2048),
           ddr=DRAMConfig(channels=8, timing="ddr4-3200", megabytes_per_channel=1 << 18)),
)}


def preset(name: str) -> RDUConfig:
    """The preset called ``name``. Raises :class:`ConfigError` naming those that exist."""
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; presets are: {', '.join(PRESETS)}")
    return PRESETS[name]
