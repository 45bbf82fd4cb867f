"""Which bank, row and column hold a beat of a channel."""

from amaranth.hdl import Cat, Const, Signal
from amaranth.lib import data

from .timing import DRAMGeometry, DRAMTiming

__all__ = ["address_fields", "bank_index", "locate", "location_layout", "split_address"]

NEIGHBOURS_BYTES = 64        # that stay in one row of one bank, so that a random access of that size needs one activate
HALF_CHUNK_BYTES = 2048      # half of what the TLN puts into one channel in a row


def location_layout(geometry: DRAMGeometry) -> data.StructLayout:
    """Where a beat lies. ``bank`` counts all banks: group in its low bits, number within the group above."""
    return data.StructLayout({"bank": geometry.group_bits + geometry.bank_bits, "row": geometry.row_bits,
                              "column": geometry.column_bits})


def low_column_bits(geometry: DRAMGeometry) -> int:
    """Column bits below the bank group in an address."""
    return max(0, (NEIGHBOURS_BYTES // geometry.beat_bytes).bit_length() - 1)


def address_fields(timing: DRAMTiming) -> dict[str, int]:
    """Widths of the fields of an address, from the low end; see :func:`split_address`."""
    geometry, low = timing.geometry, low_column_bits(timing.geometry)
    # So many groups as keep the data bus busy follow each other at once; the others come in after half a chunk.
    needed = (max(timing.ccd_l, timing.ccd_l_write) - 1) // timing.ccd_s
    group_low = min(geometry.group_bits, max(1, needed.bit_length()))
    half = (HALF_CHUNK_BYTES // geometry.beat_bytes).bit_length() - 1
    middle = min(max(0, half - low - group_low), geometry.column_bits - low)
    return {"low": low, "group_low": group_low, "middle": middle, "group_high": geometry.group_bits - group_low,
            "high": geometry.column_bits - low - middle, "bank": geometry.bank_bits, "row": geometry.row_bits}


def split_address(timing: DRAMTiming, address) -> Cat:
    """The location of a channel-local beat index, as the bits of :func:`location_layout`.

    From the low end an address is: column (64 bytes), lower part of the bank group, middle of the column (up to 2 KiB), upper part
    of the group, rest of the column, bank in its group, row. As many bank groups follow each other quickly as a sequential
    stream needs to meet tCCD_S, not tCCD_L. The others rest for 2 KiB meanwhile: long enough to open another row. A stream uses
    up whole rows before it needs other banks.
    The row bits are folded into the bank, so that streams a power of two apart do not meet in one bank; not the lowest one, so that
    the row a stream comes to next is seldom in the bank that it leaves. Where a row outlives a chunk,
    the bank alone decides which half of the groups a chunk begins with: of two streams that take turns at one bank, one ends in
    the half in which the other does not begin, whose row opens in time. Small rows are used up by then; there row bits are folded
    into all of the group. One-to-one.
    """
    geometry, part, at = timing.geometry, {}, 0
    for name, width in address_fields(timing).items():
        part[name] = address[at:at + width]
        at += width
    row, bits, low, high = Cat(Const(0, 1), part["row"][1:]), geometry.bank_bits, part["group_low"], part["group_high"]
    if not len(part["high"]):
        width = bits + geometry.group_bits
        group, bank = _folded(Cat(low, high), row, bits, width), _folded(part["bank"], row, 0, width)
    else:
        bank = _folded(part["bank"], row, 0, bits)
        group = Cat(_folded(low, row, bits, bits + len(low)), (high ^ Cat(bank, Const(0, len(high))))[:len(high)])
    return Cat(group, bank, part["row"], part["low"], part["middle"], part["high"])


def _folded(value, row, first: int, step: int):
    """``value`` with the bits of ``row`` at ``first``, ``first + step`` and so on exclusive-ored into it."""
    for low in range(first, len(row), step):
        value = value ^ Cat(row[low:low + len(value)], Const(0, len(value)))[:len(value)]
    return value


def locate(timing: DRAMTiming, address: int) -> tuple[int, int, int]:
    """(bank, row, column) of a beat index: the model of :func:`split_address`."""
    geometry, widths, part = timing.geometry, address_fields(timing), {}
    for name, width in widths.items():
        part[name] = address & ((1 << width) - 1)
        address >>= width
    group, bank, row = part["group_low"] | part["group_high"] << widths["group_low"], part["bank"], part["row"] & ~1
    bits, tied = geometry.bank_bits, bool(widths["high"])
    folded = widths["group_low"] if tied else geometry.group_bits
    for low in range(0, geometry.row_bits, bits if tied else bits + folded):
        bank ^= row >> low & (geometry.banks_per_group - 1)
    for low in range(bits, geometry.row_bits, bits + folded):
        group ^= row >> low & ((1 << folded) - 1)
    if tied:
        group ^= (bank & ((1 << widths["group_high"]) - 1)) << widths["group_low"]
    column = part["low"] | (part["middle"] | part["high"] << widths["middle"]) << widths["low"]
    return bank << geometry.group_bits | group, part["row"], column


def bank_index(geometry: DRAMGeometry, group: Signal, bank: Signal) -> Cat:
    """Number over all banks from the two fields of a command."""
    return Cat(group[:geometry.group_bits], bank[:geometry.bank_bits])
