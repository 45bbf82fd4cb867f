"""The tail: elementary functions on every lane, masking, packing, and the output FIFO."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.common.packet import vector_data
from hw.config import PCUConfig
from hw.fp.format import CANONICAL_NAN, INFINITY
from hw.fp.function import TailFunction
from hw.fp.stochastic import CounterRandom, round_stochastic
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

    Members: ``function``, ``packed``, ``stochastic``, ``seed`` In, constant while ``valid`` vectors are under way; ``restart`` In,
    pulse: the next vector is number 0; ``valid``, ``vector``, ``packet`` In; ``out_valid``, ``out`` Out.
    Contract: a pipeline of ``latency`` cycles, or ``direct_latency`` for BYPASS and RELU, which leave the functions out; one vector a
    cycle. Lanes outside ``packet.mask`` are zero. Packed: the vector is rounded to BF16 and fills its ``packet.half``; a vector
    with ``packet.flush`` completes the output vector (an upper half that was not filled is zero), the others give no output.
    Rounding is to nearest even or, ``stochastic``, by chance: lane l of vector n since ``restart`` uses half l mod 2 of the random
    word of (``seed``, stream l div 2, n). Four cycles at least from ``restart`` to the first vector. The functions stand still
    while no vector is in them.
    """

    direct_latency = 1
    latency = TailUnit.latency + 1

    def __init__(self, config: PCUConfig):
        self.config = config
        vector = vector_data(config.lanes)
        super().__init__({
            "function": In(TailFunction), "packed": In(1), "stochastic": In(1), "seed": In(32), "restart": In(1),
            "valid": In(1), "vector": In(vector), "packet": In(emit_layout(config)),
            "out_valid": Out(1), "out": Out(vector),
        })

    def elaborate(self, platform):
        m = Module()
        lanes = self.config.lanes
        valid, packet, words = self._functions(m, platform)
        kept = [Signal(32, name=f"kept_{lane}") for lane in range(lanes)]
        m.d.comb += [word.eq(Mux(packet.mask[lane], words[lane], 0)) for lane, word in enumerate(kept)]
        narrow = Signal(16 * lanes)
        lower = Signal(16 * lanes)
        random = self._random(m, platform, valid)
        with m.If(self.stochastic):
            m.d.comb += narrow.eq(Cat(round_stochastic(word, random.word_select(lane, 16)) for lane, word in enumerate(kept)))
        with m.Elif(self.packed):
            m.d.comb += narrow.eq(Cat(round_to_bf16(word) for word in kept))
        with m.If(valid & ~packet.half):
            m.d.sync += lower.eq(narrow)
        m.d.sync += self.out_valid.eq(valid & packet.flush)
        with m.If(self.packed):
            m.d.sync += self.out.eq(Mux(packet.half, Cat(lower, narrow), Cat(narrow, Const(0, 16 * lanes))))
        with m.Else():
            m.d.sync += self.out.eq(Cat(kept))
        return m

    def _functions(self, m, platform):
        """(valid, packet, words): past the functions, or at once if none is asked for."""
        computed = Signal()
        m.d.comb += computed.eq(Value.cast(self.function).matches(*(
            function.value for function in TailFunction if function not in (TailFunction.BYPASS, TailFunction.RELU))))
        flight, hold = Signal(TailUnit.latency), Signal()
        m.submodules.delay = delay = Delay(len(Cat(self.packet)), TailUnit.latency)
        m.d.comb += [hold.eq(~((self.valid & computed) | flight.any())), delay.i.eq(self.packet)]
        m.d.sync += flight.eq(Cat(self.valid & computed, flight[:-1]))
        valid, packet, words = Signal(), Signal(self.packet.shape()), Signal(self.vector.shape())
        for lane in range(self.config.lanes):
            m.submodules[f"lane_{lane}"] = instantiate(platform, unit := TailUnit())
            m.d.comb += [unit.hold.eq(hold), unit.function.eq(self.function), unit.a.eq(self.vector[lane])]
            a = self.vector[lane]
            relu = Mux(a[:31] > INFINITY, CANONICAL_NAN, Mux(a[31], 0, a))
            m.d.comb += words[lane].eq(Mux(computed, unit.o, Mux(self.function == TailFunction.RELU, relu, a)))
        m.d.comb += [valid.eq(Mux(computed, flight[-1], self.valid)), packet.eq(Mux(computed, delay.o, self.packet))]
        return valid, packet, words

    def _random(self, m, platform, valid):
        """The random bits of the present vector, 16 a lane: the generators run ahead and move with every vector."""
        ahead = CounterRandom.latency
        count, primed, advance = Signal(32), Signal(ahead), Signal()
        m.d.comb += advance.eq(self.stochastic & (valid | ~primed.all()))
        with m.If(self.restart):
            m.d.sync += [count.eq(0), primed.eq(0)]
        with m.Elif(advance):
            m.d.sync += [count.eq(count + 1), primed.eq(Cat(1, primed))]
        words = []
        for number in range(-(-self.config.lanes // 2)):
            generator = CounterRandom()
            m.submodules[f"random_{number}"] = instantiate(platform, generator)
            m.d.comb += [generator.hold.eq(~advance), generator.seed.eq(self.seed), generator.stream.eq(number),
                         generator.count.eq(count)]
            words.append(generator.o)
        return Cat(words)


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
