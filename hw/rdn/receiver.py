"""The end of a link at a unit: one buffer and one stream for every label."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .node import link_of

__all__ = ["RdnReceiver"]


class RdnReceiver(wiring.Component):
    """Splits a link into one stream per label, each with a buffer of its own.

    Parameters
    ----------
    packet: layout of a unit's packet.
    config: an RDNConfig: labels, and packets that each label's buffer holds.
    used: labels 0..used-1 have a buffer and a stream; a packet with another label must not be sent (it would be lost).

    Members: ``link`` In(Link); ``streams[l]`` Out, the packets of label l in order.

    Contract: a packet is on its stream one cycle after it crossed the link; one packet a cycle with ``depth`` 2, from any
    mix of labels; ``streams[l].payload`` is a register and stays put while stalled; a label that is not taken holds up no
    other. The credit goes back in the cycle in which the packet is taken. Unused labels return none.
    """

    def __init__(self, packet: data.StructLayout, config, used: int):
        if not 0 <= used <= config.labels:
            raise ValueError(f"used={used} must be from 0 to labels={config.labels}")
        self.packet, self.depth, self.used = packet, config.buffer_depth, used
        self.identity = (packet, config, used)
        super().__init__({
            "link": In(link_of(packet, config)),
            "streams": Out(stream.Signature(packet)).array(used),
        })

    def elaborate(self, platform):
        m = Module()
        if not self.used:
            return m
        arrive, taken, arriving = Signal(self.used), Signal(self.used), Signal(self.packet)
        m.d.comb += [
            arrive.eq(Cat(self.link.valid & (self.link.label == label) for label in range(self.used))),
            taken.eq(Cat(port.valid & port.ready for port in self.streams)),
            self.link.credit.eq(taken),
        ]
        m.d.comb += [arriving[name].eq(self.link.payload[name]) for name in self.packet.members]
        for label, port in enumerate(self.streams):
            # Place 0 is the head. A packet moves down when the head is taken; an arriving one goes to the first place
            # that is free in the next cycle.
            places = [Signal(self.packet, name=f"label_{label}_place_{index}") for index in range(self.depth)]
            held = [Signal(name=f"label_{label}_holds_{index}") for index in range(self.depth)]
            for index, place in enumerate(places):
                above = held[index + 1] if index + 1 < self.depth else 0
                with m.If(taken[label] & above):
                    if index + 1 < self.depth:
                        m.d.sync += place.eq(places[index + 1])
                with m.Elif(arrive[label] & (~held[index] | taken[label])):
                    m.d.sync += place.eq(arriving)
                below = held[index - 1] if index else 1
                with m.If(arrive[label] & ~taken[label]):
                    m.d.sync += held[index].eq(held[index] | below)
                with m.Elif(taken[label] & ~arrive[label]):
                    m.d.sync += held[index].eq(above)
            m.d.comb += [port.valid.eq(held[0]), port.payload.eq(places[0])]
        return m
