"""A cubic of table coefficients, pipelined."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .tables import FRACTION_BITS, WIDTHS

__all__ = ["Interpolator"]

T_BITS = 23


class Interpolator(wiring.Component):
    """``o = c0 + t (c1 + t (c2 + t c3))`` with the coefficients of segment ``address``.

    Parameters: ``table``, rows of four stored coefficients as made by :mod:`hw.fp.tables`.
    Members: ``enable`` In, low when nobody wants the result;
    ``address`` In; ``t`` In(23), the place within the segment in units of 2**-23; ``o`` Out(31) in units of 2**-30.
    Contract: a pure pipeline of ``latency`` stages, one multiplication in each; products are cut, not rounded. The powers of
    ``t`` are cut to 20 and 16 bits where the coefficient is small enough for it.
    """

    latency = 3

    def __init__(self, table: list[tuple[int, int, int, int]]):
        self.table = table
        super().__init__({
            "enable": In(1),
            "address": In(range(len(table))),
            "t": In(T_BITS),
            "o": Out(FRACTION_BITS + 1),
        })

    def elaborate(self, platform):
        m = Module()
        # Two words of at most 64 bits a row.
        low_width, high_width = WIDTHS[0] + WIDTHS[1], WIDTHS[2] + WIDTHS[3]
        rows = len(self.table)
        m.submodules.low = low = Memory(shape=low_width, depth=rows, init=[c0 | c1 << WIDTHS[0] for c0, c1, _, _ in self.table])
        high_init = [c2 | c3 << WIDTHS[2] for _, _, c2, c3 in self.table]
        m.submodules.high = high = Memory(shape=high_width, depth=rows, init=high_init)
        low_port, high_port = low.read_port(domain="comb"), high.read_port(domain="comb")
        m.d.comb += [low_port.addr.eq(self.address), high_port.addr.eq(self.address)]
        c2, c3 = high_port.data[:WIDTHS[2]], high_port.data[WIDTHS[2]:]

        # Without need no register changes: saves power, and the simulator skips what feeds them.
        enable_1, enable_2 = Signal(), Signal()
        m.d.sync += [enable_1.eq(self.enable), enable_2.eq(enable_1)]

        # Stored coefficients have an offset of half their range; taking it out of a product is a subtraction of t, shifted.
        t_1, low_1 = Signal(T_BITS, reset_less=True), Signal(low_width, reset_less=True)
        q2 = Signal(WIDTHS[2], reset_less=True)
        short = self.t[7:]
        with m.If(self.enable):
            m.d.sync += [t_1.eq(self.t), low_1.eq(low_port.data), q2.eq(c2 + (c3 * short)[16:] - short)]

        t_2, c0 = Signal(T_BITS, reset_less=True), Signal(WIDTHS[0], reset_less=True)
        q1 = Signal(WIDTHS[1], reset_less=True)
        medium = t_1[3:]
        with m.If(enable_1):
            m.d.sync += [
                t_2.eq(t_1), c0.eq(low_1[:WIDTHS[0]]),
                q1.eq(low_1[WIDTHS[0]:] + (q2 * medium)[20:] - Cat(Const(0, 3), medium)),
            ]
        value = Signal(FRACTION_BITS + 1, reset_less=True)
        with m.If(enable_2):
            m.d.sync += value.eq(c0 + (q1 * t_2)[23:] - Cat(Const(0, 4), t_2))
        m.d.comb += self.o.eq(value)
        return m
