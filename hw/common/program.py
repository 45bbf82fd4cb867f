"""Programs: how a unit's configuration is laid out in 32-bit words, delivered and held.

A unit declares its program once, with :func:`program_layout`. The register that holds it, the assembler that packs it, the
disassembler and the tables in docs/ all read that one declaration.
"""

import re

from amaranth.hdl import Cat, Module, Shape, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["COUNT_BITS", "UNIT_BITS", "WORD_BITS", "ConfigRegister", "ConfigWrite", "field_position", "program_layout",
           "words_of"]

UNIT_BITS, WORD_BITS, COUNT_BITS = 14, 10, 8     # fields of a record header of a kernel image; together one word


def program_layout(fields: dict) -> data.FlexibleLayout:
    """A layout in which no field of up to 32 bits straddles a word, and every wider field starts on a word.

    A 32-bit field (a base address, a bound declared as 32 bits) therefore has a word of its own and can be replaced as an
    *argument* without touching its neighbours. Fields are packed in the order given; a nested program is word-aligned.
    """
    placed: dict[str, data.Field] = {}
    bit = 0
    for name, shape in fields.items():
        width = Shape.cast(shape).width
        nested = isinstance(shape, (data.FlexibleLayout, data.ArrayLayout))
        if bit % 32 and (nested or width > 32 or bit % 32 + width > 32):
            bit += 32 - bit % 32
        placed[name] = data.Field(shape, bit)
        bit += width
        if nested and bit % 32:
            bit += 32 - bit % 32
    size = -(-bit // 32) * 32
    return data.FlexibleLayout(max(size, 32), placed)


def words_of(layout: data.Layout) -> int:
    """Length of a program in 32-bit words."""
    return -(-Shape.cast(layout).width // 32)


def field_position(layout: data.Layout, path: str) -> tuple[int, int]:
    """(first bit, width) of a field given as ``"read0.strides[2].step"``. Raises ``KeyError`` naming the unknown part."""
    bit, shape = 0, layout
    for name, index in re.findall(r"([A-Za-z_]\w*)|\[(\d+)\]", path):
        try:
            field = shape[name or int(index)]
        except (KeyError, TypeError):
            raise KeyError(f"program has no field {path!r}: {name or index!r} is unknown") from None
        bit, shape = bit + field.offset, field.shape
    return bit, Shape.cast(shape).width


class ConfigWrite(wiring.Signature):
    """The config network at a unit: one word for (unit, word) when ``valid``; always accepted."""

    def __init__(self):
        super().__init__({"valid": Out(1), "unit": Out(UNIT_BITS), "word": Out(WORD_BITS), "data": Out(32)})


class ConfigRegister(wiring.Component):
    """Holds the program of one unit and takes words off the config network.

    Members: ``unit_id`` In, this unit's number (a constant outside); ``write`` In(ConfigWrite); ``program`` Out(layout).
    Contract: a word is visible in ``program`` one cycle after it is on ``write``; words beyond the layout are ignored;
    all bits are zero after reset, which every unit takes as "not used".
    """

    def __init__(self, layout: data.Layout):
        self.layout = layout
        super().__init__({"unit_id": In(UNIT_BITS), "write": In(ConfigWrite()), "program": Out(layout)})

    def elaborate(self, platform):
        m = Module()
        width = Shape.cast(self.layout).width
        words = [Signal(min(32, width - 32 * index), name=f"word_{index}") for index in range(words_of(self.layout))]
        with m.If(self.write.valid & (self.write.unit == self.unit_id)), m.Switch(self.write.word):
            for index, word in enumerate(words):
                with m.Case(index):
                    m.d.sync += word.eq(self.write.data)
        m.d.comb += self.program.eq(Cat(words))
        return m
