"""Timing and geometry of memory channels, in core cycles, from public figures. No HDL is imported here.

The figures of a device are kept as published, in nanoseconds or device clocks (:class:`DeviceFigures`), and turned into whole
core cycles, rounded up, at the core clock of the preset (``core_mhz``). Controller and device model see one *beat* (the unit of
a memory request) as one column access; how a beat becomes bursts is decided here:

- A beat of several bursts is spread over as many bank groups, which then work in lockstep as one (a DDR4-3200 burst of 16 bytes
  lasts 2.5 ns and a bank group takes one every 5 ns: two groups together give 32 bytes every 5 ns from *any* bank). The number
  of groups shrinks, the row grows, and rules that count activates count each one for every group in it.
- A beat smaller than a burst: the channel is that much narrower (half an HBM channel for 16-byte beats).

Sources: JESD235C (HBM2), JESD238 (HBM3), JESD79-4C (DDR4), JESD79-5B (DDR5); where a standard leaves a figure to the vendor,
the one that the open simulators DRAMsim3 and Ramulator 2 use for the same speed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hw.config import ConfigError, DRAMConfig

__all__ = ["DEVICES", "DRAMGeometry", "DRAMTiming", "DeviceFigures", "dram_timing"]


@dataclass(frozen=True, kw_only=True)
class DeviceFigures:
    """A channel as published: times in nanoseconds; ``burst_bytes`` move in ``burst_ns``, a row holds ``page_bytes``."""

    core_mhz: int                # core clock at which a burst (or a beat of two) is a whole number of cycles
    command_buses: int           # 2: row and column commands have a bus each (HBM)
    burst_bytes: int
    burst_ns: float
    bank_groups: int
    banks_per_group: int
    page_bytes: int
    cl: float
    cwl: float
    rcd: float
    rp: float
    ras: float
    rc: float
    rrd_s: float
    rrd_l: float
    faw: float
    ccd_l: float
    ccd_l_write: float
    wtr_s: float
    wtr_l: float
    rtp: float
    wr: float
    rfc: float
    refi: float
    turnaround: float            # idle time of the data bus between a read and a write


DEVICES: dict[str, DeviceFigures] = {
    # 2 Gb/s a pin, 128-bit legacy channel, burst length 2, 4 Gb; clock 1 GHz. JESD235C; DRAMsim3 HBM2_4Gb_x128.
    "hbm2": DeviceFigures(
        core_mhz=1000, command_buses=2, burst_bytes=32, burst_ns=1, bank_groups=4, banks_per_group=4, page_bytes=2048,
        cl=14, cwl=4, rcd=14, rp=14, ras=34, rc=48, rrd_s=4, rrd_l=6, faw=30, ccd_l=2, ccd_l_write=2, wtr_s=6, wtr_l=8,
        rtp=6, wr=16, rfc=260, refi=3900, turnaround=1),
    # 6.4 Gb/s a pin, one 32-bit pseudo channel, burst length 8, 8 Gb a channel; clock 0.625 ns. JESD238; Ramulator 2.1
    # HBM3_6400Mbps. tRCD is that of reads (writes need less); the idle time makes up its nRTW of 20 clocks.
    "hbm3": DeviceFigures(
        core_mhz=800, command_buses=2, burst_bytes=32, burst_ns=1.25, bank_groups=4, banks_per_group=4, page_bytes=1024,
        cl=12.5, cwl=6.25, rcd=19.375, rp=16.25, ras=28.125, rc=45, rrd_s=2.5, rrd_l=3.125, faw=15, ccd_l=2.5, ccd_l_write=2.5,
        wtr_s=4.375, wtr_l=6.25, rtp=5.625, wr=20.625, rfc=350, refi=3900, turnaround=5),
    # 16-bit channel of two x8 8-Gb devices, 3200AA (22-22-22), CWL 16, tCK 0.625 ns. JESD79-4C tables 102, 136, 161.
    "ddr4-3200": DeviceFigures(
        core_mhz=1000, command_buses=1, burst_bytes=16, burst_ns=2.5, bank_groups=4, banks_per_group=4, page_bytes=2048,
        cl=13.75, cwl=10, rcd=13.75, rp=13.75, ras=32, rc=45.75, rrd_s=2.5, rrd_l=4.9, faw=21, ccd_l=5, ccd_l_write=5, wtr_s=2.5,
        wtr_l=7.5, rtp=7.5, wr=15, rfc=350, refi=7800, turnaround=1.25),
    # 16-bit half of a sub-channel of two x8 16-Gb devices, 4800B (40-39-39), CWL 38, tCK 0.4167 ns. JESD79-5B. Writes to one
    # bank group: tCCD_L_WR2 (whole bursts); a masked write is the controller's read-modify-write when ECC is on.
    "ddr5-4800": DeviceFigures(
        core_mhz=900, command_buses=1, burst_bytes=32, burst_ns=10 / 3, bank_groups=8, banks_per_group=4, page_bytes=2048,
        cl=16.67, cwl=15.83, rcd=16.25, rp=16.25, ras=32, rc=48.25, rrd_s=10 / 3, rrd_l=5, faw=13.34, ccd_l=5, ccd_l_write=10,
        wtr_s=2.5, wtr_l=10, rtp=7.5, wr=30, rfc=295, refi=3900, turnaround=1.67),
}


def _bits(count: int) -> int:
    return (count - 1).bit_length()


@dataclass(frozen=True, kw_only=True)
class DRAMGeometry:
    """What a channel is made of, every number a power of two; ``columns`` counts beats of ``beat_bytes``."""

    beat_bytes: int
    bank_groups: int
    banks_per_group: int
    rows: int
    columns: int

    @property
    def banks(self) -> int:
        return self.bank_groups * self.banks_per_group

    @property
    def group_bits(self) -> int:
        return _bits(self.bank_groups)

    @property
    def bank_bits(self) -> int:
        """Width of a bank's number within its group."""
        return _bits(self.banks_per_group)

    @property
    def row_bits(self) -> int:
        return _bits(self.rows)

    @property
    def column_bits(self) -> int:
        return _bits(self.columns)

    @property
    def address_bits(self) -> int:
        """Width of a channel-local beat index."""
        return self.group_bits + self.bank_bits + self.row_bits + self.column_bits

    @property
    def bytes(self) -> int:
        return self.beat_bytes << self.address_bits


