"""A flow that nobody takes must not hold up the flow beside it; one FIFO for all labels, the usual short cut, must be caught."""

import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from hw.common.packet import scalar_packet
from hw.config import RDNConfig
from hw.rdn.input_port import InputPort
from hw.rdn.receiver import RdnReceiver
from hw.rdn.sender import RdnSender
from hw.rdn.switch import Switch
from sim.unit_bench import BenchTimeout, UnitBench

PACKET = scalar_packet(8)
LABELS = 2
RDN = RDNConfig(labels=LABELS)


class SharedFifoInput(InputPort):
    """Known-bad: packets of all labels leave in the order in which they came."""

    def waiting(self, m, held, arrive, leave):
        m.submodules.order = order = SyncFIFO(width=1, depth=self.labels * self.depth)
        mask = Signal(self.labels)
        m.d.comb += [order.w_en.eq(arrive.any()), order.w_data.eq(arrive[1]), order.r_en.eq(leave.any()),
                     mask.eq(Mux(order.r_rdy, 1 << order.r_data, 0))]
        return mask


class SharedFifoSwitch(Switch):
    input_port = SharedFifoInput


class Line(wiring.Component):
    """Two flows over the same links: a sender, two switches in a row, a receiver."""

    def __init__(self, switch):
        self.switch = switch
        super().__init__({"source": In(stream.Signature(32)).array(LABELS), "sink": Out(stream.Signature(PACKET)).array(LABELS)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sender = sender = RdnSender(PACKET, RDN, LABELS)
        m.submodules.receiver = receiver = RdnReceiver(PACKET, RDN, LABELS)
        m.submodules.first = first = self.switch(PACKET, 2, LABELS, 2)
        m.submodules.second = second = self.switch(PACKET, 2, LABELS, 2)
        wiring.connect(m, sender.link, first.inputs[0])
        wiring.connect(m, first.outputs[1], second.inputs[0])
        wiring.connect(m, second.outputs[1], receiver.link)
        for label in range(LABELS):
            m.d.comb += [switch.flows[label].eq(1 << LABELS + label) for switch in (first, second)]
            wiring.connect(m, wiring.flipped(self.source[label]), sender.streams[label])
            wiring.connect(m, receiver.streams[label], wiring.flipped(self.sink[label]))
        return m


def only_one_taken(switch) -> list[int]:
    """Feeds both flows, takes only flow 1; returns what came."""
    with UnitBench(Line(switch)) as bench:
        for label in range(LABELS):
            bench.feed(f"source[{label}]", [label << 16 | index for index in range(40)])
        taken = bench.collect("sink[1]")
        bench.run(2000, until={"sink[1]": 40}, progress_limit=200)
        assert bench.transfers("source[0]") == 3 * 2           # what the buffers of three hops hold
        return [value & 0xFFFFFFFF for value in taken.ints()]


def test_a_stalled_flow_holds_up_no_other():
    assert only_one_taken(Switch) == [1 << 16 | index for index in range(40)]


def test_a_shared_fifo_is_caught():
    with pytest.raises(BenchTimeout, match=r"sink\[1\]"):
        only_one_taken(SharedFifoSwitch)
