"""One lane of one stage: multiplier, adder and integer ALU."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.fp.add import FpAdd
from hw.fp.mul import FpMul
from hw.hierarchy import instantiate

from .alu import IntegerALU
from .layout import Op

__all__ = ["LaneStage"]


class LaneStage(wiring.Component):
    """``sum = fp32(fp32(a * b) + addend)`` as a pipeline, and one integer operation on the same operands.

    Members
    -------
    ``op`` In; ``a``, ``b``, ``c`` In(32), operands; ``integer`` Out(32), the integer ALU's result on them;
    ``addend`` In(32), the adder's second operand for the product of the ``a`` and ``b`` of ``add_delay`` cycles ago;
    ``sum`` Out(32).

    Contract
    --------
    ``integer`` is combinational; ``sum`` follows ``a`` and ``b`` by ``latency`` cycles. One result a cycle, no stall.
    The systolic and the SIMD mode use the same multiplier and adder.
    """

    add_delay = FpMul.latency
    latency = FpMul.latency + FpAdd.latency
    identity = ()

    op: In(Op)
    a: In(32)
    b: In(32)
    c: In(32)
    addend: In(32)
    integer: Out(32)
    sum: Out(32)

    def elaborate(self, platform):
        m = Module()
        mul, add, alu = FpMul(), FpAdd(), IntegerALU()
        m.submodules.mul = instantiate(platform, mul)
        m.submodules.add = instantiate(platform, add)
        m.submodules.alu = alu
        m.d.comb += [
            mul.a.eq(self.a), mul.b.eq(self.b),
            add.a.eq(self.addend), add.b.eq(mul.o), self.sum.eq(add.o),
            alu.op.eq(self.op), alu.a.eq(self.a), alu.b.eq(self.b), alu.c.eq(self.c), self.integer.eq(alu.o),
        ]
        return m
