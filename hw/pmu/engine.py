"""The address engine that write and read engines share: loops, address, bank map, one request at a time."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.common.counter import AffineAddress, CounterChain
from hw.config import PMUConfig

from .bank_map import split_vector
from .geometry import Geometry
from .layout import engine_layout
from .storage import access_port

__all__ = ["AddressEngine", "request_layout"]


def request_layout(config: PMUConfig) -> data.StructLayout:
    """One access to the banks.

    ``banks``: those it needs (one; two for an unaligned vector); ``bank``, ``row``: where it begins; ``bank_next``,
    ``row_next``: where the next vector is, of which it takes the half-lanes below ``turn`` if it ``straddles``;
    ``turn``, ``rotate``: see align.py; ``word``: one word, at half-lane ``turn``; ``done``: the last access of a buffer.
    """
    g = Geometry(config)
    return data.StructLayout({
        "banks": config.banks, "bank": g.bank_bits, "row": g.row_bits, "bank_next": g.bank_bits, "row_next": g.row_bits,
        "straddles": 1, "turn": g.lane_bits, "rotate": 1, "word": 1, "done": 1,
    })


class AddressEngine(wiring.Component):
    """Walks a loop nest and offers one bank access after another.

    Parameters: ``config``; ``own``, the fields that this kind of engine adds to :func:`engine_layout`.
    Members:
      ``program`` In; ``positions``, ``folds``, ``buffers``, ``buffer_stride`` In, of the PMU's program;
      ``rotating`` In, the address moves on by ``buffer_stride`` with every buffer;
      ``start`` In, begin; ``active`` Out, there are accesses to make; ``fresh`` Out, the next one is the first of a buffer;
      ``go`` In, an access may be made now (data or room is there); ``step`` Out, it is made; ``step_done`` Out, and it is the
      last of its buffer; ``valid``, ``request`` Out, the access at the arbiter; ``grant`` In, it is performed in this cycle; ``port`` Out, the
      access at the storage.
    Contract: one access a cycle while ``go`` and ``grant``; ``step`` to ``valid`` takes one cycle; ``request`` is registered
    and stable until granted.
    """

    def __init__(self, config: PMUConfig, own: dict):
        self.config, self.geometry = config, Geometry(config)
        self.identity = (config, repr(own))
        super().__init__(self.ports(config, own))

    @staticmethod
    def ports(config: PMUConfig, own: dict) -> dict:
        g = Geometry(config)
        return {
            "program": In(engine_layout(config, **own)),
            "positions": In(data.ArrayLayout(unsigned(8), g.bank_bits)),
            "folds": In(data.ArrayLayout(unsigned(16), g.bank_bits)),
            "buffers": In(g.vector_bits + 1), "buffer_stride": In(g.address_bits), "rotating": In(1),
            "start": In(1), "active": Out(1), "fresh": Out(1), "go": In(1), "step": Out(1), "step_done": Out(1),
            "valid": Out(1), "request": Out(request_layout(config)), "port": Out(access_port(config)), "grant": In(1),
        }

    def elaborate(self, platform):
        m = Module()
        address, done = self._walk(m)
        following = self._map(m, address)
        m.d.comb += [
            following.done.eq(done),
            self.step.eq(self.active & self.go & (~self.valid | self.grant)),
            self.step_done.eq(self.step & done),
        ]
        self._drive(m)
        with m.If(self.step):
            m.d.sync += [self.request.eq(following), self.fresh.eq(done)]
        with m.If(self.start):
            m.d.sync += [self.valid.eq(0), self.fresh.eq(1)]
        with m.Elif(self.step | self.grant):
            m.d.sync += self.valid.eq(self.step)
        return m

    def _walk(self, m):
        """Counters, affine address and the offset of the present buffer."""
        g, program = self.geometry, self.program
        m.submodules.chain = chain = CounterChain(self.config.counter_levels, self.config.counter_bits)
        m.submodules.affine = affine = AffineAddress(self.config.counter_levels, g.address_bits)
        m.d.comb += [
            chain.bounds.eq(program.bounds), affine.base.eq(program.base), affine.last.eq(chain.last),
            affine.strides.eq(Cat(program.strides[level][:g.address_bits] for level in range(self.config.counter_levels))),
            chain.start.eq(self.start), affine.start.eq(self.start),
            chain.advance.eq(self.step), affine.advance.eq(self.step), self.active.eq(chain.active),
        ]
        done, address = Signal(), Signal(g.address_bits)
        buffer, offset = Signal(g.vector_bits + 1), Signal(g.address_bits)
        m.d.comb += [done.eq((Cat(1, chain.last) >> program.handover)[0]), address.eq(affine.address + offset)]
        with m.If(self.start):
            m.d.sync += [buffer.eq(0), offset.eq(0)]
        with m.Elif(self.step_done & self.rotating):
            last = buffer + 1 >= self.buffers
            m.d.sync += [buffer.eq(Mux(last, 0, buffer + 1)), offset.eq(Mux(last, 0, offset + self.buffer_stride))]
        return address, done

    def _map(self, m, address):
        """The access at ``address``."""
        g, access = self.geometry, self.program.access
        following = Signal(request_layout(self.config))
        first_lane, vector = address[:g.lane_bits], address[g.lane_bits:]
        with m.If(self.active):       # an idle engine costs the simulator nothing
            bank, row = split_vector(m, vector, self.positions, self.folds, g, "here")
            m.d.comb += [
                following.bank.eq(bank), following.row.eq(row), following.banks.eq(1 << bank), following.word.eq(access.word),
                following.turn.eq(first_lane ^ ((address >> access.stripe_shift) & access.stripe_mask)),
            ]
            with m.If(access.column):
                for bit in range(g.lane_bits):
                    row = row ^ (access.spread[bit][:g.row_bits] & first_lane[bit].replicate(g.row_bits))
                m.d.comb += following.row.eq(row)
            with m.If(access.unaligned & first_lane.any()):
                bank_next, row_next = split_vector(m, (vector + 1)[:g.vector_bits], self.positions, self.folds, g, "next")
                m.d.comb += [
                    following.turn.eq(first_lane), following.rotate.eq(1), following.straddles.eq(1),
                    following.bank_next.eq(bank_next), following.row_next.eq(row_next),
                    following.banks.eq((1 << bank) | (1 << bank_next)),
                ]
        return following

    def _drive(self, m):
        """The request at the storage, with the row of each half-lane."""
        g, request, port = self.geometry, self.request, self.port
        m.d.comb += port.enable.eq(self.valid & self.grant)
        with m.If(self.valid):
            m.d.comb += [port[name].eq(request[name]) for name in ("bank", "bank_next", "straddles", "turn")]
            m.d.comb += port.rows.eq(request.row.replicate(g.half_lanes))
            with m.If(self.program.access.column):
                m.d.comb += port.rows.eq(Cat(self._column_row(lane) for lane in range(g.half_lanes)))
            with m.If(request.straddles):
                m.d.comb += port.rows.eq(Cat(Mux(lane < request.turn, request.row_next, request.row)
                                             for lane in range(g.half_lanes)))

    def _column_row(self, lane):
        """The bank map is linear in XOR, so a half-lane's row differs from that of half-lane 0 by its number's bits alone."""
        row = self.request.row
        for bit in range(self.geometry.lane_bits):
            if lane >> bit & 1:
                row = row ^ self.program.access.spread[bit][:self.geometry.row_bits]
        return row
