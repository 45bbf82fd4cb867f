"""The TLN's side of a memory channel and of a requester's responses: arbitration and an output register each."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .arbiter import BurstRoundRobin, RoundRobin, select

__all__ = ["Merge"]


class Merge(wiring.Component):
    """Merges ``count`` sources into one registered stream, round robin.

    Parameters: ``layout`` of a source's payload; ``count``; ``run``, payloads that a source may send in a row while others wait,
    and ``express``, the sources that may interrupt a run (:class:`BurstRoundRobin`); ``identity`` for
    :func:`hw.hierarchy.instantiate`.
    Members: ``wants`` In(count), source s has a payload; ``payloads`` In, packed; ``taken`` Out(count), one-hot: the source whose
    payload is taken in this cycle; ``o`` Out stream.
    Contract: one payload a cycle; latency one cycle; a source that keeps wanting is served after at most one run of each
    other.
    ``taken`` depends on ``o.ready``.
    """

    def __init__(self, layout, count: int, *, run: int = 1, express: int = 0):
        self.layout, self.count, self.run, self.express = layout, count, run, express
        self.identity = (layout, count, run, express)
        super().__init__({
            "wants": In(count), "payloads": In(layout).array(count), "taken": Out(count), "o": Out(stream.Signature(layout)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = (
            BurstRoundRobin(self.count, self.run, self.express) if self.run > 1 else RoundRobin(self.count))
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
