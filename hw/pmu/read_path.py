"""A read engine: bank reads into an output FIFO with room reserved before each read."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.common.packet import vector_data
from hw.config import PMUConfig
from hw.hierarchy import instantiate

from .align import aligned
from .engine import AddressEngine
from .geometry import Geometry
from .layout import read_fields

__all__ = ["FIFO_DEPTH", "ReadPath"]

FIFO_DEPTH = 4      # issue, SRAM, FIFO, returned room: four vectors in flight sustain one a cycle


class ReadPath(wiring.Component):
    """Reads what the address engine points at and emits vectors, or word 0 of each to the scalar output.

    Members: as :class:`hw.pmu.write_path.WritePath`, and ``q[b]`` In, the output of bank b; ``vector_out``, ``scalar_out`` Out;
    ``did_read``, ``done`` Out, a read was performed (the last of its buffer); ``back_pressured`` Out, no room in the FIFO;
    ``empty`` Out, everything was handed over.
    Contract: one vector or word a cycle; a granted read is in the output stream two cycles later.
    """

    def __init__(self, config: PMUConfig):
        self.config = self.identity = config
        self.geometry = g = Geometry(config)
        ports = AddressEngine.ports(config, read_fields(config))
        shared = {name: ports[name] for name in ("program", "positions", "folds", "buffers", "buffer_stride", "start", "active",
                                                 "fresh", "step", "valid", "step_done")}
        super().__init__(shared | {
            "allowed": In(1), "banks": Out(config.banks), "grant": In(1), "rows": Out(g.half_lanes * g.row_bits),
            "q": In(16 * g.half_lanes).array(config.banks),
            "vector_out": Out(stream.Signature(vector_data(config.lanes))), "scalar_out": Out(stream.Signature(32)),
            "did_read": Out(1), "done": Out(1), "back_pressured": Out(1), "empty": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        engine = AddressEngine(self.config, read_fields(self.config))
        m.submodules.engine = instantiate(platform, engine)
        for name in ("program", "positions", "folds", "buffers", "buffer_stride", "start", "grant"):
            m.d.comb += getattr(engine, name).eq(getattr(self, name))
        for name in ("active", "fresh", "valid", "step", "step_done"):
            m.d.comb += getattr(self, name).eq(getattr(engine, name))
        request = engine.request
        m.d.comb += [
            engine.rotating.eq(self.program.synchronised), self.banks.eq(request.banks), self.rows.eq(request.rows),
            self.did_read.eq(self.grant & self.valid), self.done.eq(self.did_read & request.done),
        ]
        arrived = Signal()
        m.d.sync += arrived.eq(self.did_read & ~self.start)
        vector = self._align(m, request, arrived)
        popped = self._fifo(m, arrived, vector)
        room = Signal(range(FIFO_DEPTH + 1), init=FIFO_DEPTH)      # places that no read has been promised
        with m.If(self.start):
            m.d.sync += room.eq(FIFO_DEPTH)
        with m.Elif(engine.step & ~popped):
            m.d.sync += room.eq(room - 1)
        with m.Elif(popped & ~engine.step):
            m.d.sync += room.eq(room + 1)
        m.d.comb += [
            engine.go.eq(self.allowed & room.any()), self.empty.eq(room == FIFO_DEPTH),
            self.back_pressured.eq(engine.active & self.allowed & ~room.any()),
        ]
        return m

    def _align(self, m, request, arrived):
        """The banks' outputs one cycle after the grant, in the order of the vector."""
        g = self.geometry
        access = Signal.like(request)
        with m.If(self.did_read):
            m.d.sync += [access[name].eq(request[name]) for name in ("bank", "bank_next", "straddles", "turn", "rotate")]
        here, merged, vector = (Signal(16 * g.half_lanes, name=name) for name in ("here", "merged", "vector"))
        with m.If(arrived):
            with m.Switch(access.bank):
                for bank in range(self.config.banks):
                    with m.Case(bank):
                        m.d.comb += here.eq(self.q[bank])
            m.d.comb += merged.eq(here)
            with m.If(access.straddles):
                beyond = Signal(16 * g.half_lanes)
                with m.Switch(access.bank_next):
                    for bank in range(self.config.banks):
                        with m.Case(bank):
                            m.d.comb += beyond.eq(self.q[bank])
                m.d.comb += merged.eq(Cat(Mux(lane < access.turn, beyond.word_select(lane, 16), here.word_select(lane, 16))
                                          for lane in range(g.half_lanes)))
            m.d.comb += vector.eq(aligned(m, merged, turn=access.turn, rotate=access.rotate, back=False, name="to_vector"))
        return vector

    def _fifo(self, m, arrived, vector):
        """Never full when something arrives; returns "a packet was handed over"."""
        m.submodules.storage = storage = Memory(shape=16 * self.geometry.half_lanes, depth=FIFO_DEPTH, init=[])
        write, read = storage.write_port(), storage.read_port(domain="comb")
        write_at, read_at = Signal(range(FIFO_DEPTH)), Signal(range(FIFO_DEPTH))
        level, popped = Signal(range(FIFO_DEPTH + 1)), Signal()
        scalar = self.program.scalar
        m.d.comb += [
            write.en.eq(arrived), write.addr.eq(write_at), write.data.eq(vector), read.addr.eq(read_at),
            self.vector_out.valid.eq(level.any() & ~scalar), self.vector_out.p.eq(read.data),
            self.scalar_out.valid.eq(level.any() & scalar), self.scalar_out.p.eq(read.data[:32]),
            popped.eq(level.any() & Mux(scalar, self.scalar_out.ready, self.vector_out.ready)),
        ]
        with m.If(self.start):
            m.d.sync += [write_at.eq(0), read_at.eq(0), level.eq(0)]
        with m.Else():
            with m.If(arrived):
                m.d.sync += write_at.eq(write_at + 1)
            with m.If(popped):
                m.d.sync += read_at.eq(read_at + 1)
            with m.If(arrived != popped):
                m.d.sync += level.eq(Mux(arrived, level + 1, level - 1))
        return popped