@dataclass(frozen=True, kw_only=True)
class DRAMTiming:
    """The rules of one channel, in core cycles between commands; see :func:`dram_timing`.

    ``cl`` to the first, ``cl + beat_cycles`` to the whole beat of a read; ``cwl`` to the data of a write. At most
    ``faw_activates`` activates lie within ``faw``. Derived rules (:attr:`read_to_write`, ...) are between command and command
    as well.
    """

    name: str
    core_mhz: int
    command_buses: int
    geometry: DRAMGeometry
    beat_cycles: int
    cl: int
    cwl: int
    rcd: int
    rp: int
    ras: int
    rc: int
    rrd_s: int
    rrd_l: int
    faw: int
    faw_activates: int
    ccd_s: int
    ccd_l: int
    ccd_l_write: int
    wtr_s: int
    wtr_l: int
    rtp: int
    wr: int
    rfc: int
    refi: int
    turnaround: int

    def __post_init__(self) -> None:
        if self.cwl < 2 or self.cl < 2:
            raise ConfigError(f"dram timing {self.name}: cl={self.cl} and cwl={self.cwl} must be at least 2 (registers)")
        if self.rfc >= self.refi:
            raise ConfigError(f"dram timing {self.name}: rfc={self.rfc} leaves no time in refi={self.refi}")

    @property
    def read_to_write(self) -> int:
        return max(1, self.cl + self.beat_cycles + self.turnaround - self.cwl)

    @property
    def write_to_read_s(self) -> int:
        return self.cwl + self.beat_cycles + self.wtr_s

    @property
    def write_to_read_l(self) -> int:
        return self.cwl + self.beat_cycles + self.wtr_l

    @property
    def write_to_precharge(self) -> int:
        return self.cwl + self.beat_cycles + self.wr

    @property
    def peak_bytes_per_cycle(self) -> float:
        return self.geometry.beat_bytes / self.ccd_s

    @property
    def refresh_limit(self) -> float:
        """Share of time that all-bank refresh leaves."""
        return 1 - self.rfc / self.refi


