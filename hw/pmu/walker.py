"""The first half of an address engine: its loop nest, one item per access."""

from amaranth.hdl import Cat, Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.common.counter import AffineAddress, CounterChain
from hw.config import PMUConfig

from .geometry import Geometry
from .layout import INDEX_COUNTER, INDEX_SCALAR, INDEX_SEQUENCE, engine_layout

__all__ = ["Walker", "item_layout"]


def item_layout(config: PMUConfig) -> data.StructLayout:
    """An access on its way through the address pipeline: the address ``x``, an index ``y``, the ``predicate``, and ``done``:
    it is the last of its buffer."""
    bits = Geometry(config).logical_bits
    return data.StructLayout({"x": bits, "y": bits, "predicate": 1, "done": 1})


class Walker(wiring.Component):
    """Counter chain and affine address.

    Parameters: ``config``; ``own``, the fields that this kind of engine adds to :func:`engine_layout`.
    Members: ``program`` In; ``start`` In, begin; ``active`` Out, there are accesses to make; ``fresh`` Out, the next is the first
    of a buffer; ``go`` In, it may be made; ``step`` Out, it is made; ``step_done`` Out, and it is the last of a buffer;
    ``sequence`` In, of the packet that is to be written; ``scalar``, ``scalar_valid`` In, the index that waits, ``take_scalar``
    Out, it is used up; ``waits`` Out, for that index; ``item`` Out, the access made in this cycle.
    Contract: one item a cycle; every output but ``step`` and ``take_scalar`` is a function of registers and indices.
    """

    def __init__(self, config: PMUConfig, own: dict):
        self.config = config
        super().__init__(self.ports(config, own))

    @staticmethod
    def ports(config: PMUConfig, own: dict) -> dict:
        """The members of a walker for this kind of engine."""
        return {
            "program": In(engine_layout(config, **own)), "start": In(1), "active": Out(1), "fresh": Out(1), "go": In(1),
            "step": Out(1), "step_done": Out(1), "sequence": In(config.sequence_bits), "scalar": In(32),
            "scalar_valid": In(1), "take_scalar": Out(1), "waits": Out(1), "item": Out(item_layout(config)),
        }

    def elaborate(self, platform):
        m = Module()
        program, levels, bits = self.program, self.config.counter_levels, Geometry(self.config).logical_bits
        m.submodules.chain = chain = CounterChain(levels, self.config.counter_bits)
        m.submodules.affine = affine = AffineAddress(levels, bits)
        m.d.comb += [
            chain.bounds.eq(program.bounds), affine.base.eq(program.base), affine.last.eq(chain.last),
            affine.strides.eq(Cat(program.strides[level][:bits] for level in range(levels))),
            chain.start.eq(self.start), affine.start.eq(self.start),
            chain.advance.eq(self.step), affine.advance.eq(self.step), self.active.eq(chain.active),
            self.item.x.eq(affine.address), self.item.predicate.eq(1),
            self.item.done.eq((Cat(1, chain.last) >> program.handover)[0]),
            self.step.eq(chain.active & self.go & ~self.waits), self.step_done.eq(self.step & self.item.done),
        ]
        with m.If(self.start):
            m.d.sync += self.fresh.eq(1)
        with m.Elif(self.step):
            m.d.sync += self.fresh.eq(self.item.done)
        with m.If(program.index.any()):
            self._index(m, chain)
        return m

    def _index(self, m, chain):
        """y: a counter, the packet's sequence ID or a scalar that serves for the inner ``index_level`` loops."""
        program = self.program
        with m.Switch(program.index):
            with m.Case(INDEX_SEQUENCE):
                m.d.comb += self.item.y.eq(self.sequence)
            for level in range(self.config.counter_levels):
                with m.Case(INDEX_COUNTER + level):
                    m.d.comb += self.item.y.eq(chain.index[level])
            with m.Case(*range(INDEX_SCALAR, INDEX_COUNTER)):
                m.d.comb += [
                    self.item.y.eq(self.scalar), self.waits.eq(~self.scalar_valid),
                    self.take_scalar.eq(self.step & (Cat(1, chain.last) >> program.index_level)[0]),
                ]
