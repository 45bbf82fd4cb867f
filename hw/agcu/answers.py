"""What comes back from memory: read beats into the reorder buffer, freed tags, and faults with the address that was asked for."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.common.packet import FaultCause, Status, memory_response, vector_data
from hw.config import AGCUConfig

__all__ = ["Answers"]


class Answers(wiring.Component):
    """The reorder buffer and the book of tags.

    A tag is a slot of the reorder buffer (reads) or, with the top bit set, one of as many write tags.

    Members
    -------
    ``response`` In stream from memory, always taken.
    ``issue`` In, a request with ``issue_tag`` In is made for ``issue_segment``, ``issue_offset`` In.
    ``present`` Out, bit s: slot s holds a beat; ``fetch`` In(mask), the beat of these slots (one at most) is taken in this cycle;
    ``fetch_slot`` In and ``beat`` Out: that beat.
    ``write_tag`` Out, the tag for the next write; ``write_ready`` Out, it is free; ``writing`` In, one-hot: the store engine
    that uses it in this cycle; ``pending`` Out, bit e: a write of store engine e is unanswered.
    ``answered`` Out, a request has been answered; ``cause``, ``segment``, ``offset`` Out, it failed and why.
    Contract: a beat can be fetched in the cycle after its response. The beat of a failed read is never ``present``.
    """

    def __init__(self, config: AGCUConfig):
        self.config = config
        self.slots = config.outstanding
        bits = (self.slots - 1).bit_length()
        super().__init__({
            "response": In(stream.Signature(memory_response(config.beat_bytes, config.tag_bits))),
            "issue": In(1), "issue_tag": In(config.tag_bits), "issue_segment": In(4), "issue_offset": In(32),
            "present": Out(self.slots), "fetch": In(self.slots), "fetch_slot": In(bits), "beat": Out(vector_data(config.lanes)),
            "write_tag": Out(config.tag_bits), "write_ready": Out(1), "writing": In(config.store_engines),
            "pending": Out(config.store_engines),
            "answered": Out(1), "cause": Out(FaultCause), "segment": Out(4), "offset": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        response = self.response.payload
        slot = response.tag[:-1]
        arrived = Signal()
        m.d.comb += [
            self.response.ready.eq(1), arrived.eq(self.response.valid),
            self.answered.eq(arrived),
        ]
        is_read, failed = ~response.tag[-1], Signal()
        with m.If(arrived), m.Switch(response.status):
            with m.Case(Status.UNCORRECTABLE):
                m.d.comb += [self.cause.eq(FaultCause.UNCORRECTABLE), failed.eq(1)]
            with m.Case(Status.DECODE_ERROR):
                m.d.comb += [self.cause.eq(FaultCause.DECODE_ERROR), failed.eq(1)]
            with m.Case(Status.POISONED):
                m.d.comb += [self.cause.eq(FaultCause.POISONED), failed.eq(1)]
        self._addresses(m)
        m.submodules.beats = beats = Memory(shape=8 * self.config.beat_bytes, depth=self.slots, init=[])
        write, read = beats.write_port(), beats.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(arrived & is_read), write.addr.eq(slot), write.data.eq(response.data),
            read.addr.eq(self.fetch_slot), self.beat.eq(read.data),
        ]
        with m.If((arrived & is_read & ~failed) | self.fetch.any()):
            m.d.sync += self.present.eq((self.present & ~self.fetch) | ((arrived & is_read & ~failed) << slot))
        self._write_tags(m, arrived & ~is_read, slot)
        return m

    def _addresses(self, m):
        """The virtual address of every outstanding request, for the record of a fault."""
        m.submodules.addresses = addresses = Memory(shape=36, depth=2 * self.slots, init=[])
        write, read = addresses.write_port(), addresses.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.issue), write.addr.eq(self.issue_tag), write.data.eq(Cat(self.issue_segment, self.issue_offset)),
            read.addr.eq(self.response.payload.tag), Cat(self.segment, self.offset).eq(read.data),
        ]

    def _write_tags(self, m, answered, slot):
        """Write tags are used in a ring; the next one is not used before its write of the last round has been answered."""
        next_tag = Signal(range(self.slots))
        used = [Signal(self.slots, name=f"used_{engine}") for engine in range(self.config.store_engines)]
        taken = Cat(bits.bit_select(next_tag, 1) for bits in used).any()
        m.d.comb += [
            self.write_tag.eq(Cat(next_tag, 1)), self.write_ready.eq(~taken), self.pending.eq(Cat(bits.any() for bits in used)),
        ]
        with m.If(self.writing.any() | answered):
            for engine, bits in enumerate(used):
                m.d.sync += bits.eq((bits | (self.writing[engine] << next_tag)) & ~(answered << slot))
        m.d.sync += next_tag.eq(next_tag + self.writing.any())
