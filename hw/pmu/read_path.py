"""A read engine: bank reads into an output FIFO with room reserved before each read."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.common.packet import vector_data
from hw.config import PMUConfig

from .align import aligned
from .engine import address_engine, shared_ports
from .geometry import Geometry
from .layout import read_fields

__all__ = ["FIFO_DEPTH", "ReadPath"]

FIFO_DEPTH = 4      # issue, SRAM, FIFO, returned room: four vectors in flight sustain one a cycle


class ReadPath(wiring.Component):
    """Reads what the address engine points at and emits vectors, or word 0 of each to the scalar output.

    Members: as :class:`hw.pmu.write_path.WritePath`, and ``q`` In, what the storage read in the last cycle; ``vector_out``,
      ``scalar_out`` Out; ``did_read``, ``dropped``, ``done`` Out, a read was performed, predicated off, the last of its buffer;
      ``back_pressured`` Out, no room in the FIFO; ``empty`` Out, everything was handed over;
      ``poisoned`` In (with ECC only), what was read in the last cycle must not be emitted.
    Contract: one vector or word a cycle; a granted read is in the output stream two cycles later.
    """

    def __init__(self, config: PMUConfig):
        self.config = self.identity = config
        self.geometry = g = Geometry(config)
        super().__init__(shared_ports(config, read_fields(config)) | {
            "allowed": In(1), "banks": Out(config.banks), "q": In(16 * g.half_lanes),
            "vector_out": Out(stream.Signature(vector_data(config.lanes))), "scalar_out": Out(stream.Signature(32)),
            "did_read": Out(1), "dropped": Out(1), "done": Out(1), "back_pressured": Out(1), "empty": Out(1),
        } | ({"poisoned": In(1)} if config.ecc else {}))

    def elaborate(self, platform):
        m = Module()
        engine = address_engine(m, platform, self, read_fields(self.config))
        request, performed = engine.request, Signal()
        m.d.comb += [
            engine.rotating.eq(self.program.synchronised), self.banks.eq(request.banks), performed.eq(self.grant & self.valid),
            self.did_read.eq(performed & ~request.dropped), self.dropped.eq(performed & request.dropped),
            self.done.eq(performed & request.done),
        ]
        arrived = Signal()
        m.d.sync += arrived.eq(self.did_read & ~self.start)
        good = arrived & ~self.poisoned if self.config.ecc else arrived
        popped = self._fifo(m, good, self._align(m, request, arrived))
        reserve = Signal()
        room = Signal(range(FIFO_DEPTH + 1), init=FIFO_DEPTH)      # places that no read has been promised
        with m.If(self.start):
            m.d.sync += room.eq(FIFO_DEPTH)
        with m.Elif(reserve & ~popped):
            m.d.sync += room.eq(room - 1)
        with m.Elif(popped & ~reserve):
            m.d.sync += room.eq(room + 1)
        m.d.comb += [
            reserve.eq(engine.load & ~engine.drop), engine.go.eq(self.allowed), engine.room.eq(room.any()),
            self.empty.eq(room == FIFO_DEPTH), self.back_pressured.eq(engine.active & self.allowed & ~room.any()),
        ]
        return m

    def _align(self, m, request, arrived):
        """The storage's output in the order of the vector."""
        g = self.geometry
        turn, rotate = Signal(g.lane_bits), Signal()
        vector = Signal(16 * g.half_lanes)
        with m.If(self.did_read):
            m.d.sync += [turn.eq(request.turn), rotate.eq(request.rotate)]
        with m.If(arrived):
            straight = aligned(m, self.q, turn=turn, rotate=rotate, back=False, name="to_vector")
            m.d.comb += vector.eq(straight)
            with m.If(self.program.permute):
                m.d.comb += vector.eq(Cat(straight.word_select(lane[:g.lane_bits - 1], 32) for lane in self.program.lanes))
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
