"""What the AGCU promises about time: rates, latencies, independence of its engines, coalescing."""

import numpy as np
import pytest

from hw.agcu.program import Access, AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import preset

from .bench import Bench

CONFIG = preset("small").agcu
BEAT = CONFIG.beat_bytes


@pytest.fixture(scope="module")
def bench():
    return Bench(CONFIG)


def stream(count=500, **fields) -> LoadProgram:
    return LoadProgram(loops=(Loop(count, fields.pop("stride", BEAT)),), **fields)


@pytest.mark.parametrize("loads", [(stream(),), (stream(), stream(base=0x2000)), (stream(base=4, access=Access.UNALIGNED),)])
def test_one_vector_a_cycle(bench, loads):
    """Memory of 12 cycles: one engine alone, two engines together, and unaligned vectors run at one vector a cycle."""
    bench.start(AGCUProgram(loads=loads), latency=(8, 8), ordered=True)
    for engine in range(len(loads)):
        bench.unit.collect(f"vector_out[{engine}]")
    bench.unit.pulse("execute")
    assert bench.run(5000, busy=0) <= 500 * len(loads) + 25


def test_one_store_a_cycle(bench):
    bench.start(AGCUProgram(stores=(StoreProgram(loops=(Loop(500, BEAT),)),)), latency=(8, 8))
    bench.unit.feed("vector_in[0]", np.zeros((500, CONFIG.lanes), dtype=np.uint32))
    bench.unit.pulse("execute")
    assert bench.run(5000, busy=0) <= 525


def test_latency(bench):
    """3 cycles to the request, 2 in the memory of the bench, 2 from the response to the vector."""
    bench.start(AGCUProgram(loads=(stream(1),)))
    vectors = bench.unit.collect("vector_out[0]")
    start = bench.unit.cycle
    bench.unit.pulse("execute")
    bench.run(100, busy=0)
    assert vectors.cycles[0] - start == 7


def test_a_blocked_output_blocks_no_other_engine(bench):
    """Engine 0's vectors are never taken: it may fill its own slots, and engine 1 runs at full rate beside it."""
    bench.start(AGCUProgram(loads=(stream(), stream(base=0x2000))), latency=(8, 8))
    vectors = bench.unit.collect("vector_out[1]")
    bench.unit.pulse("execute")
    cycles = bench.unit.run(2000, until={"vector_out[1]": 500})
    assert cycles <= 500 + CONFIG.outstanding // 2 + 28 and len(vectors) == 500
    assert bench.memory.accepted <= 500 + CONFIG.outstanding


def test_outstanding(bench):
    """A slow memory sees all reads of the reorder buffer at once, half of them when two engines share it and one is blocked."""
    for loads, expected in (((stream(),), CONFIG.outstanding), ((stream(), stream(1)), CONFIG.outstanding // 2)):
        bench.start(AGCUProgram(loads=loads), latency=(300, 300), capacity=2 * CONFIG.outstanding)
        bench.unit.pulse("execute")
        bench.unit.tick(200)
        assert expected <= bench.memory.most_outstanding <= expected + 1


@pytest.mark.parametrize("load, beats", [
    (LoadProgram(loops=(Loop(40), Loop(10, BEAT))), 10),                                   # each beat forty times
    (LoadProgram(loops=(Loop(64, 4),), access=Access.WORD), 64 // CONFIG.lanes),           # words of a row
    (LoadProgram(loops=(Loop(100, BEAT),), base=8, access=Access.UNALIGNED), 101),         # neighbours share their beats
    (LoadProgram(loops=(Loop(100, BEAT),), access=Access.FILL), 0),
])
def test_coalescing(bench, load, beats):
    """A beat that serves adjacent iterations is read once, and the stream still runs at one a cycle."""
    bench.start(AGCUProgram(loads=(load,)), latency=(8, 8))
    bench.unit.collect("vector_out[0]")
    bench.unit.collect("scalar_out[0]")
    bench.unit.pulse("execute")
    cycles = bench.run(2000, busy=0)
    assert bench.memory.accepted == beats
    assert cycles <= load.iterations + 25


def test_engines_share_fairly(bench):
    """Two loads and two stores against a memory that takes one request in four: each gets a quarter of the requests."""
    bench.start(AGCUProgram(loads=(stream(), stream(base=0x2000)),
                            stores=(StoreProgram(loops=(Loop(500, BEAT),), segment=5),) * 2),
                request_stall=0.75)
    names = [f"{kind}[{engine}]" for kind in ("vector_out", "vector_in") for engine in range(2)]
    for name in names[:2]:
        bench.unit.collect(name)
    for name in names[2:]:
        bench.unit.feed(name, np.zeros((500, CONFIG.lanes), dtype=np.uint32))
    bench.unit.pulse("execute")
    bench.unit.tick(800)
    counts = [bench.unit.transfers(name) for name in names]
    assert min(counts) >= 40 and max(counts) - min(counts) <= 4, counts
