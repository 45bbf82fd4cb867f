"""Writes of a part of a beat under ECC: read, merge, write."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.common.packet import Status
from hw.tln.port import ChannelPort

from .queue import index_of, oldest

__all__ = ["PartialWrites"]


class PartialWrites(wiring.Component):
    """Turns each write of a part of a beat into a read and, with its answer, a write of the whole beat.

    Parameters: ``beat_bytes``, ``address_bits``, ``tag_bits``; ``entries``, power of two, such writes under way.
    Members: ``port`` In(ChannelPort), from the TLN; ``inner`` Out(ChannelPort) with one more tag bit, to the queue: every write
    of ``inner`` is of a whole beat.
    Contract: whole writes and reads pass in the same cycle. A later request to the beat of a partial write waits until the
    merged write has been handed over; so order at one beat is kept. If the beat cannot be corrected nothing is written, and the
    write is answered with UNCORRECTABLE. Answers to reads of its own are always taken: no deadlock. A merged write may take the
    place of a request that waits at ``inner``: its receiver must not depend on a stalled payload.
    """

    def __init__(self, *, beat_bytes: int, address_bits: int, tag_bits: int, entries: int = 4):
        if entries.bit_length() - 1 > tag_bits:
            raise ValueError(f"entries={entries} need more than tag_bits={tag_bits}")
        self.beat_bytes, self.address_bits, self.tag_bits, self.entries = beat_bytes, address_bits, tag_bits, entries
        outer = ChannelPort(beat_bytes=beat_bytes, address_bits=address_bits, tag_bits=tag_bits)
        inner = ChannelPort(beat_bytes=beat_bytes, address_bits=address_bits, tag_bits=tag_bits + 1)
        super().__init__({"port": In(outer), "inner": Out(inner)})

    def elaborate(self, platform):
        m = Module()
        request, inner, bytes_ = self.port.request, self.inner.request, self.beat_bytes
        asked = request.payload
        used, merged = Signal(self.entries), Signal(self.entries)
        free, first = oldest(~used), oldest(merged)
        addresses = [Signal(self.address_bits, name=f"address_{entry}") for entry in range(self.entries)]
        conflict = (Cat(address == asked.address for address in addresses) & used).any()
        partial, begin, finish, go = (Signal(name=name) for name in ("partial", "begin", "finish", "go"))

        m.submodules.tags = tags = Memory(shape=self.tag_bits, depth=self.entries, init=[])
        m.submodules.parts = parts = Memory(shape=9 * bytes_, depth=self.entries, init=[])
        m.submodules.beats = beats = Memory(shape=8 * bytes_, depth=self.entries, init=[])
        tag_in, tag_out = tags.write_port(), tags.read_port(domain="comb")
        part_in, beat_out = parts.write_port(), beats.read_port(domain="comb")
        m.d.comb += [
            partial.eq(asked.write & ~asked.mask.all()),
            finish.eq(merged.any()),                       # a merged write goes first: others may wait for it
            go.eq(request.valid & ~finish & ~conflict & ~(partial & used.all())),
            inner.valid.eq(finish | go), request.ready.eq(inner.ready & go), begin.eq(request.ready & partial),
            tag_in.en.eq(begin), tag_in.addr.eq(index_of(free)), tag_in.data.eq(asked.tag), tag_out.addr.eq(index_of(first)),
            part_in.en.eq(begin), part_in.addr.eq(index_of(free)), part_in.data.eq(Cat(asked.data, asked.mask)),
            beat_out.addr.eq(index_of(first)),
        ]
        chosen = 0
        for entry, address in enumerate(addresses):
            chosen = chosen | Mux(first[entry], address, 0)
            with m.If(begin & free[entry]):
                m.d.sync += address.eq(asked.address)
        entry_tag = index_of(free) | (1 << self.tag_bits)
        m.d.comb += [
            inner.payload.address.eq(Mux(finish, chosen, asked.address)),
            inner.payload.write.eq(finish | (asked.write & ~partial)),
            inner.payload.tag.eq(Mux(finish, tag_out.data, Mux(partial, entry_tag, asked.tag))), inner.payload.mask.eq(~0),
            inner.payload.data.eq(Mux(finish, beat_out.data, asked.data)),
        ]
        answered, dropped = self._answer(m, tags, parts, beats)
        m.d.sync += [
            used.eq((used | (free & begin.replicate(self.entries))) & ~dropped
                    & ~(first & (finish & inner.ready).replicate(self.entries))),
            merged.eq((merged | answered) & ~(first & inner.ready.replicate(self.entries))),
        ]
        return m

    def _answer(self, m: Module, tags: Memory, parts: Memory, beats: Memory):
        """Keeps the merged beat of an own read, passes on everything else. Returns the entries that are merged, and dropped,
        now."""
        inner, answer = self.inner.response, self.port.response
        own, bad = inner.payload.tag[-1], inner.payload.status == Status.UNCORRECTABLE
        entry = inner.payload.tag[:(self.entries - 1).bit_length()]
        tag, part, beat = tags.read_port(domain="comb"), parts.read_port(domain="comb"), beats.write_port()
        keep = Signal()
        data, mask = part.data[:8 * self.beat_bytes], part.data[8 * self.beat_bytes:]
        wide = Cat(bit.replicate(8) for bit in mask)
        m.d.comb += [
            keep.eq(inner.valid & own & ~bad),
            tag.addr.eq(entry), part.addr.eq(entry), beat.addr.eq(entry), beat.en.eq(keep),
            beat.data.eq((data & wide) | (inner.payload.data & ~wide)),
            answer.valid.eq(inner.valid & ~keep), inner.ready.eq(keep | answer.ready),
            answer.payload.eq(Cat(Mux(own, tag.data, inner.payload.tag[:-1]), inner.payload.status.as_value(),
                                  inner.payload.write | own, inner.payload.data)),
        ]
        here = (1 << entry)[:self.entries]
        return Mux(keep, here, 0), Mux(inner.valid & own & bad & answer.ready, here, 0)
