"""Tokens: single-bit pulses on the control fabric, counted until an engine takes them."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["TokenCounters"]

COUNT_BITS = 8


class TokenCounters(wiring.Component):
    """One counter per incoming wire, one pulse per outgoing wire.

    Parameters: ``engines``, ``wires``.
    Members: ``arrived`` In, pulses; ``wait[e]`` In, wires of which engine e needs a token now; ``taken[e]`` In, it takes them;
    ``may_go`` Out, bit e: they are there; ``send[e]`` In, wires that hear engine e; ``finished[e]`` In, it finished a buffer;
    ``sent`` Out, pulses, registered.
    Contract: up to 255 tokens wait on a wire, more are lost; tokens that came before ``execute`` are kept.
    """

    def __init__(self, engines: int, wires: int):
        self.engines, self.wires = engines, wires
        super().__init__({
            "arrived": In(wires), "wait": In(wires).array(engines), "taken": In(1).array(engines), "may_go": Out(engines),
            "send": In(wires).array(engines), "finished": In(1).array(engines), "sent": Out(wires),
        })

    def elaborate(self, platform):
        m = Module()
        present, taken, sent = Signal(self.wires), Signal(self.wires), Signal(self.wires)
        m.d.sync += self.sent.eq(sent)
        for engine in range(self.engines):
            m.d.comb += self.may_go[engine].eq(~(self.wait[engine] & ~present).any())
        wanted = released = 0
        for engine in range(self.engines):
            wanted = wanted | self.wait[engine] & self.taken[engine].replicate(self.wires)
            released = released | self.send[engine] & self.finished[engine].replicate(self.wires)
        m.d.comb += [taken.eq(wanted), sent.eq(released)]
        counts = [Signal(COUNT_BITS, name=f"tokens_{wire}") for wire in range(self.wires)]
        m.d.comb += present.eq(Cat(count.any() for count in counts))
        with m.If((self.arrived | taken).any()):
            for wire, count in enumerate(counts):
                with m.If(self.arrived[wire] & ~taken[wire] & ~count.all()):
                    m.d.sync += count.eq(count + 1)
                with m.If(taken[wire] & ~self.arrived[wire]):
                    m.d.sync += count.eq(count - 1)
        return m
