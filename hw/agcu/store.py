"""A store engine: a stream of vectors to addresses."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.common.packet import vector_data, vector_packet
from hw.config import AGCUConfig

from .address import AddressWalk
from .layout import store_layout

__all__ = ["StoreEngine"]


class StoreEngine(wiring.Component):
    """Makes one write of every vector that arrives.

    Members: ``program`` In; ``execute`` In, pulse; ``active`` Out, writes are still to be issued; ``vector`` In stream of packets;
    ``scalar`` In stream, indices; ``want`` Out, a write waits; ``offset``, ``misaligned``, ``mask``, ``data`` Out, what it is;
    ``take`` In, it is issued in this cycle; ``starved`` Out, no vector has come.
    Contract: one vector a cycle; in order; a vector that comes before ``execute`` waits.
    """

    def __init__(self, config: AGCUConfig):
        self.config = self.identity = config
        super().__init__({
            "program": In(store_layout(config)), "execute": In(1), "active": Out(1), "scalar": In(stream.Signature(32)),
            "vector": In(stream.Signature(vector_packet(config.lanes, config.sequence_bits))),
            "want": Out(1), "offset": Out(32), "misaligned": Out(1), "mask": Out(config.beat_bytes),
            "data": Out(vector_data(config.lanes)), "take": In(1), "starved": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        beat_bytes = self.config.beat_bytes
        m.submodules.walk = walk = AddressWalk(self.config, store_layout(self.config))
        wiring.connect(m, wiring.flipped(self.scalar), walk.scalar)
        tail = Signal((beat_bytes - 1).bit_length())
        m.d.comb += [
            walk.program.eq(self.program), walk.execute.eq(self.execute), walk.take.eq(self.take),
            self.active.eq(walk.valid),
            self.want.eq(walk.valid & self.vector.valid), self.starved.eq(walk.valid & ~self.vector.valid),
            self.vector.ready.eq(self.take),
            self.offset.eq(walk.offset), self.misaligned.eq((walk.offset % beat_bytes).any()),
            tail.eq(self.program.tail_bytes),
            self.mask.eq(Mux(walk.level0_last & tail.any(), (1 << tail) - 1, -1)),
            self.data.eq(self.vector.payload.data),
        ]
        return m