def dram_timing(config: DRAMConfig, beat_bytes: int) -> DRAMTiming:
    """Rules and geometry of each channel of ``config`` for beats of ``beat_bytes``.

    Errors: :class:`ConfigError` for an unknown preset, or a channel too small for one row in each bank.
    """
    if config.timing not in DEVICES:
        raise ConfigError(f"dram.timing={config.timing!r} is unknown; presets: {', '.join(DEVICES)}")
    device = DEVICES[config.timing]

    def cycles(ns: float) -> int:
        return math.ceil(ns * device.core_mhz / 1000 - 1e-6)

    bursts = max(1, beat_bytes // device.burst_bytes)
    lockstep = min(bursts, device.bank_groups)
    narrower = max(1, device.burst_bytes // beat_bytes)
    row_bytes = device.page_bytes * lockstep // narrower
    groups = device.bank_groups // lockstep
    rows = (config.megabytes_per_channel << 20) // (groups * device.banks_per_group * row_bytes)
    if rows < 2:
        raise ConfigError(f"dram.megabytes_per_channel={config.megabytes_per_channel} is too small for {config.timing}: "
                          f"{groups * device.banks_per_group} banks of two rows of {row_bytes} bytes")
    beat = cycles(bursts * device.burst_ns)
    skew = cycles((lockstep - 1) * device.rrd_s)          # from the first to the last activate of a lockstep row
    tail = beat - cycles(device.burst_ns)                 # from the first to the last burst of a beat
    return DRAMTiming(
        name=config.timing, core_mhz=device.core_mhz, command_buses=device.command_buses,
        geometry=DRAMGeometry(beat_bytes=beat_bytes, bank_groups=groups, banks_per_group=device.banks_per_group, rows=rows,
                              columns=row_bytes // beat_bytes),
        beat_cycles=beat, cl=cycles(device.cl), cwl=cycles(device.cwl),
        rcd=cycles(device.rcd) + max(0, skew - tail), rp=cycles(device.rp), ras=cycles(device.ras) + skew,
        rc=cycles(device.rc) + skew,
        rrd_s=cycles(lockstep * device.rrd_s), rrd_l=max(cycles(device.rrd_l), cycles(lockstep * device.rrd_s)),
        faw=cycles(device.faw) + (skew if lockstep == 4 else 0), faw_activates=max(1, 4 // lockstep),
        ccd_s=beat, ccd_l=max(beat, cycles(device.ccd_l) + _extra(bursts, lockstep, device, cycles)),
        ccd_l_write=max(beat, cycles(device.ccd_l_write) + _extra(bursts, lockstep, device, cycles)),
        wtr_s=cycles(device.wtr_s), wtr_l=cycles(device.wtr_l), rtp=cycles(device.rtp) + tail, wr=cycles(device.wr),
        rfc=cycles(device.rfc), refi=math.floor(device.refi * device.core_mhz / 1000), turnaround=cycles(device.turnaround))


def _extra(bursts: int, lockstep: int, device: DeviceFigures, cycles) -> int:
    """A group that gives several bursts of one beat starts the last of them later than the first."""
    return cycles((bursts // lockstep - 1) * lockstep * device.burst_ns)
