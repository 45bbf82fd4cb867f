"""The write engine: packets in, one bank write at a time out."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.common.packet import scalar_packet, vector_packet
from hw.config import PMUConfig

from .align import aligned
from .engine import address_engine, shared_ports
from .geometry import Geometry
from .layout import write_fields

__all__ = ["WritePath"]

QUEUE_DEPTH = 8     # packets whose addresses are in the pipeline or before the arbiter: one per stage, one more, a power of two


class WritePath(wiring.Component):
    """Takes packets from the programmed inputs and writes them where the address engine points.

    Members: those of the address engine that the core drives (:func:`hw.pmu.engine.shared_ports`);
      ``vector_in``, ``scalar_in`` In streams; ``allowed`` In, the present buffer may be written;
      ``banks`` Out, to the arbiter, ``grant`` In; ``port``, ``mask``, ``data`` Out, to the storage;
      ``wrote``, ``dropped``, ``done`` Out, a write was performed, predicated off, the last of its buffer;
      ``starved`` Out, waits for a packet.
    Contract: a packet is taken only together with its address: one a cycle; it is in the banks two cycles later, and one
    cycle more for every pipeline stage. Several inputs are served in turn.
    """

    def __init__(self, config: PMUConfig):
        self.config = self.identity = config
        self.geometry = g = Geometry(config)
        super().__init__(shared_ports(config, write_fields(config)) | {
            "vector_in": In(stream.Signature(vector_packet(config.lanes, config.sequence_bits))).array(config.vector_inputs),
            "scalar_in": In(stream.Signature(scalar_packet(config.sequence_bits))).array(config.scalar_inputs),
            "allowed": In(1), "banks": Out(config.banks), "mask": Out(g.half_lanes), "data": Out(16 * g.half_lanes),
            "wrote": Out(1), "dropped": Out(1), "done": Out(1), "starved": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        engine = address_engine(m, platform, self, write_fields(self.config))
        available, packet = self._input(m, engine)
        performed, physical = Signal(), Signal(16 * g.half_lanes)
        held = self._queue(m, engine.step, packet, performed)
        request = engine.request
        m.d.comb += [
            engine.rotating.eq(1), engine.room.eq(1), engine.go.eq(self.allowed & available),
            self.starved.eq(engine.active & self.allowed & ~available),
            self.banks.eq(request.banks), self.data.eq(physical),
            self.mask.eq(Mux(request.word, 0b11 << (request.turn & ((1 << g.lane_bits) - 2)), -1)),
            performed.eq(self.grant & self.valid), self.wrote.eq(performed & ~request.dropped),
            self.dropped.eq(performed & request.dropped), self.done.eq(performed & request.done),
        ]
        with m.If(request.word):
            m.d.comb += physical.eq(held[:32].replicate(self.config.lanes))
        with m.Elif(self.valid):
            m.d.comb += physical.eq(aligned(m, held, turn=request.turn, rotate=request.rotate, back=True, name="to_memory"))
        return m

    def _input(self, m, engine):
        """(valid, payload as a vector) of the next enabled input that has a packet; its ``ready`` is ``step``."""
        inputs = [*self.vector_in, *self.scalar_in]
        valid, chosen, after = Signal(len(inputs)), Signal(len(inputs)), Signal(len(inputs))
        packet = Signal(16 * self.geometry.half_lanes)
        candidates = Mux((valid & after).any(), valid & after, valid)
        m.d.comb += [
            valid.eq(Cat(port.valid for port in inputs) & self.program.sources),
            chosen.eq(candidates & (~candidates + 1)),
        ]
        with m.If(engine.step):
            m.d.sync += after.eq(~(chosen | (chosen - 1)))         # the inputs above the one served last go first
        for index, port in enumerate(inputs):
            m.d.comb += port.ready.eq(chosen[index] & engine.step)
            with m.If(chosen[index]):
                m.d.comb += [packet.eq(port.p.data.as_value() if index < len(self.vector_in) else port.p.data),
                             engine.sequence.eq(port.p.sequence)]
        return valid.any(), packet

    def _queue(self, m, push, packet, pop):
        """The packet of the request at the arbiter; packets wait here while their addresses are computed."""
        m.submodules.queue = queue = Memory(shape=len(packet), depth=QUEUE_DEPTH, init=[])
        write, read = queue.write_port(), queue.read_port(domain="comb")
        m.d.comb += [write.en.eq(push), write.data.eq(packet)]
        for port, move in ((write, push), (read, pop)):
            with m.If(self.start):
                m.d.sync += port.addr.eq(0)
            with m.Elif(move):
                m.d.sync += port.addr.eq(port.addr + 1)
        return read.data
