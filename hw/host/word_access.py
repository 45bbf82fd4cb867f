"""Reads or writes one 32-bit word of device memory at a time."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.common.packet import MemoryPort, failed
from hw.config import RDUConfig

from .command import device_address
from .memory_share import CLIENT_BITS

__all__ = ["WordAccess"]


class WordAccess(wiring.Component):
    """One access in flight.

    Members: ``start`` In, pulse (taken only when not ``busy``), with ``write``, ``address`` (a multiple of 4) and ``data`` In;
    ``busy`` Out, from the cycle after ``start`` until the answer is there; ``done`` Out, pulse; with it ``value`` Out (reads) and
    ``error`` Out: the memory could not do it; ``memory`` Out(MemoryPort).
    """

    def __init__(self, config: RDUConfig):
        self.lanes, self.beat_bytes = config.lanes, config.beat_bytes
        port = MemoryPort(beat_bytes=config.beat_bytes, tag_bits=config.agcu.tag_bits - CLIENT_BITS)
        super().__init__({
            "start": In(1), "write": In(1), "address": In(device_address()), "data": In(32),
            "busy": Out(1), "done": Out(1), "value": Out(32), "error": Out(1), "memory": Out(port),
        })

    def elaborate(self, platform):
        m = Module()
        request, response = self.memory.request, self.memory.response
        offset = self.address.offset
        lane_bits = (self.lanes - 1).bit_length()
        lane = Signal(lane_bits)
        m.d.comb += [
            response.ready.eq(1), self.done.eq(self.busy & response.valid),
            self.value.eq(response.p.data.word_select(lane, 32)),
            self.error.eq(failed(response.p.status)),
        ]
        with m.If(request.ready):
            m.d.sync += request.valid.eq(0)
        with m.If(self.done):
            m.d.sync += self.busy.eq(0)
        with m.If(self.start & ~self.busy):
            m.d.sync += [
                self.busy.eq(1), request.valid.eq(1), lane.eq(offset[2:2 + lane_bits]),
                request.p.tier.eq(self.address.tier), request.p.write.eq(self.write),
                request.p.address.eq(Cat(Const(0, 2 + lane_bits), offset[2 + lane_bits:])),
                request.p.data.eq(self.data.replicate(self.lanes)), request.p.mask.eq(0xF << (offset[2:2 + lane_bits] << 2)),
            ]
        return m
