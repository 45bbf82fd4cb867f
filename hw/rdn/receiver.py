"""The end of a link at a unit: one buffer and one stream for every label."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .link import Link

__all__ = ["RdnReceiver"]


class RdnReceiver(wiring.Component):
    """Splits a link into one stream per label, each with a buffer of its own.

    Parameters
    ----------
    payload: layout of a packet.
    labels: virtual circuits of the link.
    depth: packets that each label's buffer holds (the sender's credits).
    used: labels 0..used-1 have a buffer and a stream; a packet with another label must not be sent (it would be lost).

    Members: ``link`` In(Link); ``streams[l]`` Out, the packets of label l in order.

    Contract: a packet is on its stream one cycle after it crossed the link; one packet a cycle with ``depth`` 2, from any
    mix of labels; ``streams[l].payload`` is a register and stays put while stalled; a label that is not taken holds up no
    other. The credit goes back in the cycle in which the packet is taken. Unused labels return none.
    """

    def __init__(self, payload, labels: int, depth: int, used: int):
        if not 0 <= used <= labels:
            raise ValueError(f"used={used} must be from 0 to labels={labels}")
        if depth < 2:
            raise ValueError(f"depth={depth} must be at least 2: the credit round trip")
        self.payload_layout, self.labels, self.depth, self.used = payload, labels, depth, used
        self.identity = (payload, labels, depth, used)
        super().__init__({
            "link": In(Link(payload, labels)),
            "streams": Out(stream.Signature(payload)).array(used),
        })

    def elaborate(self, platform):
        m = Module()
        if not self.used:
            return m
        arrive, taken = Signal(self.used), Signal(self.used)
        m.d.comb += [
            arrive.eq(Cat(self.link.valid & (self.link.label == label) for label in range(self.used))),
            taken.eq(Cat(port.valid & port.ready for port in self.streams)),
            self.link.credit.eq(taken),
        ]
        for label, port in enumerate(self.streams):
            # Place 0 is the head. A packet moves down when the head is taken; an arriving one goes to the first place
            # that is free in the next cycle.
            places = [Signal(self.payload_layout, name=f"label_{label}_place_{index}") for index in range(self.depth)]
            held = [Signal(name=f"label_{label}_holds_{index}") for index in range(self.depth)]
            for index, place in enumerate(places):
                above = held[index + 1] if index + 1 < self.depth else 0
                with m.If(taken[label] & above):
                    if index + 1 < self.depth:
                        m.d.sync += place.eq(places[index + 1])
                with m.Elif(arrive[label] & (~held[index] | taken[label])):
                    m.d.sync += place.eq(self.link.payload)
                below = held[index - 1] if index else 1
                with m.If(arrive[label] & ~taken[label]):
                    m.d.sync += held[index].eq(held[index] | below)
                with m.Elif(taken[label] & ~arrive[label]):
                    m.d.sync += held[index].eq(above)
            m.d.comb += [port.valid.eq(held[0]), port.payload.eq(places[0])]
        return m
