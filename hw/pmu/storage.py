"""The scratchpad of a PMU: single-ported banks whose half-lanes are separately addressable.

Two forms with the same behaviour (tests/pmu/test_storage.py): :class:`SinglePortedBanks`, the SRAMs that are built, and
:class:`LaneColumns`, which simulates several times faster because it holds a half-lane of all banks in one memory.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.config import PMUConfig
from hw.hierarchy import instantiate

from .geometry import Geometry

__all__ = ["Bank", "LaneColumns", "SinglePortedBanks", "access_port", "storage"]


def access_port(config: PMUConfig) -> data.StructLayout:
    """One engine's access: row p of bank ``bank`` for each half-lane p, or of ``bank_next`` for half-lanes below ``turn`` of an
    access that ``straddles``."""
    g = Geometry(config)
    return data.StructLayout({
        "enable": 1, "bank": g.bank_bits, "bank_next": g.bank_bits, "straddles": 1, "turn": g.lane_bits,
        "rows": g.half_lanes * g.row_bits,
    })


def storage(config: PMUConfig, platform):
    """The form of the storage for ``platform``: SRAMs if it says ``synthesis``."""
    return (SinglePortedBanks if getattr(platform, "synthesis", False) else LaneColumns)(config)


class _Storage(wiring.Component):
    """All banks.

    Members: ``write``, ``read[r]`` In, accesses; ``mask`` In, half-lanes to write; ``data`` In, the vector to write;
      ``q[r]`` Out; with ECC a half-lane is 22 bits wide, check bits and all.
    Contract: accesses of one cycle never share a bank (the arbiter's promise). ``q[r]`` is valid in the cycle after a read,
    in no other. The contents survive reset.
    """

    def __init__(self, config: PMUConfig):
        self.config = self.identity = config
        self.geometry = g = Geometry(config)
        super().__init__({
            "write": In(access_port(config)), "read": In(access_port(config)).array(config.vector_outputs),
            "mask": In(g.half_lanes), "data": In(g.cell_bits * g.half_lanes),
            "q": Out(g.cell_bits * g.half_lanes).array(config.vector_outputs),
        })


class LaneColumns(_Storage):
    __doc__ = _Storage.__doc__

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        outputs = [[] for _ in self.read]
        for lane in range(g.half_lanes):
            m.submodules[f"column_{lane}"] = memory = Memory(shape=g.cell_bits, depth=g.vectors, init=[])
            port = memory.write_port()
            m.d.comb += [port.en.eq(self.write.enable & self.mask[lane]), port.addr.eq(self._address(self.write, lane)),
                         port.data.eq(self.data.word_select(lane, g.cell_bits))]
            for access, output in zip(self.read, outputs, strict=True):
                port = memory.read_port()
                m.d.comb += [port.en.eq(access.enable), port.addr.eq(self._address(access, lane))]
                output.append(port.data)
        m.d.comb += [q.eq(Cat(output)) for q, output in zip(self.q, outputs, strict=True)]
        return m

    def _address(self, access, lane):
        bank = Mux(access.straddles & (lane < access.turn), access.bank_next, access.bank)
        return Cat(access.rows.word_select(lane, self.geometry.row_bits), bank)


class SinglePortedBanks(_Storage):
    __doc__ = _Storage.__doc__

    def elaborate(self, platform):
        m = Module()
        beyond = [Signal(self.geometry.half_lanes, name=f"beyond_{index}") for index in range(1 + len(self.read))]
        for access, below in zip([self.write, *self.read], beyond, strict=True):
            m.d.comb += below.eq(Mux(access.straddles, (1 << access.turn) - 1, 0))
        banks = []
        for number in range(self.config.banks):
            bank = Bank(self.config)
            m.submodules[f"bank_{number}"] = instantiate(platform, bank)
            banks.append(bank)
            used = [self._uses(access, number) for access in (self.write, *self.read)]
            rows = self.write.rows
            for access, mine in zip(self.read, used[1:], strict=True):
                rows = Mux(mine, access.rows, rows)
            here = Mux(self.write.bank == number, ~beyond[0], 0) | Mux(self.write.bank_next == number, beyond[0], 0)
            m.d.comb += [bank.enable.eq(Cat(used).any()), bank.write.eq(used[0]), bank.rows.eq(rows),
                         bank.mask.eq(self.mask & here), bank.data.eq(self.data)]
        for access, below, q in zip(self.read, beyond[1:], self.q, strict=True):
            self._select(m, access, below, banks, q)
        return m

    def _uses(self, access, number):
        return access.enable & ((access.bank == number) | access.straddles & (access.bank_next == number))

    def _select(self, m, access, below, banks, q):
        """The outputs of the banks that were read in the last cycle."""
        bank, bank_next, lanes = Signal.like(access.bank), Signal.like(access.bank_next), Signal.like(below)
        with m.If(access.enable):
            m.d.sync += [bank.eq(access.bank), bank_next.eq(access.bank_next), lanes.eq(below)]
        here, beyond = Signal.like(q), Signal.like(q)
        for chosen, out in ((bank, here), (bank_next, beyond)):
            with m.Switch(chosen):
                for number, source in enumerate(banks):
                    with m.Case(number):
                        m.d.comb += out.eq(source.q)
        spread = Cat(bit.replicate(self.geometry.cell_bits) for bit in lanes)
        m.d.comb += q.eq((here & ~spread) | (beyond & spread))


class Bank(wiring.Component):
    """One bank: ``2 x lanes`` SRAMs of 16 bits (with ECC 22), each with an address of its own and one port in all.

    Members:
      ``enable`` In, an access in this cycle; ``write`` In, it is a write;
      ``rows`` In, one row number per half-lane, packed; ``mask`` In, half-lanes to write;
      ``data`` In, the vector to write; ``q`` Out, the vector read.
    Contract: ``q`` is valid in the cycle after a read and kept until the next read; a write leaves it alone.
    """

    def __init__(self, config: PMUConfig):
        self.config = self.identity = config
        self.geometry = g = Geometry(config)
        super().__init__({
            "enable": In(1), "write": In(1), "rows": In(g.half_lanes * g.row_bits), "mask": In(g.half_lanes),
            "data": In(g.cell_bits * g.half_lanes), "q": Out(g.cell_bits * g.half_lanes),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        outputs = []
        for lane in range(g.half_lanes):
            m.submodules[f"sram_{lane}"] = memory = Memory(shape=g.cell_bits, depth=self.config.bank_rows, init=[])
            read, write = memory.read_port(), memory.write_port()
            row = self.rows.word_select(lane, g.row_bits)
            m.d.comb += [
                read.en.eq(self.enable & ~self.write), read.addr.eq(row),
                write.en.eq(self.enable & self.write & self.mask[lane]), write.addr.eq(row),
                write.data.eq(self.data.word_select(lane, g.cell_bits)),
            ]
            outputs.append(read.data)
        m.d.comb += self.q.eq(Cat(outputs))
        return m
