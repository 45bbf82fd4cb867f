"""The address pipeline: integer stages that a program shares out among the engines."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.config import PMUConfig

from .address import Base, Factor, Operation
from .geometry import Geometry
from .layout import stage_layout
from .walker import item_layout

__all__ = ["AddressStages"]


class AddressStages(wiring.Component):
    """``config.address_stages`` stages; those of one engine follow each other in the order of their numbers.

    Members: ``program`` In; per engine e: ``item[e]`` In and ``valid[e]`` In, an access made in this cycle; ``advance[e]`` In,
    the engine can take what comes out; ``staged[e]`` and ``staged_valid[e]`` Out, the access after the engine's stages;
    ``busy`` Out, bit e: an access is in a stage; ``clear[e]`` In.
    Contract: one access a cycle; one cycle per stage, none for an engine without stages; the stages of an engine move together.
    Source: SN40L paper IV.B (partitionable address pipeline, bit-field extract, shift-and-set, predicate).
    """

    def __init__(self, config: PMUConfig):
        self.config = self.identity = config
        self.engines = engines = 1 + config.vector_outputs
        item = item_layout(config)
        super().__init__({
            "program": In(data.ArrayLayout(stage_layout(config), config.address_stages)), "item": In(item).array(engines),
            "valid": In(1).array(engines), "advance": In(1).array(engines), "clear": In(1).array(engines),
            "staged": Out(item).array(engines), "staged_valid": Out(1).array(engines), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        for engine in range(self.engines):
            m.d.comb += [self.staged[engine].eq(self.item[engine]), self.staged_valid[engine].eq(self.valid[engine])]
        used = Signal(self.config.address_stages)
        m.d.comb += [used[index].eq(stage.owner.any()) for index, stage in enumerate(self.program)]
        with m.If(used.any()):
            self._pipeline(m)
        return m

    def _pipeline(self, m):
        item = item_layout(self.config)
        running = [(self.item[engine], self.valid[engine]) for engine in range(self.engines)]
        busy = 0
        for index, stage in enumerate(self.program):
            held, valid = Signal(item, name=f"held_{index}"), Signal(name=f"valid_{index}")
            before, arrives = Signal(item, name=f"before_{index}"), Signal(name=f"arrives_{index}")
            moves, cleared = Signal(name=f"moves_{index}"), Signal(name=f"cleared_{index}")
            for engine, (current, current_valid) in enumerate(running):
                mine = stage.owner == engine + 1
                with m.If(mine):
                    m.d.comb += [before.eq(current), arrives.eq(current_valid), moves.eq(self.advance[engine]),
                                 cleared.eq(self.clear[engine])]
                running[engine] = (item(Mux(mine, held, current)), Mux(mine, valid, current_valid))
            with m.If(moves & arrives):
                m.d.sync += held.eq(self._result(m, stage, before, index))
            with m.If(cleared):
                m.d.sync += valid.eq(0)
            with m.Elif(moves):
                m.d.sync += valid.eq(arrives)
            busy = busy | valid
        m.d.comb += self.busy.eq(busy)
        for engine, (current, current_valid) in enumerate(running):
            m.d.comb += [self.staged[engine].eq(current), self.staged_valid[engine].eq(current_valid)]

    def _result(self, m, stage, before, index):
        bits = Geometry(self.config).logical_bits
        base, factor, result = (Signal(bits, name=f"{name}_{index}") for name in ("base", "factor", "result"))
        after = Signal(item_layout(self.config), name=f"after_{index}")
        m.d.comb += [
            base.eq(Mux(stage.base == Base.X, before.x, Mux(stage.base == Base.Y, before.y, 0))),
            factor.eq(Mux(stage.factor == Factor.X, before.x, Mux(stage.factor == Factor.Y, before.y, 1))),
            after.eq(before),
        ]
        a, b = stage.a[:bits], stage.b[:5]
        with m.Switch(stage.operation):
            with m.Case(Operation.MAC):
                # The sum keeps its high half for a quotient by reciprocal: x // n == (x * a) >> b.
                m.d.comb += result.eq((base + factor * a)[:2 * bits] >> b)
            with m.Case(Operation.EXTRACT):
                m.d.comb += result.eq((factor >> b) & a)
            with m.Case(Operation.INSERT):
                m.d.comb += result.eq((base & ~(a << b)[:bits]) | ((factor & a) << b))
            with m.Case(Operation.RANGE):
                m.d.comb += after.predicate.eq(before.predicate & ((factor - stage.b)[:bits] < a))
        with m.If(stage.operation != Operation.RANGE):
            with m.If(stage.to_y):
                m.d.comb += after.y.eq(result)
            with m.Else():
                m.d.comb += after.x.eq(result)
        return after
