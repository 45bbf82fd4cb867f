"""The pattern compute unit."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal

from hw.common.unit import DataflowUnit
from hw.config import PCUConfig
from hw.hierarchy import instantiate

from .dequantise import WeightScale
from .header import Header
from .layout import SCALE_INPUT, Initial, Mode, pcu_layout
from .reduce import Reduction
from .stage import BodyStage, stage_latency
from .systolic import BroadcastFill, RowWalk, TokenCount
from .tail import OutputFifo, Tail

__all__ = ["EVENTS", "PCU"]

EVENTS = [
    "busy", "starved", "back_pressured", "packets_in",
    "packets_out",            # an output vector was handed over
    "iterations",             # SIMD iterations issued
    "mac_cycles",             # systolic steps issued: lanes x stages MACs each
    "starved_weights",        # stall causes of the systolic mode
    "starved_broadcast",
    "starved_sums",           # a tile waits for accumulators: initial values or the drain of the tile before the last
]


class PCU(DataflowUnit):
    """Header -> body (``stages`` x ``lanes`` ALUs) -> reduction -> tail -> output FIFO.

    Parameters: ``config``. Members: those of :class:`~hw.common.unit.DataflowUnit`.

    Contract
    --------
    The program is constant from ``execute`` until ``busy`` falls. Nothing behind the header stalls: an iteration is issued when
    its inputs are there and the output FIFO has a place for its result. Systolic mode: vector input 0 brings weights, 1 the rows
    of the broadcast buffer, 2 initial values, 3 the scales of INT8 weights. SIMD mode: vector input i is slot i of stage 0.
    Vector output 0 and scalar output 0 carry the results; further outputs are unused. ``control_out[0]`` pulses when the program
    has finished.
    ``latency`` is that of a SIMD iteration without reduction, from the cycle it is issued to the cycle of its output; without a
    function of the tail (BYPASS, RELU) it is ``direct_latency``.

    Source: SN40L paper IV.A; architecture section 3.
    """

    def __init__(self, config: PCUConfig):
        super().__init__(
            config=config, program=pcu_layout(config), events=EVENTS,
            vector_inputs=config.vector_inputs, vector_outputs=config.vector_outputs,
            scalar_inputs=config.scalar_inputs, scalar_outputs=config.scalar_outputs)
        # Header register, body, tail's input register, tail, write into the FIFO.
        self.direct_latency = 1 + config.stages * stage_latency() + 1 + Tail.direct_latency + 1
        self.latency = self.direct_latency + Tail.latency - Tail.direct_latency

    def elaborate(self, platform):
        m = Module()
        m.submodules.header = header = Header(self.config)
        m.submodules.tail = tail = Tail(self.config)
        m.submodules.reduction = reduction = Reduction(self.config)
        depth = 1 << (self.latency + reduction.latency).bit_length()
        m.submodules.fifo = fifo = OutputFifo(self.config, depth)
        m.submodules.scale = scale = WeightScale(self.config)
        stages = [BodyStage(self.config) for _ in range(self.config.stages)]
        for index, stage in enumerate(stages):
            m.submodules[f"stage_{index}"] = instantiate(platform, stage)

        self._connect_header(m, header, fifo)
        self._connect_scale(m, header, scale)
        self._connect_body(m, header, scale, stages, reduction)
        drain, drained = self._systolic(m, header, scale, stages, fifo)
        self._connect_tail(m, reduction, tail, fifo, drain, drained)
        self._status(m, header, fifo, drain)
        return m

    def _connect_header(self, m, header, fifo):
        m.d.comb += [header.program.eq(self.program), header.start.eq(self.execute & (self.program.mode != Mode.UNUSED))]
        for inner, outer in zip([*header.vector_in, *header.scalar_in], [*self.vector_in, *self.scalar_in], strict=True):
            m.d.comb += [inner.valid.eq(outer.valid), inner.payload.eq(outer.payload), outer.ready.eq(inner.ready)]
        m.d.comb += header.room.eq(fifo.room)

    def _connect_scale(self, m, header, scale):
        start = self.execute & (self.program.mode == Mode.SYSTOLIC)
        m.d.comb += [
            scale.program.eq(self.program), scale.start.eq(start),
            scale.used.eq((self.program.mode == Mode.SYSTOLIC) & self.program.vector_input[0].int8),
            scale.open.eq(header.open_tile), scale.close.eq(header.close_tile), scale.block.eq(header.block),
            scale.weight.eq(header.slots[0]), scale.step.eq(header.step),
        ]
        if len(self.vector_in) > SCALE_INPUT:
            scales = self.vector_in[SCALE_INPUT]
            m.d.comb += [scale.valid.eq(scales.valid), scale.scales.eq(scales.payload.data)]
            with m.If(scale.used):
                m.d.comb += scales.ready.eq(scale.ready)

    def _connect_body(self, m, header, scale, stages, reduction):
        slots, context, weight, step = header.slots, header.context, scale.weight_out, scale.step_out
        for index, stage in enumerate(stages):
            m.d.comb += [
                stage.control.eq(self.program.stages[index]), stage.constants.eq(self.program.constants),
                stage.packed.eq(self.program.vector_input[1].packed),
                stage.slots.eq(slots), stage.context.eq(context), stage.weight.eq(weight), stage.step.eq(step),
            ]
            slots, context, weight, step = stage.slots_out, stage.context_out, stage.weight_out, stage.step_out
        valid = Signal(len(stages) * stage_latency())
        m.d.sync += valid.eq(Cat(header.valid, valid[:-1]))
        m.d.comb += [
            reduction.kind.eq(self.program.reduce), reduction.valid.eq(valid[-1]), reduction.context.eq(context),
            reduction.vector.eq(Array(slots[index] for index in range(len(slots)))[self.program.result]),
        ]

    def _systolic(self, m, header, scale, stages, fifo):
        """Broadcast buffer, initial values and drain; returns the drain's walk and its vector."""
        m.submodules.fill = fill = BroadcastFill(self.config)
        m.submodules.preset = preset = RowWalk(self.config)
        m.submodules.drain = drain = RowWalk(self.config)
        m.submodules.free_halves = free_halves = TokenCount()
        m.submodules.full_halves = full_halves = TokenCount()
        m.submodules.free_sums = free_sums = TokenCount()      # banks to be given initial values
        m.submodules.ready_sums = ready_sums = TokenCount()    # banks that a tile may use
        m.submodules.done_sums = done_sums = TokenCount()      # banks to be drained
        start = self.execute & (self.program.mode == Mode.SYSTOLIC)
        from_zero = self.program.initial == Initial.ZERO
        rows_in, initial_in = self.vector_in[1], self.vector_in[2]
        for unit in (fill, preset, drain):
            m.d.comb += [unit.program.eq(self.program), unit.start.eq(start & ~(from_zero & (unit is preset)))]
        m.d.comb += [
            fill.step.eq(fill.active & rows_in.valid & (~fill.opening | free_halves.any)),
            preset.step.eq(preset.active & initial_in.valid & (~preset.opening | free_sums.any)),
            drain.step.eq(drain.active & (~drain.opening | done_sums.any) & fifo.room),
            preset.each_row.eq(self.program.initial == Initial.PARTIAL), drain.each_row.eq(1),
            header.half_ready.eq(full_halves.any), header.sums_ready.eq(ready_sums.any & scale.tile_ready),
        ]
        drained, last_step = drain.step & drain.closing, stages[-1].step_out
        for tokens, initial, give, take in (
            (free_halves, 2, last_step.valid & last_step.release, fill.step & fill.opening),
            (full_halves, 0, fill.filled, header.release_half),
            (free_sums, 2, drained, preset.step & preset.opening),
            (ready_sums, Mux(from_zero, 2, 0), Mux(from_zero, drained, preset.step & preset.closing), header.open_tile),
            (done_sums, 0, stages[-1].finished, drain.step & drain.opening),
        ):
            m.d.comb += [tokens.start.eq(start), tokens.initial.eq(initial), tokens.give.eq(give), tokens.take.eq(take)]
        with m.If(self.program.mode == Mode.SYSTOLIC):
            m.d.comb += rows_in.ready.eq(fill.step)
            m.d.comb += initial_in.ready.eq(preset.step & (preset.each_row | preset.block_end))
        for index, stage in enumerate(stages):
            m.d.comb += [
                stage.broadcast.en.eq(fill.step & fill.stage[index]), stage.broadcast.address.eq(fill.address),
                stage.broadcast.data.eq(rows_in.payload.data),
                stage.preset.en.eq(preset.step & preset.stage[index]), stage.preset.address.eq(preset.address),
                stage.preset.data.eq(initial_in.payload.data),
                stage.drain_address.eq(drain.address),
            ]
        drained_vector = Signal(stages[0].drain_data.shape())
        for index, stage in enumerate(stages):
            with m.If(drain.stage[index]):
                m.d.comb += drained_vector.eq(stage.drain_data)
        return drain, drained_vector

    def _connect_tail(self, m, reduction, tail, fifo, drain, drained):
        systolic = self.program.mode == Mode.SYSTOLIC
        packed = self.program.output_packed
        m.d.comb += [
            tail.function.eq(self.program.function), tail.packed.eq(packed),
            tail.restart.eq(self.execute), tail.stochastic.eq(self.program.stochastic), tail.seed.eq(self.program.seed),
            fifo.to_vector.eq(self.program.to_vector), fifo.to_scalar.eq(self.program.to_scalar),
            fifo.valid.eq(tail.out_valid), fifo.vector.eq(tail.out),
        ]
        with m.If(systolic):
            m.d.sync += [
                tail.valid.eq(drain.step), tail.vector.eq(drained),
                tail.packet.eq(Cat(drain.half & packed, drain.flush | ~packed, Const(-1, self.config.lanes))),
            ]
        with m.Else():
            m.d.sync += [
                tail.valid.eq(reduction.out_valid), tail.vector.eq(reduction.out_vector), tail.packet.eq(reduction.out_packet),
            ]
        for outer, inner in ((self.vector_out[0], fifo.vector_out), (self.scalar_out[0], fifo.scalar_out)):
            m.d.comb += [outer.valid.eq(inner.valid), outer.payload.eq(inner.payload), inner.ready.eq(outer.ready)]

    def _status(self, m, header, fifo, drain):
        m.d.comb += fifo.reserve.eq(header.reserve | (drain.step & (drain.flush | ~self.program.output_packed)))
        finished = Signal()
        m.d.comb += [
            finished.eq(self.busy & ~header.active & ~drain.active & fifo.empty),
            self.control_out.eq(finished),
        ]
        with m.If(self.execute & (self.program.mode != Mode.UNUSED)):
            m.d.sync += self.busy.eq(1)
        with m.Elif(finished):
            m.d.sync += self.busy.eq(0)
        events = self.events
        streams = [*self.vector_in, *self.scalar_in]
        step_wait = header.active & (self.program.mode == Mode.SYSTOLIC) & ~header.issue_step
        m.d.comb += [
            events.busy.eq(self.busy), events.starved.eq(header.starved), events.back_pressured.eq(fifo.blocked),
            events.packets_in.eq(Cat(port.valid & port.ready for port in streams).any()), events.packets_out.eq(fifo.popped),
            events.mac_cycles.eq(header.issue_step), events.iterations.eq(header.issue_iteration),
            events.starved_weights.eq(step_wait & ~self.vector_in[0].valid),
            events.starved_broadcast.eq(step_wait & ~header.half_ready),
            events.starved_sums.eq(step_wait & self.vector_in[0].valid & header.half_ready),
        ]

