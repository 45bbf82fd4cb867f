"""One stage of the body: a row of lanes, its operand selection, its accumulators and its share of the broadcast buffer."""

import itertools

from amaranth.hdl import Cat, Const, Module, Shape, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.common.packet import vector_data
from hw.config import PCUConfig
from hw.hierarchy import instantiate

from .bundle import accumulator_address, broadcast_vectors, context_layout, step_layout
from .delay import Delay
from .lane import LaneStage
from .layout import CONSTANTS, SLOTS, Op, Source, levels, pcu_layout
from .storage import bf16_half

__all__ = ["BodyStage", "stage_latency"]

FP_CONSTANTS = {Source.ONE: 0x3F800000, Source.MINUS_ONE: 0xBF800000, Source.NEGATIVE_ZERO: 0x80000000}


def stage_latency() -> int:
    """Cycles from a stage's slots to the next stage's: operand register, then the lane."""
    return 1 + LaneStage.latency


class BodyStage(wiring.Component):
    """``lanes`` ALUs in a row; the same module at every place of the body.

    Parameters: ``config``.
    Members
    -------
    ``control`` In, this stage's word of the program; ``constants`` In; ``packed`` In, the broadcast buffer holds BF16 pairs.
    ``slots``, ``context`` In, of the iteration that enters now; ``slots_out``, ``context_out`` Out, ``stage_latency()``
    cycles later, one slot replaced by the result.
    ``weight``, ``step`` In, of the systolic step that is at this stage; ``weight_out``, ``step_out`` Out, one cycle later;
    ``finished`` Out, pulse: the last sum of a tile has been written.
    ``broadcast`` In, write port of the broadcast memory; ``preset`` In, second write port of the accumulators;
    ``drain_address`` In, ``drain_data`` Out: combinational read port of the accumulators.

    Contract
    --------
    One iteration or one step a cycle, no stall. A step reads its scalar in the cycle it is at the stage, its sum
    ``1 + LaneStage.add_delay`` cycles later, and its new sum can be read by the step ``reuse_distance`` cycles behind it.
    """

    reuse_distance = LaneStage.latency - LaneStage.add_delay + 1

    def __init__(self, config: PCUConfig):
        self.config, self.identity = config, config
        vector = vector_data(config.lanes)
        write = {"en": 1, "data": vector}
        super().__init__({
            "control": In(pcu_layout(config)["stages"].shape.elem_shape),
            "constants": In(data.ArrayLayout(unsigned(32), CONSTANTS)),
            "packed": In(1),
            "slots": In(data.ArrayLayout(vector, SLOTS)),
            "context": In(context_layout(config)),
            "slots_out": Out(data.ArrayLayout(vector, SLOTS)),
            "context_out": Out(context_layout(config)),
            "weight": In(vector),
            "step": In(step_layout(config)),
            "weight_out": Out(vector),
            "step_out": Out(step_layout(config)),
            "finished": Out(1),
            "broadcast": In(data.StructLayout(write | {"address": range(2 * broadcast_vectors(config))})),
            "preset": In(data.StructLayout(write | {"address": accumulator_address(config)})),
            "drain_address": In(accumulator_address(config)),
            "drain_data": Out(vector),
        })

    def elaborate(self, platform):
        m = Module()
        lanes = [LaneStage() for _ in range(self.config.lanes)]
        for index, lane in enumerate(lanes):
            m.submodules[f"lane_{index}"] = instantiate(platform, lane)
        a, b, c = (Signal(self.weight.shape(), name=name) for name in "abc")
        self._operands(m, a, b, c)
        addend, total, integer = (Signal(self.weight.shape(), name=name) for name in ("addend", "total", "integer"))
        for index, lane in enumerate(lanes):
            m.d.comb += [
                lane.op.eq(self.control.op), lane.a.eq(a[index]), lane.b.eq(b[index]), lane.c.eq(c[index]),
                lane.addend.eq(addend[index]), total[index].eq(lane.sum), integer[index].eq(lane.integer),
            ]
        self._travel(m, integer, total)
        self._accumulate(m, c, addend, total)
        return m

    def _operands(self, m, a, b, c):
        """The operand registers: what each source means is decided here, in the cycle an iteration or a step enters."""
        m.submodules.scalar = scalar = Memory(shape=self.config.lanes * 32, depth=2 * broadcast_vectors(self.config), init=[])
        read, write = scalar.read_port(domain="comb"), scalar.write_port()
        m.d.comb += [
            write.en.eq(self.broadcast.en), write.addr.eq(self.broadcast.address), write.data.eq(self.broadcast.data),
            read.addr.eq(self.step.vector),
        ]
        streamed = Signal(32)
        with m.If(self.packed):
            m.d.comb += streamed.eq(Cat(Const(0, 16), read.data.word_select(self.step.element, 16)))
        with m.Else():
            m.d.comb += streamed.eq(read.data.word_select(self.step.element[:-1], 32))
        width = self.config.lanes
        for register, source in ((a, self.control.a), (b, self.control.b), (c, self.control.c)):
            uniform = self._uniform(m, source, streamed)
            with m.Switch(source):
                for slot in range(SLOTS):
                    with m.Case(Source(slot)):
                        m.d.sync += register.eq(self.slots[slot])
                with m.Case(Source.WEIGHT):
                    m.d.sync += register.eq(self.weight)
                if register is a:
                    for part, half in enumerate((Source.WEIGHT_LOW, Source.WEIGHT_HIGH)):
                        with m.Case(half):
                            m.d.sync += register.eq(bf16_half(self.weight, width, part))
                with m.Case(Source.LANE):
                    m.d.sync += register.eq(Cat(Const(lane, 32) for lane in range(width)))
                with m.Case(Source.ELEMENT):
                    place = (width - 1).bit_length()
                    m.d.sync += register.eq(Cat(
                        Cat(Const(lane, place), self.context.element, Const(0, 32))[:32] for lane in range(width)))
                with m.Default():
                    m.d.sync += register.eq(uniform.replicate(width))

    def _uniform(self, m, source, streamed):
        """The sources that are the same in all lanes."""
        uniform = Signal(32)
        values = {Source.BROADCAST: streamed} | FP_CONSTANTS
        values |= {Source(Source.SCALAR0.value + i): self.context.scalars[i] for i in range(self.config.scalar_inputs)}
        values |= {Source(Source.CONSTANT0.value + i): self.constants[i] for i in range(CONSTANTS)}
        values |= {Source(Source.COUNTER0.value + i): self.context.counters[i] for i in range(levels(self.config))}
        with m.Switch(source):
            for name, value in values.items():
                with m.Case(name):
                    m.d.comb += uniform.eq(value)
        return uniform

    def _travel(self, m, integer, total):
        """Slots and context pass by the lanes; an integer result joins them at once, a sum when it is ready."""
        slots, context = Signal(self.slots.shape()), Signal(self.context.shape())
        m.d.sync += [slots.eq(self.slots), context.eq(self.context)]
        slots_shape, context_shape = Shape.cast(self.slots.shape()).width, Shape.cast(self.context.shape()).width
        m.submodules.travel = travel = Delay(slots_shape + context_shape, stage_latency() - 1)
        is_mac, is_integer = Signal(), Signal()
        m.d.comb += [
            is_mac.eq(self.control.op == Op.MAC),
            is_integer.eq((self.control.op != Op.NOP) & ~is_mac),
            travel.i.eq(Cat(slots, context)),
            Cat(self.slots_out, self.context_out).eq(travel.o),
        ]
        width = Shape.cast(self.weight.shape()).width
        for slot in range(SLOTS):
            with m.If(self.control.slot == slot):
                with m.If(is_integer):
                    m.d.comb += travel.i[slot * width:(slot + 1) * width].eq(integer)
                with m.If(is_mac):
                    m.d.comb += self.slots_out[slot].eq(total)

    def _accumulate(self, m, c, addend, total):
        """The systolic step: read a sum as the product leaves the multiplier, write it as it leaves the adder."""
        m.submodules.sums = sums = Memory(shape=self.config.lanes * 32, depth=2 * self.config.accumulators, init=[])
        read, drain = sums.read_port(domain="comb"), sums.read_port(domain="comb")
        write, preset = sums.write_port(), sums.write_port()
        m.submodules.c_delay = c_delay = Delay(self.config.lanes * 32, LaneStage.add_delay)
        # In SIMD mode the address of the sum comes with the iteration.
        first = Signal(self.step.shape())
        m.d.comb += first.eq(self.step)
        with m.If(self.context.accumulate):
            m.d.comb += [first.valid.eq(1), first.sum.eq(self.context.sum), first.zero.eq(self.context.zero), first.finish.eq(0)]
        steps = [first, *(Signal(self.step.shape(), name=f"step_{cycle + 1}") for cycle in range(stage_latency()))]
        m.d.sync += [later.eq(now) for now, later in itertools.pairwise(steps)]
        m.d.sync += [self.weight_out.eq(self.weight), self.step_out.eq(self.step)]
        reading, writing = steps[1 + LaneStage.add_delay], steps[-1]
        m.d.comb += [
            c_delay.i.eq(c),
            read.addr.eq(reading.sum),
            write.addr.eq(writing.sum), write.en.eq(writing.valid), write.data.eq(total),
            self.finished.eq(writing.valid & writing.finish),
            preset.addr.eq(self.preset.address), preset.en.eq(self.preset.en), preset.data.eq(self.preset.data),
            drain.addr.eq(self.drain_address), self.drain_data.eq(drain.data),
        ]
        with m.If(self.control.c != Source.ACCUMULATOR):
            m.d.comb += addend.eq(c_delay.o)
        with m.Elif(~reading.zero):
            m.d.comb += addend.eq(read.data)
