"""The device model of a memory channel as an Amaranth component, and what the host reads from it."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
from amaranth.hdl import ClockSignal, Const, Instance, Module, ResetSignal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.config import DRAMConfig
from hw.dram.address import address_fields
from hw.dram.dfi import DFI
from hw.dram.timing import DRAMTiming, dram_timing

__all__ = ["COMMANDS", "SOURCES", "DRAMDevice", "commands", "inject", "number_from", "report", "rules_text", "set_rules", "storage",
           "violations"]

SOURCES = [Path(__file__).parent / name for name in ("dram_device.sv", "dram_device.cpp")]
COMMANDS = ("ACT", "PRE", "PREA", "REF", "RD", "WR")
GEOMETRY = ("beat_bytes", "bank_groups", "banks_per_group", "rows", "columns")
TIMES = ("command_buses", "beat_cycles", "cl", "cwl", "rcd", "rp", "ras", "rc", "rrd_s", "rrd_l", "faw", "faw_activates",
         "ccd_s", "ccd_l", "ccd_l_write", "wtr_s", "wtr_l", "rtp", "wr", "rfc", "refi", "turnaround")


def rules_text(timing: DRAMTiming, **changes: int) -> str:
    """The device's rules as its ``RULES`` parameter; ``changes`` replaces some."""
    values = {name: getattr(timing.geometry, name) for name in GEOMETRY} | {name: getattr(timing, name) for name in TIMES}
    fields = address_fields(timing)
    values |= {"low_column_bits": fields["low"], "low_group_bits": fields["group_low"], "middle_column_bits": fields["middle"]}
    unknown = changes.keys() - values.keys()
    if unknown:
        raise KeyError(f"no such rule: {sorted(unknown)}; rules: {sorted(values)}")
    return " ".join(f"{name}={value}" for name, value in (values | changes).items())


class DRAMDevice(wiring.Component):
    """The devices of one memory channel: they store, and check every timing rule and the refresh.

    Parameters: ``config``, the tier; ``channel_index``, the number by which :func:`storage` and the others find it, unique in a
    model;
    ``beat_bytes``; ``timing``, the rules to check if not those of ``config``; ``fatal``: a broken rule stops the simulation.
    Members: ``dfi`` In(DFI): the controller's border.
    Contract: reads and writes as :class:`hw.dram.dfi.DFI` says. Storage is zero at first and survives a reset.
    Only for Verilator, with :data:`SOURCES` among the sources.
    """

    def __init__(self, config: DRAMConfig, channel_index: int, beat_bytes: int, *, timing: DRAMTiming | None = None,
                 fatal: bool = True):
        self.timing = timing or dram_timing(config, beat_bytes)
        self.channel_index, self.fatal = channel_index, fatal
        self.ecc = config.ecc
        super().__init__({"dfi": In(DFI(self.timing, beat_bytes if config.ecc else 0))})

    def elaborate(self, platform):
        m = Module()
        t, dfi = self.timing, self.dfi
        ports = {
            f"i_{bus}_{name}": Value.cast(command[name])
            for bus, command in (("row", dfi.row), ("column", dfi.column)) for name, _ in command.shape()
        }
        if self.ecc:
            ports |= {"i_write_check": dfi.write_check, "o_read_check": dfi.read_check}
        else:
            ports["i_write_check"] = Const(0, t.geometry.beat_bytes)
        m.submodules.device = Instance(
            "dram_device", p_CHANNEL=self.channel_index, p_RULES=rules_text(t), p_READ_LATENCY=t.cl + t.beat_cycles,
            p_WRITE_LATENCY=t.cwl, p_DATA_BITS=8 * t.geometry.beat_bytes, p_GROUP_BITS=len(Value.cast(dfi.row.group)),
            p_BANK_BITS=len(Value.cast(dfi.row.bank)), p_ROW_BITS=t.geometry.row_bits, p_COLUMN_BITS=t.geometry.column_bits,
            p_ECC=int(self.ecc), p_FATAL=int(self.fatal), i_clk=ClockSignal(), i_rst=ResetSignal(), i_write_data=dfi.write_data,
            i_write_mask=dfi.write_mask, o_read_valid=dfi.read_valid, o_read_data=dfi.read_data, **ports)
        return m


def storage(lib: ctypes.CDLL, channel: int) -> np.ndarray:
    """The bytes of a channel, in the order of channel-local addresses: the model's own memory, not a copy."""
    size = ctypes.c_uint64()
    lib.rdu_dram_data.restype = ctypes.c_void_p
    address = lib.rdu_dram_data(channel, ctypes.byref(size))
    if not address:
        raise KeyError(f"the model has no memory channel {channel}")
    return np.frombuffer((ctypes.c_uint8 * size.value).from_address(address), np.uint8)


def number_from(lib: ctypes.CDLL, first: int) -> None:
    """A model that is made from now on adds ``first`` to its channel numbers: several models of one library stay apart."""
    lib.rdu_dram_base(first)


def violations(lib: ctypes.CDLL, channel: int) -> int:
    """How often a rule was broken on a channel."""
    lib.rdu_dram_violations.restype = ctypes.c_uint64
    return lib.rdu_dram_violations(channel)


def report(lib: ctypes.CDLL, channel: int) -> list[str]:
    """One line for each of the first broken rules: channel, cycle, command, bank, rule, cycles kept and needed."""
    lib.rdu_dram_report.restype = ctypes.c_char_p
    return lib.rdu_dram_report(channel).decode().splitlines()


def commands(lib: ctypes.CDLL, channel: int) -> dict[str, int]:
    """How many commands of each kind the devices have seen."""
    counts = (ctypes.c_uint64 * 7)()
    lib.rdu_dram_commands(channel, counts)
    return dict(zip(COMMANDS, counts, strict=False))


def inject(lib: ctypes.CDLL, channel: int, address: int, bit: int) -> None:
    """Flips a bit that is stored for the byte at ``address`` of a channel: 0 .. 7 of its data, 8 .. 15 of the check bits of its
    64-bit word. The controller is not told. The error goes away when the beat is written through the controller."""
    lib.rdu_dram_inject.argtypes = (ctypes.c_int, ctypes.c_uint64, ctypes.c_int)
    if lib.rdu_dram_inject(channel, address, bit):
        raise ValueError(f"channel {channel} has no address {address:#x}, or bit={bit} is not from 0 to 15")


def set_rules(lib: ctypes.CDLL, channel: int, timing: DRAMTiming, **changes: int) -> None:
    """Gives the device of a channel other rules and an empty report, to see that a controller that breaks them is caught."""
    lib.rdu_dram_rules(channel, rules_text(timing, **changes).encode())
    lib.rdu_dram_forget(channel)
