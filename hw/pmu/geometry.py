"""How a PMU cuts an address into lane, bank and row. No HDL is imported here.

An address counts half-words (16 bits). Its low ``lane_bits`` name one of the ``half_lanes`` SRAM columns of a bank, the rest
is the vector number, which the bank map splits into bank and row.
"""

from __future__ import annotations

from dataclasses import dataclass

from hw.config import PMUConfig

__all__ = ["CODE_BITS", "HALF_BITS", "BankMap", "Geometry"]

HALF_BITS, CODE_BITS = 16, 22        # a half-word, and with its check bits (ecc.py)


@dataclass(frozen=True)
class Geometry:
    """The derived widths of one :class:`PMUConfig`."""

    config: PMUConfig

    @property
    def half_lanes(self) -> int:
        """16-bit SRAM columns of a bank: two per lane, each with an address of its own."""
        return 2 * self.config.lanes

    @property
    def cell_bits(self) -> int:
        """Bits stored for a half-word."""
        return CODE_BITS if self.config.ecc else HALF_BITS

    @property
    def lane_bits(self) -> int:
        return self.half_lanes.bit_length() - 1

    @property
    def bank_bits(self) -> int:
        return self.config.banks.bit_length() - 1

    @property
    def row_bits(self) -> int:
        return self.config.bank_rows.bit_length() - 1

    @property
    def vector_bits(self) -> int:
        """Bits of a vector number."""
        return self.bank_bits + self.row_bits

    @property
    def address_bits(self) -> int:
        """Bits of an address in half-words."""
        return self.vector_bits + self.lane_bits

    @property
    def vectors(self) -> int:
        return 1 << self.vector_bits

    @property
    def logical_bits(self) -> int:
        """Bits of an address before predication: a tensor may be 16 times larger than the scratchpad of one of its shards."""
        return self.address_bits + 4


@dataclass(frozen=True)
class BankMap:
    """Which bits of the vector number select the bank.

    ``positions[i]``: the bit that bank bit i is taken from (ascending, distinct). The row is made of the remaining bits in
    their order. ``folds[i]``: bits of the *row* whose parity is XORed into bank bit i. Because only row bits are folded in,
    (bank, row) gives the vector number back whatever the folds are: the map is one-to-one by construction.
    """

    positions: tuple[int, ...]
    folds: tuple[int, ...]

    @classmethod
    def low(cls, config: PMUConfig) -> BankMap:
        """The fixed low-order interleaving of a conventional scratchpad: vector number modulo banks."""
        bits = Geometry(config).bank_bits
        return cls(tuple(range(bits)), (0,) * bits)

    @classmethod
    def high(cls, config: PMUConfig) -> BankMap:
        """Each bank a contiguous block of vectors."""
        geometry = Geometry(config)
        return cls(tuple(range(geometry.row_bits, geometry.vector_bits)), (0,) * geometry.bank_bits)

    def check(self, config: PMUConfig) -> None:
        """Raises ValueError naming the field that would make the map not one-to-one."""
        geometry = Geometry(config)
        if len(self.positions) != geometry.bank_bits or len(self.folds) != geometry.bank_bits:
            raise ValueError(f"bank_map has {len(self.positions)} positions and {len(self.folds)} folds; "
                             f"{config.banks} banks need {geometry.bank_bits} of each")
        for index, position in enumerate(self.positions):
            if not 0 <= position < geometry.vector_bits:
                raise ValueError(f"bank_map.positions[{index}]={position} must be from 0 to {geometry.vector_bits - 1}")
            if index and position <= self.positions[index - 1]:
                raise ValueError(f"bank_map.positions={self.positions} must be ascending and distinct: two bank bits taken from "
                                 "one address bit would make the map not one-to-one")
        for index, fold in enumerate(self.folds):
            if not 0 <= fold < 1 << geometry.row_bits:
                raise ValueError(f"bank_map.folds[{index}]={fold:#x} must be a mask of the {geometry.row_bits} row bits")

    def split(self, vector: int) -> tuple[int, int]:
        """(bank, row) of a vector number; works on numpy integer arrays too."""
        taken, row = [], vector
        for position in reversed(self.positions):
            taken.insert(0, row >> position & 1)
            row = row & ((1 << position) - 1) | row >> position + 1 << position
        bank = 0 * vector
        for index, (bit, fold) in enumerate(zip(taken, self.folds, strict=True)):
            folded = row & fold
            for shift in (16, 8, 4, 2, 1):
                folded = folded ^ folded >> shift
            bank = bank | (bit ^ folded & 1) << index
        return bank, row
