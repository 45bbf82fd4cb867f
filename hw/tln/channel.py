"""The TLN's side of a memory channel and of a requester's responses: arbitration and an output register each."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .arbiter import RoundRobin, select

__all__ = ["Merge"]


class Merge(wiring.Component):
    """Merges ``count`` sources into one registered stream, round robin.

    Parameters: ``layout`` of a source's payload; ``count``; ``identity`` for :func:`hw.hierarchy.instantiate`.
    Members: ``wants`` In(count), source s has a payload; ``payloads`` In, packed; ``taken`` Out(count), one-hot: the source whose
    payload is taken in this cycle; ``o`` Out stream.
    Contract: one payload a cycle; latency one cycle; a source that keeps wanting is served after at most ``count - 1`` others.
    ``taken`` depends on ``o.ready``.
    """

    def __init__(self, layout, count: int):
        self.layout, self.count = layout, count
        self.identity = (layout, count)
        super().__init__({
            "wants": In(count), "payloads": In(layout).array(count), "taken": Out(count), "o": Out(stream.Signature(layout)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = RoundRobin(self.count)
        free = Signal()
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            arbiter.requests.eq(self.wants),
            arbiter.advance.eq(free),
        ]
        with m.If(free):
            m.d.comb += self.taken.eq(arbiter.grant)
            m.d.sync += self.o.valid.eq(self.wants.any())
            select(m, arbiter.grant, self.payloads, self.o.payload, domain="sync")
        return m
