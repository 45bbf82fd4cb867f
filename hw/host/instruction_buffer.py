"""The words of a schedule around the one that is due: fetched ahead, and kept for the loops that come back to them."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.common.packet import MemoryPort
from hw.config import RDUConfig

from .command import LENGTH_BITS, device_address
from .fetch import WordFetcher
from .memory_share import CLIENT_BITS

__all__ = ["DEPTH", "InstructionBuffer"]

DEPTH = 256             # words


class InstructionBuffer(wiring.Component):
    """A window on a schedule.

    Members: ``start`` In, pulse, with ``address`` (a multiple of 4) and ``length`` In, in words; ``stop`` In, pulse; ``busy`` Out,
    started and not stopped, or memory answers are still to come; ``word`` Out stream of {data, error}, the word at ``index`` Out;
    ``jump`` In, pulse, with ``target`` In: go on there; ``ended`` Out: ``index`` is at the length or beyond;
    ``memory`` Out(MemoryPort).

    Contract: one word a cycle. Up to DEPTH / 2 words are fetched ahead of ``index``, and at least the DEPTH / 2 words before
    it are kept: a jump back to one of those costs no cycle, any other jump the latency of the memory.
    """

    def __init__(self, config: RDUConfig):
        self.config = config
        super().__init__({
            "start": In(1), "address": In(device_address()), "length": In(LENGTH_BITS), "stop": In(1), "busy": Out(1),
            "word": Out(stream.Signature(data.StructLayout({"data": 32, "error": 1}))), "index": Out(LENGTH_BITS + 1),
            "jump": In(1), "target": In(LENGTH_BITS), "ended": Out(1),
            "memory": Out(MemoryPort(beat_bytes=config.beat_bytes, tag_bits=config.agcu.tag_bits - CLIENT_BITS)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetch = fetch = WordFetcher(self.config, tag_bits=self.config.agcu.tag_bits - CLIENT_BITS)
        m.submodules.words = words = Memory(shape=33, depth=DEPTH, init=[])
        connect(m, fetch.memory, flipped(self.memory))
        fill, drain = words.write_port(), words.read_port(domain="comb")
        index, low, high = self.index, Signal(LENGTH_BITS + 1), Signal(LENGTH_BITS + 1)
        base, length = Signal(device_address()), Signal(LENGTH_BITS)
        active, restart, kept = Signal(), Signal(), Signal()
        follow = active & ~restart & kept
        m.d.comb += [
            kept.eq((index >= low) & (index <= high)), self.ended.eq(active & (index >= length)),
            self.busy.eq(active | fetch.busy),
            self.word.valid.eq(follow & (index != high)), drain.addr.eq(index),
            self.word.p.data.eq(drain.data[:32]), self.word.p.error.eq(drain.data[32]),
            fetch.words.ready.eq(follow & (high - index < DEPTH // 2)),
            fill.en.eq(fetch.words.valid & fetch.words.ready), fill.addr.eq(high),
            fill.data[:32].eq(fetch.words.p.data), fill.data[32].eq(fetch.words.p.error),
            fetch.address.offset.eq(base.offset + (index << 2)), fetch.address.tier.eq(base.tier),
            fetch.length.eq(length - index), fetch.start.eq(active & restart & ~fetch.busy),
            fetch.stop.eq((restart & fetch.busy) | ~active),
        ]
        with m.If(fill.en):
            m.d.sync += [high.eq(high + 1), low.eq(low + (high - low == DEPTH))]
        with m.If(fetch.start):
            m.d.sync += [restart.eq(0), low.eq(index), high.eq(index)]
        with m.Elif(active & ~kept & ~self.ended):
            m.d.sync += restart.eq(1)
        with m.If(self.word.valid & self.word.ready):
            m.d.sync += index.eq(index + 1)
        with m.If(self.jump):
            m.d.sync += index.eq(self.target)
        with m.If(self.start & ~self.busy):
            m.d.sync += [active.eq(1), restart.eq(1), index.eq(0), base.eq(self.address), length.eq(self.length)]
        with m.If(self.stop):
            m.d.sync += [active.eq(0), restart.eq(0)]
        return m
