"""The counter chain and the affine address that every engine of a PCU, PMU and AGCU steps through."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AffineAddress", "CounterChain"]


class CounterChain(wiring.Component):
    """Nested loops in hardware: level 0 is the innermost.

    Parameters: ``levels`` loops of ``bits``-bit counters.
    Members:
      ``bounds`` In, iterations of each level (an unused level has bound 1);
      ``start`` In, begins at index zero (a chain with a bound of 0 ends at once);
      ``advance`` In, one iteration of the innermost loop is done (ignored unless ``active``);
      ``active`` Out, there is an iteration to do; ``index`` Out, its counters;
      ``at_end`` Out, bit l: counter l is on its last iteration;
      ``first`` Out, bit l: counters 0..l are all at zero; ``last`` Out, bit l: counters 0..l are all on their last iteration.
    Contract: one iteration a cycle, no cycle between nested loops; ``start`` to ``active`` takes one cycle. Every output is
    a function of registers only.
    Source: SN40L paper IV.A (PCU counters) and IV.B (PMU address generation).
    """

    def __init__(self, levels: int, bits: int):
        self.levels, self.bits = levels, bits
        super().__init__({
            "bounds": In(data.ArrayLayout(unsigned(bits), levels)),
            "start": In(1),
            "advance": In(1),
            "active": Out(1),
            "index": Out(data.ArrayLayout(unsigned(bits), levels)),
            "at_end": Out(levels),
            "first": Out(levels),
            "last": Out(levels),
        })

    def elaborate(self, platform):
        m = Module()
        at_end, at_zero = Signal(self.levels), Signal(self.levels)
        empty = Cat(self.bounds[level] == 0 for level in range(self.levels)).any()
        for level in range(self.levels):
            index = self.index[level]
            m.d.comb += [
                at_end[level].eq(index + 1 == self.bounds[level]),
                at_zero[level].eq(index == 0),
                self.last[level].eq(at_end[:level + 1].all()),
                self.first[level].eq(at_zero[:level + 1].all()),
            ]
            step = self.last[level - 1] if level else 1
            with m.If(self.start):
                m.d.sync += index.eq(0)
            with m.Elif(self.active & self.advance & step):
                m.d.sync += index.eq(Mux(at_end[level], 0, index + 1))
        m.d.comb += self.at_end.eq(at_end)
        with m.If(self.start):
            m.d.sync += self.active.eq(~empty)
        with m.Elif(self.advance & self.last[-1]):
            m.d.sync += self.active.eq(0)
        return m


class AffineAddress(wiring.Component):
    """``base + sum(index[l] * stride[l])`` for a :class:`CounterChain`, kept by one adder instead of multipliers.

    Parameters: ``levels``, ``bits`` of the address.
    Members: ``base`` In; ``strides`` In, one per level (two's complement: addition wraps at ``bits``);
    ``start``, ``advance`` In and ``last`` In, those of the chain; ``address`` Out, of the chain's present iteration.
    Contract: follows the chain cycle by cycle; ``address`` is a register.
    """

    def __init__(self, levels: int, bits: int):
        self.levels, self.bits = levels, bits
        super().__init__({
            "base": In(bits),
            "strides": In(data.ArrayLayout(unsigned(bits), levels)),
            "start": In(1),
            "advance": In(1),
            "last": In(levels),
            "address": Out(bits),
        })

    def elaborate(self, platform):
        m = Module()
        # origin[l] is the address at which the running iteration of loop l began; stepping loop l moves it by its stride
        # and restarts every loop inside it there.
        origin = [Signal(self.bits, name=f"origin_{level}") for level in range(self.levels)]
        # The loop that steps is the outermost one whose inner loops are all on their last iteration.
        from_origin, stride, moved = Signal(self.bits), Signal(self.bits), Signal(self.bits)
        m.d.comb += [from_origin.eq(origin[0]), stride.eq(self.strides[0])]
        for level in range(1, self.levels):
            with m.If(self.last[level - 1]):
                m.d.comb += [from_origin.eq(origin[level]), stride.eq(self.strides[level])]
        m.d.comb += moved.eq(from_origin + stride)
        for level in range(self.levels):
            with m.If(self.start):
                m.d.sync += origin[level].eq(self.base)
            with m.Elif(self.advance & (self.last[level - 1] if level else 1)):
                m.d.sync += origin[level].eq(moved)
        m.d.comb += self.address.eq(origin[0])
        return m
