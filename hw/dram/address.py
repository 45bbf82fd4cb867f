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


def _widths(geometry: DRAMGeometry) -> tuple[int, ...]:
    """Of the fields of an address, from the low end: column, bank group, rest of the column, bank, row."""
    low = low_column_bits(geometry)
    return low, geometry.group_bits, geometry.column_bits - low, geometry.bank_bits, geometry.row_bits


def split_address(geometry: DRAMGeometry, address) -> Cat:
    """The location of a channel-local beat index, as the bits of :func:`location_layout`.

    From the low end an address is: column (64 bytes), bank group, rest of the column, bank in its group, row. Bank groups follow
    each other so quickly that a sequential stream meets tCCD_S, not tCCD_L; it uses up whole rows before it needs other banks.
    All row bits are folded into bank and group, so that streams a power of two apart do not meet in one bank, and the rest of the
    column into the group, so that a stride does not stay in one group. One-to-one.
    """
    fields, at = [], 0
    for width in _widths(geometry):
        fields.append(address[at:at + width])
        at += width
    column_low, group, column_high, bank, row = fields
    index = Cat(group, bank)
    width = len(index)
    padded = Cat(row, Const(0, width))
    for low in range(0, geometry.row_bits, width):
        # Turned by the bank's bits: the lowest row bits choose the bank, the next ones the group.
        part = padded[low:low + width]
        index = index ^ Cat(part[geometry.bank_bits:], part[:geometry.bank_bits])
    index = index ^ Cat(column_high, Const(0, width))[:geometry.group_bits]
    return Cat(index[:width], row, column_low, column_high)


def locate(geometry: DRAMGeometry, address: int) -> tuple[int, int, int]:
    """(bank, row, column) of a beat index: the model of :func:`split_address`."""
    fields = []
    for width in _widths(geometry):
        fields.append(address & ((1 << width) - 1))
        address >>= width
    column_low, group, column_high, bank, row = fields
    left = row
    while left:
        bank ^= left & (geometry.banks_per_group - 1)
        group ^= left >> geometry.bank_bits & (geometry.bank_groups - 1)
        left >>= geometry.bank_bits + geometry.group_bits
    group ^= column_high & (geometry.bank_groups - 1)
    return bank << geometry.group_bits | group, row, column_high << low_column_bits(geometry) | column_low


def bank_index(geometry: DRAMGeometry, group: Signal, bank: Signal) -> Cat:
    """Number over all banks from the two fields of a command."""
    return Cat(group[:geometry.group_bits], bank[:geometry.bank_bits])
