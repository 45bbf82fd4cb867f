"""Which bank, row and column hold a beat of a channel."""

from amaranth.hdl import Cat, Const, Signal
from amaranth.lib import data

from .timing import DRAMGeometry

__all__ = ["bank_index", "locate", "location_layout", "low_column_bits", "split_address"]

NEIGHBOURS_BYTES = 64        # that stay in one row of one bank, so that a random access of that size needs one activate


def location_layout(geometry: DRAMGeometry) -> data.StructLayout:
    """Where a beat lies. ``bank`` counts all banks: group in its low bits, number within the group above."""
    return data.StructLayout({"bank": geometry.group_bits + geometry.bank_bits, "row": geometry.row_bits,
                              "column": geometry.column_bits})


def low_column_bits(geometry: DRAMGeometry) -> int:
    """Column bits below the bank group in an address."""
    return max(0, (NEIGHBOURS_BYTES // geometry.beat_bytes).bit_length() - 1)


def split_address(geometry: DRAMGeometry, address) -> Cat:
    """The location of a channel-local beat index, as the bits of :func:`location_layout`.

    From the low end an address is: column (64 bytes), bank group, rest of the column, bank in its group, row. Bank groups
    follow each other so quickly that a sequential stream meets tCCD_S, not tCCD_L; it uses up whole rows before it needs other
    banks. Bank and group are exclusive-ored with low row bits, so that streams a power of two apart do not meet in one bank.
    One-to-one.
    """
    low, group_bits, bank_bits = low_column_bits(geometry), geometry.group_bits, geometry.bank_bits
    high = geometry.column_bits - low
    fields, at = [], 0
    for width in (low, group_bits, high, bank_bits, geometry.row_bits):
        fields.append(address[at:at + width])
        at += width
    column_low, group, column_high, bank, row = fields
    padded = Cat(row, Const(0, bank_bits + group_bits))
    return Cat((group ^ padded[bank_bits:bank_bits + group_bits])[:group_bits], (bank ^ padded[:bank_bits])[:bank_bits],
               row, column_low, column_high)


def locate(geometry: DRAMGeometry, address: int) -> tuple[int, int, int]:
    """(bank, row, column) of a beat index: the model of :func:`split_address`."""
    low, high = low_column_bits(geometry), geometry.column_bits - low_column_bits(geometry)
    fields = []
    for width in (low, geometry.group_bits, high, geometry.bank_bits, geometry.row_bits):
        fields.append(address & ((1 << width) - 1))
        address >>= width
    column_low, group, column_high, bank, row = fields
    group ^= row >> geometry.bank_bits & (geometry.bank_groups - 1)
    bank ^= row & (geometry.banks_per_group - 1)
    return bank << geometry.group_bits | group, row, column_high << low | column_low


def bank_index(geometry: DRAMGeometry, group: Signal, bank: Signal) -> Cat:
    """Number over all banks from the two fields of a command."""
    return Cat(group[:geometry.group_bits], bank[:geometry.bank_bits])
