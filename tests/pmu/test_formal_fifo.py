"""A whole PMU in FIFO mode is a queue: what goes in n-th comes out n-th, for every timing of both sides (bounded proof)."""

import dataclasses

import pytest
from amaranth.hdl import Assert, Assume, Const, Module, ResetSignal, Signal

from hw.config import PMUConfig
from hw.pmu.pmu import PMU
from hw.pmu.recipes import fifo

from .formal import prove

pytestmark = pytest.mark.long          # the first call of a yowasp tool on a machine compiles it, which takes minutes

CONFIG = PMUConfig(lanes=2, banks=2, bank_rows=2, counter_levels=2, counter_bits=6, vector_inputs=1, vector_outputs=1, scalar_inputs=1,
                   scalar_outputs=1, control_wires=1, sequence_bits=1, address_stages=0)
DEPTH = 3                              # not a power of two: the buffers wrap round in the middle of the scratchpad


def queue_design(program):
    """The packet with number ``which`` (any) is remembered when it goes in and compared when it comes out."""
    m = Module()
    m.submodules.dut = dut = PMU(CONFIG)
    which, valid, ready, word = Signal(6), Signal(), Signal(), Signal(4)
    before, started, first = Signal(6), Signal(), Signal(init=1)
    entered, left, value = Signal(6), Signal(6), Signal(4)
    into, out = dut.vector_in[0], dut.vector_out[0]
    m.d.sync += [before.eq(which), first.eq(0), started.eq(1)]
    m.d.comb += [
        Assume(~ResetSignal()), Assume(first | (which == before)), dut.program.as_value().eq(Const(program, len(dut.program.as_value()))),
        dut.execute.eq(first), into.valid.eq(valid & started), into.p.data[0].eq(word), into.p.data[1].eq(~word), out.ready.eq(ready),
    ]
    with m.If(into.valid & into.ready):
        m.d.sync += entered.eq(entered + 1)
        with m.If(entered == which):
            m.d.sync += value.eq(word)
    with m.If(out.valid & out.ready):
        m.d.sync += left.eq(left + 1)
        m.d.comb += Assert(left < entered)
        with m.If(left == which):
            m.d.comb += Assert((out.p[0] == value) & (out.p[1] == (~value)[:4]))
    # What is inside: the scratchpad, what is on its way into it, and the output FIFO.
    m.d.comb += Assert(entered - left <= DEPTH + 6)
    return m, [which, valid, ready, word]


def test_fifo_mode_is_a_queue():
    passed, text = prove(*queue_design(fifo(CONFIG, vectors=40, depth=DEPTH).pack(CONFIG)), depth=16)
    assert passed, text


def test_the_proof_bites():
    """A reader that does not wait for the writer is found out."""
    program = fifo(CONFIG, vectors=40, depth=DEPTH)
    hasty = dataclasses.replace(program, reads=(dataclasses.replace(program.reads[0], synchronised=False),))
    passed, _ = prove(*queue_design(hasty.pack(CONFIG)), depth=16)
    assert not passed
