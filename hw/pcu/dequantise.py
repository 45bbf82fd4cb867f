"""INT8 weights: the scales of a tile's features and the multiplication by them, between header and body."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.common.counter import CounterChain
from hw.common.packet import vector_data
from hw.config import PCUConfig
from hw.fp.mul import FpMul
from hw.hierarchy import instantiate

from .bundle import step_layout
from .layout import pcu_layout
from .systolic import TokenCount

__all__ = ["WeightScale"]


class WeightScale(wiring.Component):
    """Multiplies each weight vector of a systolic step by its feature block's scales: weight = fp32(scale * q).

    Parameters: ``config``.
    Members
    -------
    ``program``, ``start`` In; ``used`` In, the program has INT8 weights.
    ``valid`` In, ``scales`` In, ``ready`` Out: the stream of scale vectors, ``feature_blocks`` for each tile.
    ``tile_ready`` Out, the scales of the next tile are there; ``open``, ``close`` In, pulses: first and last step of a tile is
    issued; ``block`` In, its feature block.
    ``weight``, ``step`` In, a cycle after they are issued; ``weight_out``, ``step_out`` Out.

    Contract: without ``used`` weight and step pass in the same cycle and nothing here moves; with it they come out
    ``FpMul.latency`` cycles later. The scales of two tiles are held: those of the next one are taken while a tile is in work.
    """

    def __init__(self, config: PCUConfig):
        self.config = config
        super().__init__({
            "program": In(pcu_layout(config)), "start": In(1), "used": In(1),
            "valid": In(1), "scales": In(vector_data(config.lanes)), "ready": Out(1),
            "tile_ready": Out(1), "open": In(1), "close": In(1), "block": In(range(config.accumulators)),
            "weight": In(vector_data(config.lanes)), "step": In(step_layout(config)),
            "weight_out": Out(vector_data(config.lanes)), "step_out": Out(step_layout(config)),
        })

    def elaborate(self, platform):
        m = Module()
        blocks = self.config.accumulators
        m.submodules.store = store = Memory(shape=32 * self.config.lanes, depth=2 * blocks, init=[])
        write, read = store.write_port(), store.read_port(domain="comb")
        m.submodules.free = free = TokenCount()
        m.submodules.full = full = TokenCount()
        m.submodules.chain = chain = CounterChain(3, self.config.counter_bits)
        fill_bank, bank, number = Signal(), Signal(), Signal(range(blocks))
        bounds = self.program.bounds
        m.d.comb += [
            # Blocks of a tile, column tiles, row tiles.
            chain.bounds.eq(Cat(bounds[1], bounds[4], bounds[5])),
            chain.start.eq(self.start & self.used), chain.advance.eq(self.ready),
            self.ready.eq(chain.active & self.valid & (~chain.first[0] | free.any)),
            write.en.eq(self.ready), write.addr.eq(chain.index[0] + Mux(fill_bank, blocks, 0)), write.data.eq(self.scales),
            free.initial.eq(2), free.give.eq(self.close), free.take.eq(self.ready & chain.first[0]),
            full.initial.eq(0), full.give.eq(self.ready & chain.last[0]), full.take.eq(self.open),
            free.start.eq(self.start), full.start.eq(self.start),
            self.tile_ready.eq(full.any | ~self.used),
            read.addr.eq(number + Mux(bank, blocks, 0)),
        ]
        read_bank = Signal()
        with m.If(self.start):
            m.d.sync += [fill_bank.eq(0), read_bank.eq(0)]
        with m.Else():
            m.d.sync += [fill_bank.eq(fill_bank ^ (self.ready & chain.last[0])), read_bank.eq(read_bank ^ self.close)]
        m.d.sync += [bank.eq(read_bank), number.eq(self.block)]
        self._multiply(m, platform, read.data)
        return m

    def _multiply(self, m, platform, scales):
        steps = [self.step]
        for _ in range(FpMul.latency):
            steps.append(later := Signal(self.step.shape()))
            with m.If(self.used):
                m.d.sync += later.eq(steps[-2])
        m.d.comb += [self.weight_out.eq(self.weight), self.step_out.eq(self.step)]
        with m.If(self.used):
            m.d.comb += self.step_out.eq(steps[-1])
        for lane in range(self.config.lanes):
            m.submodules[f"lane_{lane}"] = instantiate(platform, multiplier := FpMul())
            m.d.comb += [multiplier.a.eq(scales.word_select(lane, 32)), multiplier.b.eq(self.weight[lane])]
            with m.If(self.used):
                m.d.comb += self.weight_out[lane].eq(multiplier.o)
