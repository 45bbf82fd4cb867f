"""The tail: elementary functions on every lane, masking, packing, and the output FIFO."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.common.packet import vector_data
from hw.config import PCUConfig
from hw.fp.format import CANONICAL_NAN, INFINITY
from hw.fp.function import TailFunction
from hw.fp.tail import TailUnit
from hw.hierarchy import instantiate

from .bundle import emit_layout
from .delay import Delay

__all__ = ["OutputFifo", "Tail", "round_to_bf16"]


def round_to_bf16(bits):
    """The upper half of an FP32 pattern, rounded to nearest even; NaN becomes 0x7FC0."""
    return Mux(bits[:31] > INFINITY, CANONICAL_NAN >> 16, (bits + 0x7FFF + bits[16])[16:32])


class Tail(wiring.Component):
    """Applies ``function`` to every lane and packs.

    Members: ``function``, ``packed`` In; ``valid``, ``vector``, ``packet`` In; ``out_valid``, ``out`` Out.
    Contract: a pipeline of ``latency`` cycles, one vector a cycle. Lanes outside ``packet.mask`` are zero. Packed: the vector is
    rounded to BF16 and fills its ``packet.half``; a vector with ``packet.flush`` completes the output vector (an upper half that
    was not filled is zero), the others give no output.
    """

    latency = TailUnit.latency + 1

    def __init__(self, config: PCUConfig):
        self.config = config
        vector = vector_data(config.lanes)
        super().__init__({
            "function": In(TailFunction), "packed": In(1),
            "valid": In(1), "vector": In(vector), "packet": In(emit_layout(config)),
            "out_valid": Out(1), "out": Out(vector),
        })

    def elaborate(self, platform):
        m = Module()
        lanes = self.config.lanes
        m.submodules.delay = delay = Delay(1 + len(Cat(self.packet)), TailUnit.latency)
        m.d.comb += delay.i.eq(Cat(self.valid, self.packet))
        packet = Signal(self.packet.shape())
        valid = delay.o[0]
        m.d.comb += packet.eq(delay.o[1:])
        words = []
        for lane in range(lanes):
            m.submodules[f"lane_{lane}"] = instantiate(platform, unit := TailUnit())
            word = Signal(32, name=f"word_{lane}")
            m.d.comb += [unit.function.eq(self.function), unit.a.eq(self.vector[lane])]
            m.d.comb += word.eq(Mux(packet.mask[lane], unit.o, 0))
            words.append(word)
        narrow = Signal(16 * lanes)
        lower = Signal(16 * lanes)
        m.d.comb += narrow.eq(Cat(round_to_bf16(word) for word in words))
        with m.If(valid & ~packet.half):
            m.d.sync += lower.eq(narrow)
        m.d.sync += self.out_valid.eq(valid & packet.flush)
        with m.If(self.packed):
            m.d.sync += self.out.eq(Mux(packet.half, Cat(lower, narrow), Cat(narrow, Const(0, 16 * lanes))))
        with m.Else():
            m.d.sync += self.out.eq(Cat(words))
        return m


class OutputFifo(wiring.Component):
    """Output vectors, with places reserved for those still in the pipeline: so the pipeline never stalls.

    Parameters: ``config``; ``depth``, a power of two, at least the latency from ``reserve`` to ``valid`` for full throughput.
    Members: ``to_vector``, ``to_scalar`` In, where each vector goes (both: to both; the scalar is lane 0); ``room`` Out, a place
    may be reserved; ``reserve`` In, pulse; ``valid``, ``vector`` In; ``vector_out``, ``scalar_out`` Out streams; ``empty`` Out,
    nothing is stored or on its way; ``blocked`` Out, an output waits for its receiver.
    Contract: a vector that comes in was reserved before; it can leave in the next cycle; one vector a cycle.
    """

    def __init__(self, config: PCUConfig, depth: int):
        self.config, self.depth = config, depth
        vector = vector_data(config.lanes)
        super().__init__({
            "to_vector": In(1), "to_scalar": In(1),
            "room": Out(1), "reserve": In(1), "valid": In(1), "vector": In(vector),
            "vector_out": Out(stream.Signature(vector)), "scalar_out": Out(stream.Signature(32)),
            "empty": Out(1), "blocked": Out(1), "popped": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = Memory(shape=32 * self.config.lanes, depth=self.depth, init=[])
        write, read = store.write_port(), store.read_port(domain="comb")
        reserved, stored = Signal(range(self.depth + 1)), Signal(range(self.depth + 1))
        ready, given, accepted = Signal(2), Signal(2), Signal(2)
        wanted, waiting = Cat(self.to_vector, self.to_scalar), Signal()
        m.d.comb += [
            write.en.eq(self.valid), write.data.eq(self.vector),
            waiting.eq(stored != 0),
            self.vector_out.payload.eq(read.data), self.scalar_out.payload.eq(read.data[:32]),
            Cat(self.vector_out.valid, self.scalar_out.valid).eq(waiting.replicate(2) & wanted & ~given),
            ready.eq(Cat(self.vector_out.ready, self.scalar_out.ready)),
            accepted.eq(given | ready | ~wanted),
            self.popped.eq(waiting & accepted.all()),
            self.room.eq(reserved != self.depth), self.empty.eq(reserved == 0),
            self.blocked.eq(waiting & ~accepted.all()),
        ]
        m.d.sync += [
            reserved.eq(reserved + self.reserve - self.popped), stored.eq(stored + self.valid - self.popped),
            write.addr.eq(write.addr + self.valid), read.addr.eq(read.addr + self.popped),
            # A vector for both outputs leaves when the slower one has it.
            given.eq(Mux(self.popped | ~waiting, 0, given | (ready & wanted))),
        ]
        return m
