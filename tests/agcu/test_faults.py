"""Every illegal access is refused, recorded with its virtual address, and leaves the AGCU able to run again after a reset."""

from dataclasses import replace

import numpy as np
import pytest

from hw.agcu.model import Fault, run_load, run_store
from hw.agcu.program import Access, AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.common.packet import FaultCause, Status
from hw.config import preset

from .bench import SEGMENTS, Bench

CONFIG = preset("small").agcu
BEAT = CONFIG.beat_bytes


@pytest.fixture(scope="module")
def bench():
    return Bench(CONFIG)


def run_to_fault(bench, program, arguments=None, fail=None):
    """Runs a program of one engine that must fault, and then some; returns the fault."""
    kind = "load" if isinstance(program, LoadProgram) else "store"
    arguments = {f"{kind}0.{field}": value for field, value in (arguments or {}).items()}
    bench.start(AGCUProgram(**{f"{kind}s": (program,)}), arguments=arguments, latency=(1, 30))
    if fail:
        bench.memory.fail(*fail)
    bench.unit.feed("vector_in[0]", np.ones((100, CONFIG.lanes), dtype=np.uint32))
    bench.vectors = bench.unit.collect("vector_out[0]")
    bench.unit.pulse("execute")
    bench.unit.tick(300)
    assert bench.unit.get("drained") and bench.unit.get("busy"), "a faulted AGCU is quiet, and busy until reset"
    return bench.fault


