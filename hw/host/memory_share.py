"""Several requesters on one memory port."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.common.packet import MemoryPort, memory_request
from hw.config import RDUConfig

__all__ = ["CLIENT_BITS", "MemoryShare"]

CLIENT_BITS = 2         # the top bits of a tag say whose request it is


class MemoryShare(wiring.Component):
    """Joins ``clients`` (up to 4) ports of tags that are ``CLIENT_BITS`` shorter into one.

    Members: ``clients[c]`` In(MemoryPort); ``memory`` Out(MemoryPort).
    Contract: one request a cycle, one cycle later on ``memory`` (a register: a stalled request keeps its payload); client 0 goes
    first, then 1 ... Responses pass through combinationally.
    """

    def __init__(self, config: RDUConfig, clients: int):
        if not 1 <= clients <= 1 << CLIENT_BITS:
            raise ValueError(f"clients={clients} must be from 1 to {1 << CLIENT_BITS}")
        self.beat_bytes, self.tag_bits = config.beat_bytes, config.agcu.tag_bits - CLIENT_BITS
        inner = MemoryPort(beat_bytes=config.beat_bytes, tag_bits=self.tag_bits)
        super().__init__({
            "clients": In(inner).array(clients),
            "memory": Out(MemoryPort(beat_bytes=config.beat_bytes, tag_bits=config.agcu.tag_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        request, response, room = self.memory.request, self.memory.response, Signal()
        m.d.comb += [room.eq(~request.valid | request.ready), response.ready.eq(1)]
        with m.If(room):
            m.d.sync += request.valid.eq(Cat(client.request.valid for client in self.clients).any())
        earlier = 0
        for number, client in enumerate(self.clients):
            m.d.comb += client.request.ready.eq(room & ~earlier)
            with m.If(client.request.valid & client.request.ready):
                m.d.sync += [request.p[name].eq(client.request.p[name])
                             for name in memory_request(self.beat_bytes, self.tag_bits).members if name != "tag"]
                m.d.sync += request.p.tag.eq(Cat(client.request.p.tag, Const(number, CLIENT_BITS)))
            earlier = earlier | client.request.valid
            m.d.comb += [
                client.response.valid.eq(response.valid & (response.p.tag[self.tag_bits:] == number)),
                client.response.p.tag.eq(response.p.tag[:self.tag_bits]), client.response.p.status.eq(response.p.status),
                client.response.p.write.eq(response.p.write), client.response.p.data.eq(response.p.data),
            ]
        return m
