"""Plays a kernel image on the config network."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.common.program import COUNT_BITS, SHADOW, UNIT_BITS, WORD_BITS, ConfigWrite

from .command import LENGTH_BITS
from .registers import LauncherError

__all__ = ["ImageLoader", "record_header"]


def record_header() -> data.StructLayout:
    """First word of a record: ``count`` data words follow, for program words ``word``, ``word`` + 1 ...; 0 ends the image."""
    return data.StructLayout({"count": COUNT_BITS, "word": WORD_BITS, "unit": UNIT_BITS})


class ImageLoader(wiring.Component):
    """Takes the words of one image and writes what its records say.

    Members: ``start`` In, pulse, with ``length`` In, words of the image (0 is an error), and ``shadow`` In:
    write the shadows of the words; ``words`` In stream of the fetcher's
    words; ``abort`` In: end at once, without an event; ``active`` Out; ``write`` Out(ConfigWrite), in the cycle of its data
    word; ``done`` Out, pulse: the end record came; ``failed`` Out, pulse, with ``code`` (a LauncherError) and
    ``position``, the word's index.
    Contract: one image word a cycle. What a failed load has written so far stays written.
    """

    def __init__(self):
        word = data.StructLayout({"data": 32, "error": 1, "last": 1})
        super().__init__({
            "start": In(1), "length": In(LENGTH_BITS), "shadow": In(1), "abort": In(1), "words": In(stream.Signature(word)),
            "active": Out(1), "write": Out(ConfigWrite()), "done": Out(1), "failed": Out(1), "code": Out(4), "position": Out(LENGTH_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        words = self.words
        header = data.View(record_header(), words.p.data)
        left, index, unit, empty, shadow = Signal(COUNT_BITS), Signal(WORD_BITS), Signal(UNIT_BITS), Signal(), Signal()
        taken, in_record = Signal(), Signal()
        m.d.comb += [
            words.ready.eq(1), taken.eq(self.active & words.valid), in_record.eq(left != 0),
            self.write.valid.eq(taken & in_record & ~words.p.error & ~self.abort),
            self.write.unit.eq(unit), self.write.word.eq(Mux(shadow, index | SHADOW, index)), self.write.data.eq(words.p.data),
        ]
        with m.If(self.active & ~self.abort):
            with m.If(empty | (words.valid & words.p.error)):
                m.d.comb += [self.failed.eq(1), self.code.eq(LauncherError.TRUNCATED)]
                with m.If(~empty):
                    m.d.comb += self.code.eq(LauncherError.MEMORY)
            with m.Elif(words.valid & ~in_record & (header.count == 0)):
                m.d.comb += self.done.eq(1)
            with m.Elif(words.valid & words.p.last):
                m.d.comb += [self.failed.eq(1), self.code.eq(LauncherError.TRUNCATED)]
        with m.If(taken):
            m.d.sync += [self.position.eq(self.position + 1), index.eq(index + 1), left.eq(left - 1)]
            with m.If(~in_record):
                m.d.sync += [unit.eq(header.unit), index.eq(header.word), left.eq(header.count)]
        with m.If(self.done | self.failed | self.abort):
            m.d.sync += [self.active.eq(0), left.eq(0)]
        with m.If(self.start & ~self.abort):
            m.d.sync += [self.active.eq(1), self.position.eq(0), left.eq(0), empty.eq(self.length == 0), shadow.eq(self.shadow)]
        return m
