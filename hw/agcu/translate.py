"""From virtual addresses to memory requests: the segment table, its checks, and the register in front of the TLN."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.common.packet import ENGINE_BITS, FaultCause, memory_request
from hw.config import AGCUConfig

from .layout import PAGE_BITS, segment_layout

__all__ = ["Translate", "virtual_request"]


def virtual_request(config: AGCUConfig) -> data.StructLayout:
    """A request as an engine makes it: the address is a segment and a byte offset."""
    return data.StructLayout({
        "segment": 4, "offset": 32, "misaligned": 1, "write": 1, "engine": ENGINE_BITS, "tag": config.tag_bits, "mask": config.beat_bytes,
        "data": 8 * config.beat_bytes,
    })


class Translate(wiring.Component):
    """Looks requests up in the segment table.

    Members: ``segments`` In, the table; ``i`` In stream of virtual requests; ``o`` Out stream of memory requests; ``blocked``
    In, the AGCU has faulted: what still comes is dropped; ``cause`` Out, why the request at ``i``'s register is refused in this
    cycle (NONE: it is not), with ``segment`` and ``offset`` Out; ``idle`` Out, nothing is inside.
    Contract: one request a cycle, two cycles; ``i.ready`` is a register: the path from the memory's ready to the streams' credits
    is cut. A refused request is never issued. Checks in this order: alignment, segment valid,
    rights, range.
    """

    def __init__(self, config: AGCUConfig):
        self.config = config
        super().__init__({
            "segments": In(data.ArrayLayout(segment_layout(), config.segments)),
            "i": In(stream.Signature(virtual_request(config))),
            "o": Out(stream.Signature(memory_request(config.beat_bytes, config.tag_bits))),
            "blocked": In(1), "cause": Out(FaultCause), "segment": Out(4), "offset": Out(32), "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        held, valid = Signal(virtual_request(self.config)), Signal()
        spare, spare_valid = Signal(virtual_request(self.config)), Signal()        # came while ``held`` could not move on
        free, passes = Signal(), Signal()
        entry = self._look_up(m, held.segment)
        page = held.offset[PAGE_BITS:]
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(~spare_valid),
            self.segment.eq(held.segment), self.offset.eq(held.offset),
            self.idle.eq(~valid & ~spare_valid & ~self.o.valid),
            passes.eq(valid & free & ~self.blocked & (self.cause == FaultCause.NONE)),
        ]
        with m.If(valid & ~self.blocked):
            with m.If(held.misaligned):
                m.d.comb += self.cause.eq(FaultCause.MISALIGNED)
            with m.Elif(~entry.valid):
                m.d.comb += self.cause.eq(FaultCause.SEGMENT_MISS)
            with m.Elif(~Mux(held.write, entry.write, entry.read)):
                m.d.comb += self.cause.eq(FaultCause.RIGHTS)
            with m.Elif(page >= entry.limit):
                m.d.comb += self.cause.eq(FaultCause.OUT_OF_RANGE)
        with m.If(~valid | free):
            m.d.sync += [valid.eq(self.i.valid | spare_valid), spare_valid.eq(0)]
            with m.If(spare_valid):
                m.d.sync += held.eq(spare)
            with m.Elif(self.i.valid):
                m.d.sync += held.eq(self.i.payload)
        with m.Elif(self.i.valid & ~spare_valid):
            m.d.sync += [spare.eq(self.i.payload), spare_valid.eq(1)]
        with m.If(free):
            m.d.sync += self.o.valid.eq(passes)
        with m.If(passes):
            physical = Cat(held.offset[:PAGE_BITS], (entry.base + page)[:28])
            request = self.o.payload
            m.d.sync += [
                request.tier.eq(entry.tier), request.address.eq(physical), request.write.eq(held.write), request.engine.eq(held.engine),
                request.tag.eq(held.tag), request.mask.eq(held.mask), request.data.eq(held.data),
            ]
        return m

    def _look_up(self, m, number):
        """Entry ``number`` of the table; a number beyond it is an entry that is not valid."""
        entry = Signal(segment_layout())
        with m.Switch(number):
            for index in range(self.config.segments):
                with m.Case(index):
                    m.d.comb += entry.eq(self.segments[index])
        return entry
