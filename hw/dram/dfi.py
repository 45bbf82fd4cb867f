"""The border between a memory controller and its device (or PHY), in the manner of DFI."""

from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from .timing import DRAMTiming

__all__ = ["DFI", "ColumnCommand", "RowCommand", "column_command", "row_command"]


class RowCommand(enum.Enum, shape=3):
    """Commands of the row bus."""

    NOP = 0
    ACT = 1            # open ``row`` of (group, bank)
    PRE = 2            # close (group, bank)
    PREA = 3           # close all banks
    REF = 4            # refresh all banks


class ColumnCommand(enum.Enum, shape=2):
    """Commands of the column bus: one beat of the open row of (group, bank)."""

    NOP = 0
    RD = 1
    WR = 2


def row_command(timing: DRAMTiming) -> data.StructLayout:
    """``row`` is meaningful for ACT, ``group`` and ``bank`` for ACT and PRE."""
    geometry = timing.geometry
    return data.StructLayout({"command": RowCommand, "group": max(1, geometry.group_bits), "bank": max(1, geometry.bank_bits),
                              "row": geometry.row_bits})


def column_command(timing: DRAMTiming) -> data.StructLayout:
    geometry = timing.geometry
    return data.StructLayout({"command": ColumnCommand, "group": max(1, geometry.group_bits), "bank": max(1, geometry.bank_bits),
                              "column": geometry.column_bits})


class DFI(wiring.Signature):
    """Commands and data of one channel, as the controller sees it.

    Parameters: ``timing``; ``check_bits``, ECC bits stored beside each beat (0: none).
    Members
    -------
    ``row`` Out, ``column`` Out: at most one command of each kind a cycle; a device with one command bus
    (``timing.command_buses``) gets at most one of the two.
    ``write_data``, ``write_check``, ``write_mask`` Out: the beat of the WR of ``timing.cwl`` cycles before; mask bit 1: the
    byte is written (with check bits the whole beat always is).
    ``read_valid``, ``read_data``, ``read_check`` In: the beat of the RD of ``timing.cl + timing.beat_cycles`` cycles before.

    A whole beat crosses in one cycle: the PHY turns it into ``timing.beat_cycles`` cycles of bursts on the pins.
    """

    def __init__(self, timing: DRAMTiming, check_bits: int = 0):
        self.timing, self.check_bits = timing, check_bits
        width = 8 * timing.geometry.beat_bytes
        members = {
            "row": Out(row_command(timing)),
            "column": Out(column_command(timing)),
            "write_data": Out(width),
            "write_mask": Out(timing.geometry.beat_bytes),
            "read_valid": In(1),
            "read_data": In(width),
        }
        if check_bits:
            members |= {"write_check": Out(check_bits), "read_check": In(check_bits)}
        super().__init__(members)
