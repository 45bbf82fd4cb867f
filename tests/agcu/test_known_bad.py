"""AGCUs with a mistake built in: each must be caught by the kind of test that the real one passes."""

import numpy as np
import pytest
from amaranth.hdl import Const

from hw.agcu import agcu as agcu_module
from hw.agcu import answers as answers_module
from hw.agcu.load import LoadEngine
from hw.agcu.model import run_load, run_store
from hw.agcu.program import Access, AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.agcu.store import StoreEngine
from hw.common.packet import FaultCause, Status
from hw.config import AGCUConfig
from sim.unit_bench import BenchTimeout, ModelError, ProtocolError

from .bench import SEGMENTS, Bench

CONFIG = AGCUConfig(lanes=4, outstanding=8)        # the smallest that builds fast
BEAT = CONFIG.beat_bytes


def loads_are_right(bench) -> None:
    load = LoadProgram(loops=(Loop(60, BEAT), Loop(2)), access=Access.VECTOR)
    other = LoadProgram(loops=(Loop(50, BEAT),), base=0x404, access=Access.UNALIGNED)
    bench.start(AGCUProgram(loads=(load, other)), latency=(1, 50), request_stall=0.2)
    got = [bench.unit.collect(f"vector_out[{engine}]", stall=0.5, seed=engine) for engine in range(2)]
    bench.unit.pulse("execute")
    bench.run(5000, busy=0)
    for program, vectors in zip((load, other), got, strict=True):
        assert np.array_equal(vectors.words, run_load(program, CONFIG, bench.memory.bytes, SEGMENTS))


def a_second_execution_reads_again(bench) -> None:
    load = LoadProgram(loops=(Loop(3),))
    bench.start(AGCUProgram(loads=(load,)))
    got = bench.unit.collect("vector_out[0]")
    for _ in range(2):
        bench.memory.bytes[:] += 1
        bench.unit.pulse("execute")
        bench.run(100, busy=0)
    assert np.array_equal(got.words[3:], run_load(load, CONFIG, bench.memory.bytes, SEGMENTS))


def stores_are_complete(bench) -> None:
    """When busy falls every byte is in memory and every answer is back."""
    store = StoreProgram(loops=(Loop(3, BEAT), Loop(20, 40)), access=Access.UNALIGNED, tail_bytes=6)
    vectors = np.random.default_rng(1).integers(0, 1 << 32, (60, CONFIG.lanes), dtype=np.uint32)
    bench.start(AGCUProgram(stores=(store,)), latency=(1, 80))
    expected = bench.memory.bytes.copy()
    run_store(store, CONFIG, expected, SEGMENTS, vectors)
    bench.unit.feed("vector_in[0]", vectors)
    bench.unit.pulse("execute")
    bench.run(5000, busy=0)
    assert np.array_equal(bench.memory.bytes, expected) and bench.memory.answered == bench.memory.accepted


def bad_data_is_a_fault(bench) -> None:
    load = LoadProgram(loops=(Loop(9, BEAT),))
    bench.start(AGCUProgram(loads=(load,)))
    bench.memory.fail(4 * BEAT, Status.UNCORRECTABLE.value)
    got = bench.unit.collect("vector_out[0]")
    bench.unit.pulse("execute")
    bench.unit.tick(100)
    assert bench.fault.cause == FaultCause.UNCORRECTABLE and len(got) <= 4


def engines_are_served_in_turn(bench) -> None:
    loads = tuple(LoadProgram(loops=(Loop(200, BEAT),), base=base) for base in (0, 0x2000))
    bench.start(AGCUProgram(loads=loads), request_stall=0.8)
    for engine in range(2):
        bench.unit.collect(f"vector_out[{engine}]")
    bench.unit.pulse("execute")
    bench.unit.tick(300)
    counts = [bench.unit.transfers(f"vector_out[{engine}]") for engine in range(2)]
    assert min(counts) > 10 and max(counts) - min(counts) <= 2, counts


CHECKS = [loads_are_right, a_second_execution_reads_again, stores_are_complete, bad_data_is_a_fault, engines_are_served_in_turn]


def test_the_real_one_passes_all():
    bench = Bench(CONFIG, optimize="-O0")
    for check in CHECKS:
        check(bench)


def no_room_reserved(patch):
    slots = LoadEngine._slots
    patch.setattr(LoadEngine, "_slots", lambda self, m: (slots(self, m), Const(1))[1])


def busy_without_the_writes(patch):
    status = agcu_module.AGCU._status

    def mistaken(self, m, engines, translate, answers):
        status(self, m, engines, translate, answers)
        m.d.comb += self.busy.eq(agcu_module.Cat(engine.active for engine in engines).any())
    patch.setattr(agcu_module.AGCU, "_status", mistaken)


def failed_reads_are_delivered(patch):
    class Mistaken(answers_module.Answers):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            with m.If(self.response.valid & ~self.response.payload.tag[-1]):
                m.d.sync += self.present.eq((self.present & ~self.fetch) | (1 << self.response.payload.tag[:-1]))
            return m
    patch.setattr(agcu_module, "Answers", Mistaken)


def anything_is_combined(patch):
    join = StoreEngine._join

    def mistaken(self, m, low, bad, held, held_valid):
        joined, _ = join(self, m, low, bad, held, held_valid)
        return joined, Const(0)
    patch.setattr(StoreEngine, "_join", mistaken)


def fixed_priority(patch):
    class Mistaken(agcu_module.RoundRobin):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            m.d.comb += self.grant.eq(self.requests & (~self.requests + 1))
            return m
    patch.setattr(agcu_module, "RoundRobin", Mistaken)


LONG = pytest.mark.long      # a build each


@pytest.mark.parametrize("mistake, check", [
    (no_room_reserved, loads_are_right),
    pytest.param(busy_without_the_writes, stores_are_complete, marks=LONG),
    pytest.param(failed_reads_are_delivered, bad_data_is_a_fault, marks=LONG),
    pytest.param(anything_is_combined, stores_are_complete, marks=LONG),
    pytest.param(fixed_priority, engines_are_served_in_turn, marks=LONG),
])
def test_mistakes_are_caught(mistake, check, monkeypatch):
    mistake(monkeypatch)
    with pytest.raises((AssertionError, BenchTimeout, ModelError, ProtocolError)):
        check(Bench(CONFIG, optimize="-O0"))