CASES = {
    "a segment that is not valid": (LoadProgram(loops=(Loop(4, BEAT),), segment=4), {}, "SEGMENT_MISS"),
    "a store to it": (StoreProgram(loops=(Loop(4, BEAT),), segment=4), {}, "SEGMENT_MISS"),
    "a segment beyond the table": (LoadProgram(loops=(Loop(4, BEAT),)), {"segment": 9}, "SEGMENT_MISS"),
    "past the limit": (LoadProgram(loops=(Loop(9, BEAT),), base=0x8000 - 4 * BEAT), {}, "OUT_OF_RANGE"),
    "below zero": (LoadProgram(loops=(Loop(9, -BEAT),), base=3 * BEAT), {}, "OUT_OF_RANGE"),
    "the upper half of a vector": (LoadProgram(loops=(Loop(9, BEAT),), base=0x8000 - 8 * BEAT + 4, access=Access.UNALIGNED), {},
                                   "OUT_OF_RANGE"),
    "a store past the limit": (StoreProgram(loops=(Loop(9, BEAT),), segment=1, base=0x3000 - BEAT), {}, "OUT_OF_RANGE"),
    "a store to a read-only segment": (StoreProgram(loops=(Loop(4, BEAT),), segment=2), {}, "RIGHTS"),
    "a load from a write-only segment": (LoadProgram(loops=(Loop(4, BEAT),), segment=3), {}, "RIGHTS"),
    "a misaligned load": (LoadProgram(loops=(Loop(4, BEAT),)), {"base": 4}, "MISALIGNED"),
    "a load that becomes misaligned": (LoadProgram(loops=(Loop(4, BEAT),)), {"strides[0]": BEAT + 2}, "MISALIGNED"),
    "a misaligned store": (StoreProgram(loops=(Loop(4, BEAT),)), {"base": BEAT // 2}, "MISALIGNED"),
    "half a word": (LoadProgram(loops=(Loop(4, 4),), access=Access.WORD), {"base": 2}, "MISALIGNED"),
    "half a word within a beat": (LoadProgram(loops=(Loop(4, 4),), access=Access.UNALIGNED), {"strides[0]": 6}, "MISALIGNED"),
}


@pytest.mark.parametrize("name", CASES)
def test_addresses(bench, name):
    """Cause and address are the model's; what came before the fault has been done, nothing after it."""
    program, arguments, cause = CASES[name]
    fault = run_to_fault(bench, program, arguments)
    actual = replace(program, **{field: value for field, value in arguments.items() if "[" not in field})
    if "strides[0]" in arguments:
        actual = replace(actual, loops=(Loop(program.loops[0].bound, arguments["strides[0]"]),))
    with pytest.raises(Fault) as expected:
        image = np.zeros_like(bench.memory.bytes)
        if isinstance(program, LoadProgram):
            run_load(actual, CONFIG, image, SEGMENTS)
        else:
            run_store(actual, CONFIG, image, SEGMENTS, np.ones((actual.loops[0].bound, CONFIG.lanes), dtype=np.uint32))
    assert expected.value.cause == cause and fault.valid and fault.cause == FaultCause[cause]
    assert (fault.segment, fault.offset) == (expected.value.segment, expected.value.offset)
    before = list(actual.offsets()).index(expected.value.offset) if expected.value.offset in actual.offsets() else 8
    if actual.access == Access.VECTOR:
        assert bench.memory.accepted == before


@pytest.mark.parametrize("status", ["UNCORRECTABLE", "DECODE_ERROR", "POISONED"])
@pytest.mark.parametrize("kind", [LoadProgram, StoreProgram])
def test_answers_of_memory(bench, status, kind):
    """A failed access is a fault with the virtual address that was asked for; its data never leaves the AGCU."""
    program = kind(loops=(Loop(20, BEAT),), segment=1, base=0x400)
    fault = run_to_fault(bench, program, fail=(1 << 40 | 0x9000 + 0x400 + 7 * BEAT, Status[status].value))
    assert fault.valid and fault.cause == FaultCause[status] and (fault.segment, fault.offset) == (1, 0x400 + 7 * BEAT)
    if kind is LoadProgram:
        assert len(bench.vectors) <= 7
        assert np.array_equal(bench.vectors.words, run_load(program, CONFIG, bench.memory.bytes, SEGMENTS)[:len(bench.vectors)])


def test_a_corrected_error_is_no_fault(bench):
    program = LoadProgram(loops=(Loop(20, BEAT),))
    bench.start(AGCUProgram(loads=(program,)))
    bench.memory.fail(3 * BEAT, Status.CORRECTED.value)
    vectors = bench.unit.collect("vector_out[0]")
    bench.unit.pulse("execute")
    bench.run(1000, busy=0)
    assert np.array_equal(vectors.words, run_load(program, CONFIG, bench.memory.bytes, SEGMENTS)) and not bench.fault.valid


def test_the_first_fault_is_kept(bench):
    """Two engines fault; the record is of the first and does not change."""
    bad = LoadProgram(loops=(Loop(4, BEAT),), segment=4)
    bench.start(AGCUProgram(loads=(bad, replace(bad, segment=3))))
    bench.unit.pulse("execute")
    seen = {bench.unit.get("fault")} - {0}
    for _ in range(30):
        bench.unit.tick()
        seen |= {bench.unit.get("fault")} - {0}
    assert len(seen) == 1 and bench.fault.segment == 4


def test_usable_again_after_reset(bench):
    run_to_fault(bench, LoadProgram(loops=(Loop(9, BEAT),), segment=4))
    program = LoadProgram(loops=(Loop(50, BEAT),))
    bench.start(AGCUProgram(loads=(program,)), latency=(1, 20))
    vectors = bench.unit.collect("vector_out[0]")
    bench.unit.pulse("execute")
    bench.run(1000, busy=0)
    assert np.array_equal(vectors.words, run_load(program, CONFIG, bench.memory.bytes, SEGMENTS)) and not bench.fault.valid


def test_quiesce_drains_and_resumes(bench):
    """Under quiesce nothing more is issued and everything outstanding comes back; taken back, the kernel goes on as if nothing
    was."""
    program = LoadProgram(loops=(Loop(200, BEAT),))
    bench.start(AGCUProgram(loads=(program,)), latency=(20, 40))
    vectors = bench.unit.collect("vector_out[0]")
    bench.unit.pulse("execute")
    bench.unit.tick(60)
    assert not bench.unit.get("drained")
    bench.unit.set("quiesce", 1)
    bench.run(100, drained=1)
    accepted = bench.memory.accepted
    bench.unit.tick(100)
    assert bench.memory.accepted == accepted < 200 and bench.unit.get("drained") and bench.unit.get("busy")
    bench.unit.set("quiesce", 0)
    bench.run(2000, busy=0)
    assert np.array_equal(vectors.words, run_load(program, CONFIG, bench.memory.bytes, SEGMENTS))
