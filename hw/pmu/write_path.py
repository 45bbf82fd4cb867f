"""The write engine: packets in, one bank write at a time out."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.common.packet import scalar_packet, vector_packet
from hw.config import PMUConfig
from hw.hierarchy import instantiate

from .align import aligned
from .engine import AddressEngine
from .geometry import Geometry
from .layout import write_fields

__all__ = ["WritePath"]


class WritePath(wiring.Component):
    """Takes packets from the programmed input and writes them where the address engine points.

    Members: ``engine`` the ports of the address engine that the core drives; ``vector_in``, ``scalar_in`` In streams;
    ``allowed`` In, the present buffer may be written; ``valid``, ``banks`` Out, to the arbiter, ``grant`` In;
    ``port``, ``mask``, ``data`` Out, to the storage;
      ``step_done`` Out, the last write of a buffer was issued;
    ``wrote``, ``done`` Out, a write was performed (the last of its buffer); ``active`` Out, not finished;
    ``starved`` Out, waits for a packet.
    Contract: a packet is taken only together with its address: one a cycle; it is in the banks two cycles later.
    """

    def __init__(self, config: PMUConfig):
        self.config = self.identity = config
        self.geometry = g = Geometry(config)
        ports = AddressEngine.ports(config, write_fields(config))
        shared = {name: ports[name] for name in
                  ("program", "positions", "folds", "buffers", "buffer_stride", "start", "active", "fresh", "valid",
                   "step_done", "port")}
        super().__init__(shared | {
            "vector_in": In(stream.Signature(vector_packet(config.lanes, config.sequence_bits))).array(config.vector_inputs),
            "scalar_in": In(stream.Signature(scalar_packet(config.sequence_bits))).array(config.scalar_inputs),
            "allowed": In(1), "banks": Out(config.banks), "grant": In(1), "step": Out(1),
            "mask": Out(g.half_lanes), "data": Out(16 * g.half_lanes),
            "wrote": Out(1), "done": Out(1), "starved": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        engine = AddressEngine(self.config, write_fields(self.config))
        m.submodules.engine = instantiate(platform, engine)
        for name in ("program", "positions", "folds", "buffers", "buffer_stride", "start", "grant"):
            m.d.comb += getattr(engine, name).eq(getattr(self, name))
        for name in ("active", "fresh", "valid", "step", "step_done"):
            m.d.comb += getattr(self, name).eq(getattr(engine, name))
        available, packet = self._input(m)
        held, physical = Signal(16 * g.half_lanes), Signal(16 * g.half_lanes)
        request = engine.request
        m.d.comb += [
            engine.rotating.eq(1), engine.go.eq(self.allowed & available),
            self.starved.eq(engine.active & self.allowed & ~available),
            self.banks.eq(request.banks), self.port.eq(engine.port),
            self.mask.eq(Mux(request.word, 0b11 << (request.turn & ((1 << g.lane_bits) - 2)), -1)),
            self.wrote.eq(self.grant & self.valid), self.done.eq(self.wrote & request.done),
            self.data.eq(physical),
        ]
        with m.If(engine.step):
            m.d.sync += held.eq(packet)
        with m.If(request.word):
            m.d.comb += physical.eq(held[:32].replicate(self.config.lanes))
        with m.Elif(self.valid):
            m.d.comb += physical.eq(aligned(m, held, turn=request.turn, rotate=request.rotate, back=True, name="to_memory"))
        return m

    def _input(self, m):
        """(valid, payload as a vector) of the lowest enabled input that has a packet; its ``ready`` is ``step``."""
        inputs = [*self.vector_in, *self.scalar_in]
        valid = Signal(len(inputs))
        chosen = Signal(len(inputs))
        packet = Signal(16 * self.geometry.half_lanes)
        m.d.comb += [
            valid.eq(Cat(port.valid for port in inputs) & self.program.sources),
            chosen.eq(valid & (~valid + 1)),
        ]
        for index, port in enumerate(inputs):
            m.d.comb += port.ready.eq(chosen[index] & self.step)
            with m.If(chosen[index]):
                m.d.comb += packet.eq(port.p.data.as_value() if index < len(self.vector_in) else port.p.data)
        return valid.any(), packet
