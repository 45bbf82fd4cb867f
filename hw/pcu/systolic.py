"""Control of the systolic mode: the steps, the broadcast buffer's filling, the accumulators' initial values, the drain."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.common.counter import CounterChain
from hw.config import PCUConfig

from .bundle import accumulator_address, broadcast_vectors, step_layout
from .layout import Initial, levels, pcu_layout

__all__ = ["BroadcastFill", "RowWalk", "StageTurn", "StepControl", "TokenCount"]


class StepControl(wiring.Component):
    """The control word of each step from the counters (row group, feature block, k, k chunk, column tile, row tile).

    Members: ``program``, ``index``, ``last`` In, of the chain; ``start``, ``issue`` In; ``step`` Out, registered;
    ``release`` Out, the present step is the last that reads this half of the broadcast buffer.
    Contract: addresses are kept by adding, one step a cycle.
    """

    def __init__(self, config: PCUConfig):
        self.config = config
        super().__init__({
            "program": In(pcu_layout(config)),
            "index": In(data.ArrayLayout(unsigned(config.counter_bits), levels(config))),
            "last": In(levels(config)),
            "start": In(1), "issue": In(1),
            "step": Out(step_layout(config)),
            "release": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        vectors, lanes, sums = broadcast_vectors(self.config), self.config.lanes, self.config.accumulators
        half, bank = Signal(), Signal()
        group_base = Signal(range(vectors))
        number = Signal(range(sums))
        packed = self.program.vector_input[1].packed
        k = self.index[2]
        place = (lanes - 1).bit_length()
        m.d.comb += self.release.eq(Mux(self.program.reuse, self.last[4], self.last[2]))
        with m.If(self.start):
            m.d.sync += [half.eq(0), bank.eq(0), group_base.eq(0), number.eq(0)]
        with m.Elif(self.issue):
            m.d.sync += [
                half.eq(half ^ self.release), bank.eq(bank ^ self.last[3]),
                group_base.eq(Mux(self.last[0], 0, group_base + self.program.row_vectors)),
                number.eq(Mux(self.last[1], 0, number + 1)),
            ]
        vector = Signal(range(vectors))
        m.d.comb += vector.eq(group_base + Mux(packed, k >> (place + 1), k >> place))
        step = self.step
        m.d.sync += [
            step.valid.eq(self.issue),
            step.vector.eq(Mux(half, vectors, 0) + vector),
            step.element.eq(Mux(packed, k[:place + 1], Cat(k[:place], 0))),
            step.sum.eq(Mux(bank, sums, 0) + number),
            step.zero.eq((self.program.initial == Initial.ZERO) & ((self.index[2] | self.index[3]) == 0)),
            step.finish.eq(self.last[3]), step.release.eq(self.release),
        ]
        return m


class TokenCount(wiring.Component):
    """How many of two buffers are available. Members: ``start`` In, set to ``initial``; ``give``, ``take`` In; ``any`` Out.

    Contract: ``give`` and ``take`` may come together; the number stays from 0 to 2 when the users keep the rules.
    """

    initial: In(2)
    start: In(1)
    give: In(1)
    take: In(1)
    any: Out(1)

    def elaborate(self, platform):
        m = Module()
        count = Signal(2)
        m.d.sync += count.eq(Mux(self.start, self.initial, count + self.give - self.take))
        m.d.comb += self.any.eq(count != 0)
        return m


class StageTurn(wiring.Component):
    """The stage, or with ``pairs`` the two stages, whose turn it is: one row after the other.

    Parameters: ``config``.
    Members: ``pairs`` In; ``restart``, ``step`` In, back to the first (goes before ``step``) or on to the next; ``even`` Out, ``odd`` Out,
    one bit per stage: the stage, and its partner; ``end`` Out, the next one is the first again.
    Contract: ``even`` is a register. With ``pairs`` the last one of an odd number of stages has no turn; a body of one stage has no pairs.
    """

    def __init__(self, config: PCUConfig):
        self.config = config
        super().__init__({"pairs": In(1), "restart": In(1), "step": In(1),
                          "even": Out(config.stages, init=1), "odd": Out(config.stages), "end": Out(1)})

    def elaborate(self, platform):
        m = Module()
        last_pair = max(self.config.stages // 2 * 2 - 2, 0)
        m.d.comb += [
            self.end.eq(Mux(self.pairs, self.even[last_pair], self.even[-1])),
            self.odd.eq(Mux(self.pairs, self.even << 1, 0)),
        ]
        with m.If(self.restart | (self.step & self.end)):
            m.d.sync += self.even.eq(1)
        with m.Elif(self.step):
            m.d.sync += self.even.eq(Mux(self.pairs, self.even << 2, self.even << 1))
        return m


class BroadcastFill(wiring.Component):
    """Fills the halves of the broadcast buffer in turn, row by row.

    Members: ``program`` In; ``start`` In; ``active`` Out; ``step`` In, a vector is there and is taken; ``free`` In, the half
    may be written; ``stage`` Out, the write enable of each stage; ``address`` Out; ``filled`` Out, ``opening`` Out: this
    vector completes or begins a half.
    Contract: one vector a cycle; a half holds ``rows`` (``last_rows`` in the last row tile) rows of ``row_vectors`` vectors:
    row r lies in stage r mod stages, group r div stages; with ``stage_pairs`` in both stages of pair r mod (stages div 2), group
    r div (stages div 2).
    """

    def __init__(self, config: PCUConfig):
        self.config = config
        super().__init__({
            "program": In(pcu_layout(config)),
            "start": In(1), "active": Out(1), "step": In(1),
            "opening": Out(1), "filled": Out(1),
            "stage": Out(config.stages), "address": Out(range(2 * broadcast_vectors(config))),
        })

    def elaborate(self, platform):
        m = Module()
        bounds, vectors = self.program.bounds, broadcast_vectors(self.config)
        # Vectors of a row, rows, k chunks, column tiles, row tiles.
        m.submodules.chain = chain = CounterChain(5, self.config.counter_bits)
        rows = Mux(chain.at_end[4], self.program.last_rows, self.program.rows)
        halves = Mux(self.program.reuse, 1, bounds[4])
        m.d.comb += [
            chain.bounds.eq(Cat(self.program.row_vectors, rows, bounds[3], halves[:len(bounds[4])], bounds[5])),
            chain.start.eq(self.start), chain.advance.eq(self.step), self.active.eq(chain.active),
            self.opening.eq(chain.first[1]), self.filled.eq(self.step & chain.last[1]),
        ]
        half, place, base = Signal(), Signal(range(vectors + 1)), Signal(range(vectors + 1))
        m.submodules.turn = turn = StageTurn(self.config)
        m.d.comb += [
            turn.pairs.eq(self.program.stage_pairs), turn.restart.eq(self.start | (self.step & chain.last[1])),
            turn.step.eq(self.step & chain.last[0]),
            self.stage.eq(turn.even | turn.odd), self.address.eq(Mux(half, vectors, 0) + place),
        ]
        following = Signal(range(vectors + 1))
        m.d.comb += following.eq(Mux(chain.last[0] & ~turn.end, base, place + 1))
        with m.If(self.start):
            m.d.sync += [half.eq(0), place.eq(0), base.eq(0)]
        with m.Elif(self.step):
            m.d.sync += place.eq(following)
            with m.If(chain.last[0]):
                m.d.sync += base.eq(following)
            with m.If(chain.last[1]):
                m.d.sync += [half.eq(~half), place.eq(0), base.eq(0)]
        return m


class RowWalk(wiring.Component):
    """Visits the sums of every tile row by row: for each row its feature blocks in order.

    Members: ``program`` In; ``start`` In; ``step`` In; ``active`` Out; ``stage`` Out, one bit per stage; ``address`` Out;
    ``opening``, ``closing`` Out: first or last sum of a tile; ``half``, ``flush`` Out: place of the vector in a packed row.
    ``each_row`` In: 1: all rows one after the other; 0: each feature block for all rows and groups at once, group by group.
    Contract: one sum a cycle; rows beyond the last valid one are not visited. With ``stage_pairs`` a row's feature blocks lie in its two
    stages by turns, the two of a pair at one address.
    """

    def __init__(self, config: PCUConfig):
        self.config = config
        super().__init__({
            "program": In(pcu_layout(config)),
            "start": In(1), "step": In(1), "active": Out(1), "each_row": In(1),
            "opening": Out(1), "closing": Out(1), "half": Out(1), "flush": Out(1), "block_end": Out(1),
            "stage": Out(config.stages), "address": Out(accumulator_address(config)),
        })

    def elaborate(self, platform):
        m = Module()
        bounds, sums, pairs = self.program.bounds, self.config.accumulators, self.program.stage_pairs
        m.submodules.chain = chain = CounterChain(4, self.config.counter_bits)
        m.submodules.turn = turn = StageTurn(self.config)
        rows = Mux(chain.at_end[3], self.program.last_rows, self.program.rows)
        blocks = Mux(pairs, bounds[1] << 1, bounds[1])[:self.config.counter_bits]
        m.d.comb += [
            # Row by row: feature blocks, rows. All rows at once: row groups, feature blocks.
            chain.bounds.eq(Cat(Mux(self.each_row, blocks, bounds[0]), Mux(self.each_row, rows, blocks)[:16], bounds[4], bounds[5])),
            chain.start.eq(self.start), chain.advance.eq(self.step), self.active.eq(chain.active),
            self.opening.eq(chain.first[1]), self.closing.eq(chain.last[1]), self.block_end.eq(chain.last[0]),
            self.half.eq(chain.index[0][0]), self.flush.eq(chain.index[0][0] | chain.at_end[0]),
        ]
        # ``origin``: the number that the row group or, all rows at once, the feature block (the pair) begins with.
        bank, number, origin = Signal(), Signal(range(sums)), Signal(range(sums))
        odd, pair_end = Signal(), Signal()
        odd_stages = Const(sum(1 << stage for stage in range(1, self.config.stages, 2)), self.config.stages)
        m.d.comb += [
            odd.eq(pairs & Mux(self.each_row, chain.index[0], chain.index[1])[0]), pair_end.eq(odd | ~pairs),
            turn.pairs.eq(pairs), turn.restart.eq(self.start | (self.step & chain.last[1])), turn.step.eq(self.step & chain.last[0]),
            self.address.eq(Mux(bank, sums, 0) + number),
        ]
        with m.If(self.each_row):
            m.d.comb += self.stage.eq(Mux(odd, turn.odd, turn.even))
        with m.Else():
            m.d.comb += self.stage.eq(Mux(odd, odd_stages, Mux(pairs, ~odd_stages, -1)))
        following = Signal(range(sums))
        with m.If(self.each_row):
            m.d.comb += following.eq(Mux(chain.last[0], origin + turn.end, Mux(pair_end, number + bounds[0], number)))
        with m.Else():
            m.d.comb += following.eq(Mux(chain.last[0] & ~pair_end, origin, number + 1))
        with m.If(self.start):
            m.d.sync += [bank.eq(0), number.eq(0), origin.eq(0)]
        with m.Elif(self.step):
            m.d.sync += number.eq(following)
            with m.If(chain.last[0]):
                m.d.sync += origin.eq(following)
            with m.If(chain.last[1]):
                m.d.sync += [bank.eq(~bank), number.eq(0), origin.eq(0)]
        return m
