"""Proofs: the bank map is one-to-one, semaphores never let engines overtake each other, no two engines share a bank."""

import pytest
from amaranth.hdl import Array, Assert, Assume, Cat, Const, Module, Mux, ResetSignal, Signal

from hw.config import PMUConfig
from hw.pmu.arbiter import BankArbiter
from hw.pmu.bank_map import split_vector
from hw.pmu.geometry import Geometry
from hw.pmu.semaphores import Semaphores

from .formal import prove

pytestmark = pytest.mark.long          # the first call of a yowasp tool on a machine compiles it, which takes minutes

CONFIG = PMUConfig(lanes=4, banks=4, bank_rows=8)


def bank_map_design(legal):
    """Two vector numbers under one setting. Positions that are not ``legal`` (beyond the vector number) lose a bit."""
    m = Module()
    g = Geometry(CONFIG)
    positions = Array(Signal(8, name=f"position_{i}") for i in range(g.bank_bits))
    folds = [Signal(16, name=f"fold_{i}") for i in range(g.bank_bits)]
    one, other = Signal(g.vector_bits), Signal(g.vector_bits)
    split_one = split_vector(m, one, list(positions), folds, g, "one")
    split_other = split_vector(m, other, list(positions), folds, g, "other")
    if legal:
        m.d.comb += Assume(positions[-1] < g.vector_bits)
        m.d.comb += [Assume(positions[i] < positions[i + 1]) for i in range(g.bank_bits - 1)]
    m.d.comb += Assert((one == other) | (Cat(split_one) != Cat(split_other)))
    return m, [*positions, *folds, one, other]


def test_bank_map_is_one_to_one_for_every_legal_setting():
    passed, text = prove(*bank_map_design(legal=True), depth=1)
    assert passed, text


def test_bank_map_proof_bites():
    passed, _ = prove(*bank_map_design(legal=False), depth=1)
    assert not passed


def semaphore_design(buffers, broken=False):
    """A writer and two readers that obey the permissions, each access performed some time after it was issued.

    Ghost state: how many buffers each has begun, issued and performed to the end (counted modulo 16, far apart never).
    """
    m = Module()
    m.submodules.dut = dut = Semaphores(2, 4)
    bits = 4
    anything = {name: Signal(name=name) for name in ("write_issue", "write_perform", "read0_issue", "read0_perform",
                                                     "read1_issue", "read1_perform")}
    issued = [Signal(bits, name=f"issued_{i}") for i in range(3)]        # buffers whose last access was issued
    performed = [Signal(bits, name=f"performed_{i}") for i in range(3)]  # ... and performed
    may = [dut.may_write, dut.may_read[0], dut.may_read[1]]
    if broken:
        may[0] = Const(1)
    for number, name in enumerate(("write", "read0", "read1")):
        issue = Signal(name=f"{name}_issues")
        perform = Signal(name=f"{name}_performs")
        m.d.comb += [issue.eq(anything[f"{name}_issue"] & may[number] & (issued[number] == performed[number])),
                     perform.eq(anything[f"{name}_perform"] & (issued[number] != performed[number]))]
        m.d.sync += [issued[number].eq(issued[number] + issue), performed[number].eq(performed[number] + perform)]
        if number:
            m.d.comb += [dut.taken[number - 1].eq(issue), dut.released[number - 1].eq(perform)]
        else:
            m.d.comb += [dut.claimed.eq(issue), dut.written.eq(perform)]
    m.d.comb += [dut.buffers.eq(buffers), dut.synchronised.eq(0b11), Assume(~ResetSignal())]
    for reader in (1, 2):
        ahead = Signal(bits, name=f"ahead_{reader}")          # buffers written and not yet released
        unread = Signal(bits, name=f"unread_{reader}")        # buffers performed by the writer and not yet issued by the reader
        m.d.comb += [ahead.eq(issued[0] - performed[reader]), unread.eq(performed[0] - issued[reader])]
        m.d.comb += [
            Assert(ahead <= buffers), Assert(unread <= buffers),
            Assert(~dut.may_read[reader - 1] | (unread != 0)),          # a read never overtakes the write
            Assert(~dut.may_write | (ahead < buffers)),                 # a write never enters a buffer that is still read
        ]
        # What makes it inductive: the counters are the differences, and an access in flight is at most one buffer end.
        held, full = dut.held[reader - 1], dut.full[reader - 1]
        m.d.comb += [Assert(held == ahead), Assert(full == unread),
                     Assert((issued[reader] - performed[reader])[:bits] <= 1), Assert((issued[0] - performed[0])[:bits] <= 1)]
    return m, list(anything.values())


@pytest.mark.parametrize("buffers", [1, 2, 3])
def test_semaphores_for_ever(buffers):
    passed, text = prove(*semaphore_design(buffers), depth=4, induction=True)
    assert passed, text
    passed, text = prove(*semaphore_design(buffers), depth=12)
    assert passed, text


def test_semaphore_proof_bites():
    passed, _ = prove(*semaphore_design(2, broken=True), depth=12)
    assert not passed


def test_arbiter_never_shares_a_bank_and_starves_nobody():
    """Granted engines use disjoint banks; somebody is always granted; a waiting engine is passed over at most twice."""
    m = Module()
    m.submodules.dut = dut = BankArbiter(3, 4)
    valid, wanted = Signal(3), [Signal(4, name=f"wanted_{i}") for i in range(3)]
    m.d.comb += [dut.valid.eq(valid), Assume(~ResetSignal())]
    for engine in range(3):
        waited, before = Signal(3, name=f"waited_{engine}"), Signal(4, name=f"before_{engine}")
        was_waiting = Signal(name=f"was_waiting_{engine}")
        m.d.comb += [dut.wanted[engine].eq(wanted[engine]), Assume(wanted[engine].any()),
                     # A request that was not granted stays.
                     Assume(~was_waiting | (valid[engine] & (wanted[engine] == before)))]
        loses = valid[engine] & ~dut.grant[engine]
        m.d.sync += [before.eq(wanted[engine]), was_waiting.eq(loses), waited.eq(Mux(loses, waited + 1, 0))]
        m.d.comb += [Assert(waited <= 2), Assert(~dut.grant[engine] | valid[engine])]
        for other in range(engine):
            m.d.comb += Assert(~(dut.grant[engine] & dut.grant[other]) | ~(wanted[engine] & wanted[other]).any())
    m.d.comb += [Assert(~valid.any() | dut.grant.any()), Assert(dut.conflict == (valid & ~dut.grant).any())]
    ports = [valid, *wanted]
    passed, text = prove(m, ports, depth=10)
    assert passed, text
