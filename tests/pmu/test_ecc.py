"""SECDED ECC: the code over all its errors, and a PMU that corrects, counts and faults."""

import dataclasses
import itertools

import numpy as np
import pytest
from amaranth.sim import Simulator

from hw.common.packet import FaultCause
from hw.config import PMUConfig
from hw.hierarchy import to_verilog
from hw.pmu.ecc import COLUMNS, ProtectedRead, encode
from hw.pmu.geometry import BankMap, Geometry
from hw.pmu.pmu import PMU
from hw.pmu.program import Inject, Loop, PMUProgram, ProgramError, Read, Write
from hw.pmu.recipes import stage_buffer, vectors_to_scalars

from .harness import Bench, words

CONFIG = PMUConfig(lanes=4, banks=4, bank_rows=16, ecc=True)
LANES = CONFIG.lanes


def test_the_code_is_balanced_and_tells_every_two_errors_apart():
    assert len(set(COLUMNS)) == 16 and all(column.bit_count() == 3 for column in COLUMNS)
    assert all(sum(column >> check & 1 for column in COLUMNS) == 8 for check in range(6))
    assert encode(0) == 0


def test_all_single_and_double_errors_of_a_half_word():
    """Every error of one bit is corrected, every one of two is reported, in whatever half-lane; three data words."""
    config = PMUConfig(lanes=2, banks=2, bank_rows=4, ecc=True)
    dut, g = ProtectedRead(config), Geometry(config)
    cases = [(half, flips) for half in (0, 0xFFFF, 0x1234)
             for flips in [0, *(1 << a for a in range(22)), *(1 << a | 1 << b for a, b in itertools.combinations(range(22), 2))]]

    async def bench(ctx):
        others = [encode(half) for half in (0xBEEF, 7, 0x8000)]
        ctx.set(dut.access, {"enable": 1, "bank": 1, "rows": 2 * 0b01010101})
        await ctx.tick()
        for number, (half, flips) in enumerate(cases):
            lane = number % g.half_lanes
            stored = [*others[:lane], encode(half) ^ flips, *others[lane:]]
            ctx.set(dut.q, sum(value << 22 * place for place, value in enumerate(stored)))
            errors = flips.bit_count()
            assert (ctx.get(dut.corrected), ctx.get(dut.failed)) == (errors == 1, errors == 2)
            if errors < 2:
                assert ctx.get(dut.data) >> 16 * lane & 0xFFFF == half
            else:
                assert ctx.get(dut.offset) == ((1 * config.bank_rows + 2) * g.half_lanes + lane) * 2

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(cases) == 3 * (1 + 22 + 231)


@pytest.mark.parametrize(("half_lane", "bit"), [(0, 0), (5, 15), (7, 16), (2, 21)])
def test_a_single_error_is_corrected_and_counted(half_lane, bit):
    program = dataclasses.replace(stage_buffer(CONFIG, vectors=5, count=2, repeat=3), inject=Inject(7, half_lane, 1 << bit))
    data = words(1, 10, LANES)
    [(out, events, _)] = Bench(CONFIG).run(program, {0: data}).finish()
    expected = np.concatenate([np.tile(data[:5], (3, 1)), np.tile(data[5:], (3, 1))])
    assert np.array_equal(np.array(out[0]), expected)
    assert events["ecc_corrected"] == 3, "one vector, read three times"
    assert "fault" not in events


def test_a_double_error_stops_the_unit_and_the_next_run_is_right():
    """Vector 7 (row 2 of bank 1 in the second buffer) is bad: seven vectors leave, none of them wrong, then the fault."""
    good = stage_buffer(CONFIG, vectors=5, count=2)
    good = dataclasses.replace(good, bank_map=BankMap.low(CONFIG), buffer_stride=8 * LANES)
    bad = dataclasses.replace(good, inject=Inject(7, 5, 0b1001))
    data = words(2, 10, LANES)
    first, second = Bench(CONFIG).run(bad, {0: data}).run(good, {0: data}).finish()
    out, events, _ = first
    assert np.array_equal(np.array(out[0]), data[:7])
    bank, row = BankMap.low(CONFIG).split(8 + 2)
    assert events["fault"] == {"cause": FaultCause.UNCORRECTABLE, "segment": 0,
                               "offset": ((bank * CONFIG.bank_rows + row) * 2 * LANES + 5) * 2}
    assert events["still_busy"]
    assert np.array_equal(np.array(second[0][0]), data)


def test_a_word_read_minds_only_its_own_word():
    """A double error in the third word of a vector: the first two words leave, then the fault."""
    program = dataclasses.replace(vectors_to_scalars(CONFIG, words=4), inject=Inject(0, 4, 0b11))
    data = words(3, 1, LANES)
    [(out, events, _)] = Bench(CONFIG).run(program, {0: data}).finish()
    assert out[0] == list(data[0, :2])
    assert events["fault"]["offset"] == 2 * 4


def test_what_was_never_written_is_no_error():
    program = PMUProgram(reads=(Read(loops=(Loop(CONFIG.words // LANES, LANES),), synchronised=False),))
    [(out, events, _)] = Bench(CONFIG).run(program).finish()
    assert len(out[0]) == CONFIG.words // LANES and not np.any(out[0])
    assert events["ecc_corrected"] == 0 and "fault" not in events


def test_unaligned_vectors_are_protected_too():
    write = Write(loops=(Loop(6, 7),), base=3, vectors=(0,))
    program = PMUProgram(write=write, reads=(Read(loops=(Loop(6, 7),), base=3),), inject=Inject(2, 1, 1 << 9))
    data = words(4, 6, LANES)
    [(out, events, _)] = Bench(CONFIG).run(program, {0: data}).finish()
    assert np.array_equal(np.array(out[0]), data) and events["ecc_corrected"] == 1


@pytest.mark.parametrize(("config", "inject", "named"), [
    (dataclasses.replace(CONFIG, ecc=False), Inject(0, 0, 1), "has no ECC"), (CONFIG, Inject(0, 8, 1), "half_lane=8"),
    (CONFIG, Inject(0, 0, 1 << 22), "flips=0x400000"),
])
def test_injection_is_checked(config, inject, named):
    with pytest.raises(ProgramError, match=named):
        dataclasses.replace(stage_buffer(config, vectors=1), inject=inject).pack(config)


def test_without_ecc_nothing_of_it_is_there():
    off = dataclasses.replace(CONFIG, ecc=False)
    text = to_verilog(PMU(off), "pmu", synthesis=True)
    assert not any(name in text for name in ("protected", "fault", "poisoned", "ecc"))
    assert "ecc" in to_verilog(PMU(CONFIG), "pmu", synthesis=True)
