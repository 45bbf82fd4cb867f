"""Small components for the benches' own tests: a correct buffer, and one for each way of breaking a protocol."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hw.common.packet import vector_packet
from hw.rdn.link import Link

__all__ = ["CreditBuffer", "Forwarder", "VectorBuffer"]


class VectorBuffer(wiring.Component):
    """Two buffers of four vector packets; ``count`` packets have come in at ``source[0]``; ``sum`` is ``wide + 1``."""

    def __init__(self):
        packet = stream.Signature(vector_packet(8, 8))
        super().__init__({"source": In(packet).array(2), "sink": Out(packet).array(2), "count": Out(32),
                          "wide": In(100), "sum": Out(100)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.sum.eq(self.wide + 1)
        m.d.sync += self.count.eq(self.count + (self.source[0].valid & self.source[0].ready))
        for number, (source, sink) in enumerate(zip(self.source, self.sink, strict=True)):
            m.submodules[f"fifo_{number}"] = fifo = SyncFIFOBuffered(width=len(source.payload.as_value()), depth=4)
            m.d.comb += [
                fifo.w_data.eq(source.payload), fifo.w_en.eq(source.valid), source.ready.eq(fifo.w_rdy),
                sink.payload.eq(fifo.r_data), sink.valid.eq(fifo.r_rdy), fifo.r_en.eq(sink.ready),
            ]
        return m


class Forwarder(wiring.Component):
    """One register of 32 bits between two streams; ``fault`` names what it does wrong.

    "drops valid": takes valid back after a cycle without ready. "changes payload": counts the payload up while it waits.
    "waits for ready": shows valid only while ready. "never ready": takes nothing. "dies": $fatal's stand-in, see the test.
    """

    def __init__(self, fault: str = ""):
        self.fault = fault
        word = stream.Signature(32)
        super().__init__({"i": In(word), "o": Out(word)})

    def elaborate(self, platform):
        m = Module()
        full, word, age = Signal(), Signal(32), Signal(2)
        moved = self.o.valid & self.o.ready
        m.d.comb += [self.i.ready.eq(~full | moved), self.o.valid.eq(full), self.o.payload.eq(word)]
        m.d.sync += age.eq(age + (age != 3))
        with m.If(moved):
            m.d.sync += full.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [full.eq(1), word.eq(self.i.payload), age.eq(0)]
        if self.fault == "drops valid":
            m.d.comb += self.o.valid.eq(full & (age != 1))
        if self.fault == "changes payload":
            m.d.comb += self.o.payload.eq(word + age)
        if self.fault == "waits for ready":
            seen = Signal()
            m.d.sync += seen.eq(self.o.ready)
            m.d.comb += self.o.valid.eq(full & seen)
        if self.fault == "never ready":
            m.d.comb += self.i.ready.eq(0)
        return m


class CreditBuffer(wiring.Component):
    """Joins two links by a buffer of four packets per label; ``fault``: "ignores credits", "extra credit", "wrong label"."""

    def __init__(self, fault: str = ""):
        self.fault = fault
        link = Link(32, 3)
        super().__init__({"i": In(link), "o": Out(link)})

    def elaborate(self, platform):
        m = Module()
        pick, pending = Signal(3), Signal(3)
        heads = []
        for label in range(3):
            m.submodules[f"fifo_{label}"] = fifo = SyncFIFOBuffered(width=32, depth=4)
            m.d.comb += [fifo.w_data.eq(self.i.payload), fifo.w_en.eq(self.i.valid & (self.i.label == label)),
                         fifo.r_en.eq(pick[label])]
            credits = Signal(3, init=2)
            m.d.sync += credits.eq(credits + self.o.credit[label] - pick[label])
            allowed = fifo.r_rdy if self.fault == "ignores credits" else fifo.r_rdy & (credits != 0)
            m.d.comb += pending[label].eq(allowed)
            heads.append(fifo.r_data)
        m.d.comb += pick.eq(pending & (~pending + 1))
        m.d.sync += self.i.credit.eq(pick)
        if self.fault == "extra credit":
            m.d.sync += self.i.credit.eq(Cat(pick[:2], self.i.valid))
        m.d.comb += self.o.valid.eq(pick.any())
        for label in range(3):
            with m.If(pick[label]):
                m.d.comb += [self.o.payload.eq(heads[label]), self.o.label.eq(3 if self.fault == "wrong label" else label)]
        return m
