"""Reads a run of 32-bit words from device memory, far enough ahead to hide its latency."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.common.packet import MemoryPort, failed
from hw.config import RDUConfig

from .command import LENGTH_BITS, device_address

__all__ = ["WordFetcher"]


class WordFetcher(wiring.Component):
    """A sequential reader of words.

    Parameters: ``config``; ``tag_bits`` of its requests.
    Members:
      ``start`` In, pulse: begin at ``address`` (a multiple of 4) and deliver ``length`` words (taken only when not ``busy``);
      ``stop`` In, pulse: deliver no more; ``busy`` Out, words or responses are still to come;
      ``words`` Out stream of {data, error, last}; ``error``: the memory could not deliver this word;
      ``memory`` Out(MemoryPort).
    Contract: one word a cycle in steady state when the memory answers within ``slots`` x lanes cycles (16 x 8 for `small`);
    reads only beats that hold wanted words. After ``stop``, ``busy`` falls when every outstanding response has arrived.
    """

    def __init__(self, config: RDUConfig, tag_bits: int):
        self.lanes, self.beat_bytes, self.tag_bits = config.lanes, config.beat_bytes, tag_bits
        self.slot_bits = min(4, tag_bits)
        self.slots = 1 << self.slot_bits
        super().__init__({
            "start": In(1),
            "address": In(device_address()),
            "length": In(LENGTH_BITS),
            "stop": In(1),
            "busy": Out(1),
            "words": Out(stream.Signature(data.StructLayout({"data": 32, "error": 1, "last": 1}))),
            "memory": Out(MemoryPort(beat_bytes=self.beat_bytes, tag_bits=self.tag_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        lane_bits = (self.lanes - 1).bit_length()
        self.tail, self.outstanding = Signal(self.slot_bits), Signal(self.slot_bits + 1)
        self.head, self.filled, self.used = Signal(self.slot_bits), Signal(self.slots), Signal(self.slot_bits + 1)
        self.released = Signal()
        begin, left, lane = Signal(), Signal(LENGTH_BITS), Signal(lane_bits)
        first_lane = self.address.offset[2:2 + lane_bits]
        m.d.comb += begin.eq(self.start & ~self.busy & (self.length != 0))
        self._request(m, begin, first_lane, lane_bits)
        slots = self._store(m)

        words, taken = self.words, Signal()
        m.d.comb += [
            words.valid.eq((left != 0) & self.filled.bit_select(self.head, 1)),
            words.p.last.eq(left == 1),
            words.p.data.eq(slots.data.word_select(lane, 32)), words.p.error.eq(slots.data[-1]),
            taken.eq(words.valid & words.ready),
            self.released.eq(taken & ((lane == self.lanes - 1) | words.p.last)),
            self.busy.eq((left != 0) | (self.outstanding != 0) | self.memory.request.valid),
        ]
        with m.If(taken):
            m.d.sync += [left.eq(left - 1), lane.eq(lane + 1)]
        with m.If(self.stop):
            m.d.sync += left.eq(0)
        with m.If(begin):
            m.d.sync += [left.eq(self.length), lane.eq(first_lane), self.head.eq(0)]
        with m.Elif(self.released):
            m.d.sync += self.head.eq(self.head + 1)
        return m

    def _request(self, m: Module, begin, first_lane, lane_bits: int) -> None:
        """Issues the beats one after the other, at most as many as there are free slots."""
        request, issued, answered = self.memory.request, Signal(), Signal()
        offset_bits = lane_bits + 2
        beat, beats = Signal(40 - offset_bits), Signal(LENGTH_BITS + 1)
        room = Signal()
        m.d.comb += [
            room.eq(~request.valid | request.ready),
            issued.eq(room & (beats != 0) & (self.used != self.slots)),
            answered.eq(self.memory.response.valid), self.memory.response.ready.eq(1),
        ]
        with m.If(room):
            m.d.sync += request.valid.eq(issued)
        with m.If(issued):
            m.d.sync += [request.p.address.eq(Cat(Const(0, offset_bits), beat)), request.p.tag.eq(self.tail),
                         beat.eq(beat + 1), beats.eq(beats - 1), self.tail.eq(self.tail + 1)]
        m.d.sync += [self.outstanding.eq(self.outstanding + issued - answered), self.used.eq(self.used + issued - self.released)]
        with m.If(self.stop):
            m.d.sync += beats.eq(0)
        with m.If(begin):
            m.d.sync += [beat.eq(self.address.offset[offset_bits:]), request.p.tier.eq(self.address.tier), self.tail.eq(0),
                         self.used.eq(0),
                         beats.eq((self.length + first_lane + self.lanes - 1)[lane_bits:])]

    def _store(self, m: Module):
        """Responses by slot; returns the read port at the head."""
        response = self.memory.response
        m.submodules.slots = slots = Memory(shape=8 * self.beat_bytes + 1, depth=self.slots, init=[])
        write, read = slots.write_port(), slots.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(response.valid), write.addr.eq(response.p.tag), read.addr.eq(self.head),
            write.data.eq(Cat(response.p.data, failed(response.p.status))),
        ]
        arrived = Mux(response.valid, 1 << response.p.tag[:self.slot_bits], 0)
        m.d.sync += self.filled.eq((self.filled | arrived) & ~Mux(self.released, 1 << self.head, 0))
        with m.If(~self.busy):
            m.d.sync += self.filled.eq(0)
        return read
