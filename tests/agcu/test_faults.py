"""Every illegal access is refused, recorded with its virtual address, and leaves the AGCU able to run again after a reset."""

import dataclasses

import numpy as np
import pytest

from hw.agcu.agcu import AGCU
from hw.agcu.model import Fault, run_load, run_store
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.common.packet import FaultCause, Status
from hw.config import preset

from .bench import SEGMENTS, Bench

CONFIG = preset("small").agcu
BEAT = CONFIG.beat_bytes


@pytest.fixture(scope="module")
def bench():
    return Bench(CONFIG)


CASES = {
    "a segment that is not valid": (LoadProgram(loops=(Loop(4, BEAT),), segment=4), "SEGMENT_MISS"),
    "a store to it": (StoreProgram(loops=(Loop(4, BEAT),), segment=4), "SEGMENT_MISS"),
    "past the limit": (LoadProgram(loops=(Loop(9, BEAT),), base=0x8000 - 4 * BEAT), "OUT_OF_RANGE"),
    "below zero": (LoadProgram(loops=(Loop(9, -BEAT),), base=3 * BEAT), "OUT_OF_RANGE"),
    "a store past the limit": (StoreProgram(loops=(Loop(9, BEAT),), segment=1, base=0x3000 - BEAT), "OUT_OF_RANGE"),
    "a store to a read-only segment": (StoreProgram(loops=(Loop(4, BEAT),), segment=2), "RIGHTS"),
    "a load from a write-only segment": (LoadProgram(loops=(Loop(4, BEAT),), segment=3), "RIGHTS"),
}


def run_to_fault(bench, program, **memory):
    """Runs a program that must fault; returns the fault."""
    engines = {"loads" if isinstance(program, LoadProgram) else "stores": (program,)}
    bench.start(AGCUProgram(**engines), latency=(1, 30), **memory)
    bench.unit.feed("vector_in[0]", np.ones((100, CONFIG.lanes), dtype=np.uint32))
    bench.unit.collect("vector_out[0]")
    bench.unit.pulse("execute")
    bench.run(1000, **{"drained": 1, "fault": bench_fault_value(bench)} if False else {"busy": 1})
    bench.unit.tick(200)
    return bench.fault


def bench_fault_value(bench):
    return bench.unit.get("fault")


@pytest.mark.parametrize("name", CASES)
def test_address_faults(bench, name):
    """Cause and address are the model's; what came before the fault has been done, nothing after it."""
    program, cause = CASES[name]
    before = None
    fault = run_to_fault(bench, program)
    with pytest.raises(Fault) as raised:
        image = np.zeros_like(bench.memory.bytes)
        if isinstance(program, LoadProgram):
            run_load(program, CONFIG, image, SEGMENTS)
        else:
            run_store(program, CONFIG, image, SEGMENTS, np.ones((len(list(program.offsets())), CONFIG.lanes), dtype=np.uint32))
    expected = raised.value
    assert fault.valid and fault.cause == FaultCause[cause] and expected.cause == cause, before
    assert (fault.segment, fault.offset) == (expected.segment, expected.offset)
    legal = list(program.offsets()).index(expected.offset)
    assert bench.memory.accepted == legal
    assert bench.unit.get("drained") and bench.unit.get("busy"), "a faulted AGCU is quiet, and busy until reset"
