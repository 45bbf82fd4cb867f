"""The SRAM of a PMU: single-ported banks whose half-lanes are separately addressable."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.config import PMUConfig

from .geometry import Geometry

__all__ = ["Bank"]


class Bank(wiring.Component):
    """One bank: ``2 x lanes`` SRAMs of 16 bits, each with an address of its own and one port in all.

    Members:
      ``enable`` In, an access in this cycle; ``write`` In, it is a write;
      ``rows`` In, one row number per half-lane, packed; ``mask`` In, half-lanes to write;
      ``data`` In, the vector to write; ``q`` Out, the vector read.
    Contract: ``q`` is valid in the cycle after a read and kept until the next read; a write leaves it alone.
    The contents survive reset.
    """

    def __init__(self, config: PMUConfig):
        self.config = self.identity = config
        self.geometry = g = Geometry(config)
        super().__init__({
            "enable": In(1), "write": In(1), "rows": In(g.half_lanes * g.row_bits), "mask": In(g.half_lanes),
            "data": In(16 * g.half_lanes), "q": Out(16 * g.half_lanes),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        read_enable = Signal()
        write_enable = Signal(g.half_lanes)
        m.d.comb += read_enable.eq(self.enable & ~self.write)
        with m.If(self.enable & self.write):
            m.d.comb += write_enable.eq(self.mask)
        outputs = []
        for lane in range(g.half_lanes):
            memory = Memory(shape=16, depth=self.config.bank_rows, init=[])
            m.submodules[f"sram_{lane}"] = memory
            read, write = memory.read_port(), memory.write_port()
            row = self.rows.word_select(lane, g.row_bits)
            m.d.comb += [
                read.en.eq(read_enable), read.addr.eq(row),
                write.en.eq(write_enable[lane]), write.addr.eq(row), write.data.eq(self.data.word_select(lane, 16)),
            ]
            outputs.append(read.data)
        m.d.comb += self.q.eq(Cat(outputs))
        return m
