"""The programmable bank map in hardware."""

from amaranth.hdl import Cat, Module, Signal, Value

from .geometry import Geometry

__all__ = ["split_vector"]


def split_vector(m: Module, vector: Value, positions, folds, geometry: Geometry, name: str) -> tuple[Signal, Signal]:
    """Adds the map of one vector number to ``m``; returns (bank, row). The model is :meth:`BankMap.split`.

    Contract: combinational; one-to-one for all positions that ascend, whatever the folds are.
    """
    taken = []
    row = vector
    for index in reversed(range(geometry.bank_bits)):
        # Descending order: taking a bit out leaves the numbers of the lower ones as they were.
        width = len(row)
        position = positions[index]
        below = Signal(width - 1, name=f"{name}_below_{index}")
        rest = Signal(width - 1, name=f"{name}_rest_{index}")
        bit = Signal(name=f"{name}_bit_{index}")
        m.d.comb += [
            below.eq((1 << position[:(width - 1).bit_length()]) - 1),
            bit.eq(row >> position[:(width - 1).bit_length()]),
            rest.eq((row & below) | ((row >> 1) & ~below)),
        ]
        taken.insert(0, bit)
        row = rest
    bank = Signal(geometry.bank_bits, name=f"{name}_bank")
    m.d.comb += bank.eq(Cat(bit ^ (row & fold[:geometry.row_bits]).xor() for bit, fold in zip(taken, folds, strict=True)))
    return bank, row


