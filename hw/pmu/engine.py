"""The address engine that write and read engines share: loops, address, bank map, one request at a time."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.config import PMUConfig
from hw.hierarchy import instantiate

from .bank_map import split_vector
from .geometry import Geometry
from .storage import access_port
from .walker import Walker, item_layout

__all__ = ["AddressEngine", "address_engine", "request_layout", "shared_ports"]


def request_layout(config: PMUConfig) -> data.StructLayout:
    """One access to the banks.

    ``banks``: those it needs (one; two for an unaligned vector); ``bank``, ``row``: where it begins; ``bank_next``,
    ``row_next``: where the next vector is, of which it takes the half-lanes below ``turn`` if it ``straddles``;
    ``turn``, ``rotate``: see align.py; ``word``: one word, at half-lane ``turn``; ``done``: the last access of a buffer;
    ``dropped``: predicated off, it needs no bank.
    """
    g = Geometry(config)
    return data.StructLayout({
        "banks": config.banks, "bank": g.bank_bits, "row": g.row_bits, "bank_next": g.bank_bits, "row_next": g.row_bits,
        "straddles": 1, "turn": g.lane_bits, "rotate": 1, "word": 1, "done": 1,
        "dropped": 1,
    })


class AddressEngine(wiring.Component):
    """Walks a loop nest and offers one bank access after another.

    Parameters: ``config``; ``own``, the fields that this kind of engine adds to :func:`engine_layout`.
    Members: those of :class:`hw.pmu.walker.Walker`, and
      ``positions``, ``folds``, ``buffers``, ``buffer_stride`` In, of the PMU's program;
      ``rotating`` In, the address moves on by ``buffer_stride`` with every buffer;
      ``advance`` Out, what comes out of the address pipeline is taken; ``staged``, ``staged_valid`` In, that;
      ``room`` In, an access may be put before the arbiter; ``load`` Out, it is; ``drop`` Out, it is predicated off;
      ``valid``, ``request`` Out, the access at the arbiter; ``grant`` In, it is performed in this cycle; ``port`` Out, the
      access at the storage.
    Contract: one access a cycle while ``go``, ``room`` and ``grant``; ``step`` to ``valid`` takes one cycle and one for every
    pipeline stage; ``request`` is registered and stable until granted.
    """

    def __init__(self, config: PMUConfig, own: dict):
        self.config, self.geometry, self.own = config, Geometry(config), own
        self.identity = (config, repr(own))
        super().__init__(self.ports(config, own))

    @staticmethod
    def ports(config: PMUConfig, own: dict) -> dict:
        """The members of an engine of this kind; its walker's are among them."""
        g = Geometry(config)
        return Walker.ports(config, own) | {
            "positions": In(data.ArrayLayout(unsigned(8), g.bank_bits)),
            "folds": In(data.ArrayLayout(unsigned(16), g.bank_bits)),
            "buffers": In(g.vector_bits + 1), "buffer_stride": In(g.address_bits), "rotating": In(1),
            "advance": Out(1), "staged": In(item_layout(config)), "staged_valid": In(1),
            "room": In(1), "load": Out(1), "drop": Out(1),
            "valid": Out(1), "request": Out(request_layout(config)), "port": Out(access_port(config)), "grant": In(1),
        }

    def elaborate(self, platform):
        m = Module()
        m.submodules.walker = walker = Walker(self.config, self.own)
        for name, member in walker.signature.members.items():
            inner, outer = getattr(walker, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        m.d.comb += [
            self.advance.eq((~self.valid | self.grant) & self.room), walker.go.eq(self.go & self.advance),
            self.load.eq(self.advance & self.staged_valid),
        ]
        following = self._map(m, self._address(m))
        self._drive(m)
        with m.If(self.load):
            m.d.sync += self.request.eq(following)
        with m.If(self.start):
            m.d.sync += self.valid.eq(0)
        with m.Elif(self.load | self.grant):
            m.d.sync += self.valid.eq(self.load)
        return m

    def _address(self, m):
        """The scratchpad address: that of the pipeline, moved to the shard's place and the present buffer."""
        g, program = self.geometry, self.program
        buffer, offset = Signal(g.vector_bits + 1), Signal(g.address_bits)
        with m.If(self.start):
            m.d.sync += [buffer.eq(0), offset.eq(program.place)]
        with m.Elif(self.load & self.staged.done & self.rotating):
            last = buffer + 1 >= self.buffers
            m.d.sync += [buffer.eq(Mux(last, 0, buffer + 1)),
                         offset.eq(Mux(last, program.place[:g.address_bits], offset + self.buffer_stride))]
        return (self.staged.x + offset)[:g.address_bits]

    def _map(self, m, address):
        """The access at ``address``."""
        g, program, access = self.geometry, self.program, self.program.access
        following = Signal(request_layout(self.config))
        here = Signal(g.address_bits)
        m.d.comb += here.eq(address)
        first_lane, vector = here[:g.lane_bits], here[g.lane_bits:]
        beyond = program.extent.any() & (self.staged.x >= program.extent)
        with m.If(self.load):         # an idle engine costs the simulator nothing
            bank, row = split_vector(m, vector, self.positions, self.folds, g, "here")
            m.d.comb += [
                following.done.eq(self.staged.done), following.bank.eq(bank), following.row.eq(row),
                following.banks.eq(1 << bank), following.word.eq(access.word),
                following.turn.eq(first_lane ^ ((here >> access.stripe_shift) & access.stripe_mask)),
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
            with m.If(~self.staged.predicate | beyond):
                m.d.comb += [self.drop.eq(1), following.banks.eq(0), following.dropped.eq(1)]
        return following

    def _drive(self, m):
        """The request at the storage, with the row of each half-lane."""
        g, request, port = self.geometry, self.request, self.port
        m.d.comb += port.enable.eq(self.valid & self.grant & ~request.dropped)
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


_INPUTS = ("program", "start", "positions", "folds", "buffers", "buffer_stride", "grant", "scalar", "scalar_valid", "staged",
           "staged_valid")
_OUTPUTS = ("active", "fresh", "step", "step_done", "take_scalar", "item", "advance", "valid", "port")


def shared_ports(config: PMUConfig, own: dict) -> dict:
    """The members of an address engine that a write or read path hands on to the core unchanged."""
    members = AddressEngine.ports(config, own)
    return {name: members[name] for name in (*_INPUTS, *_OUTPUTS)}


def address_engine(m: Module, platform, path: wiring.Component, own: dict) -> AddressEngine:
    """An engine inside ``path``, its shared members joined to those of the path."""
    engine = AddressEngine(path.config, own)
    for name in _INPUTS:
        m.d.comb += getattr(engine, name).eq(getattr(path, name))
    for name in _OUTPUTS:
        m.d.comb += getattr(path, name).eq(getattr(engine, name))
    m.submodules.engine = instantiate(platform, engine)
    return engine
