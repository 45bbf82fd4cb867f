"""Programs: how a unit's configuration is laid out in 32-bit words, delivered and held.

A unit declares its program once, with :func:`program_layout`. The register that holds it, the assembler that packs it, the
disassembler and the tables in docs/ all read that one declaration.
"""

import re

from amaranth.hdl import Cat, Module, Shape, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.common.packet import fault_layout
from hw.config import ConfigError

__all__ = ["ALL_UNITS", "COUNT_BITS", "SHADOW", "UNIT_BITS", "WORD_BITS", "ConfigRegister", "ConfigWrite", "field_position",
           "program_layout", "shadow_words", "tile_fault_layout", "words_of"]

UNIT_BITS, WORD_BITS, COUNT_BITS = 14, 10, 8     # fields of a record header of a kernel image; together one word
SHADOW = 1 << WORD_BITS - 1                      # added to a word's index: its shadow
ALL_UNITS = (1 << UNIT_BITS) - 1                 # a write to this unit exchanges all armed programs with their shadows


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


def shadow_words(layout: data.Layout) -> int:
    """How many words of a unit's program have a shadow: all but a segment table, which stands at the end."""
    try:
        return field_position(layout, "core.segments")[0] // 32
    except KeyError:
        return words_of(layout)


class ConfigWrite(wiring.Signature):
    """The config network at a unit: one word for (unit, word) when ``valid``; always accepted."""

    def __init__(self):
        super().__init__({"valid": Out(1), "unit": Out(UNIT_BITS), "word": Out(WORD_BITS), "data": Out(32)})

    @staticmethod
    def registered(m: Module, write) -> wiring.PureInterface:
        """``write`` a cycle later: a simulator evaluates what lies behind an input twice in every cycle, behind a register once."""
        later = ConfigWrite().create(path=("write",))
        m.d.sync += [getattr(later, name).eq(getattr(write, name)) for name in later.signature.members]
        return later


def tile_fault_layout() -> data.StructLayout:
    """A fault and the number, on the config network, of the unit that found it."""
    return data.StructLayout(dict(fault_layout().members) | {"unit": UNIT_BITS})


class ConfigRegister(wiring.Component):
    """Holds the program of one unit and takes words off the config network.

    Parameters: ``layout``; ``shadow_words``: how many of its first words have a shadow (0: none, and nothing is built for it).
    Members: ``unit_id`` In, this unit's number (a constant outside); ``write`` In(ConfigWrite); ``program`` Out(layout).
    Contract: a word is visible in ``program`` one cycle after it is on ``write``; words beyond the layout are ignored;
    all bits are zero after reset, which every unit takes as "not used". With a shadow: a write of word ``SHADOW + i`` goes to
    shadow word i, leaves ``program`` alone and *arms* the unit; a write to unit ``ALL_UNITS`` exchanges the first
    ``shadow_words`` words of every armed unit with their shadows, in one cycle, and disarms it.
    """

    def __init__(self, layout: data.Layout, shadow_words: int = 0):
        self.layout, self.shadow_words = layout, shadow_words
        if shadow_words and words_of(layout) > SHADOW:
            raise ConfigError(f"a program of {words_of(layout)} words can have no shadow: at most {SHADOW} words")
        super().__init__({"unit_id": In(UNIT_BITS), "write": In(ConfigWrite()), "program": Out(layout)})

    def elaborate(self, platform):
        m = Module()
        words, shadows = self._words("word", words_of(self.layout)), self._words("shadow", self.shadow_words)
        hit = self.write.valid & (self.write.unit == self.unit_id)
        with m.If(hit), m.Switch(self.write.word):
            for index, word in enumerate(words):
                with m.Case(index):
                    m.d.sync += word.eq(self.write.data)
        m.d.comb += self.program.eq(Cat(words))
        if shadows:
            armed, exchange = Signal(), Signal()
            m.d.comb += exchange.eq(armed & self.write.valid & (self.write.unit == ALL_UNITS))
            with m.If(hit), m.Switch(self.write.word):
                for index, shadow in enumerate(shadows):
                    with m.Case(SHADOW + index):
                        m.d.sync += shadow.eq(self.write.data)
            with m.If(hit & self.write.word[-1]):
                m.d.sync += armed.eq(1)
            with m.If(exchange):
                m.d.sync += [*(word.eq(shadow) for word, shadow in zip(words, shadows, strict=False)),
                             *(shadow.eq(word) for word, shadow in zip(words, shadows, strict=False)), armed.eq(0)]
        return m

    def _words(self, name: str, count: int) -> list[Signal]:
        width = Shape.cast(self.layout).width
        return [Signal(min(32, width - 32 * index), name=f"{name}_{index}") for index in range(count)]
