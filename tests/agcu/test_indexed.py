"""Gather, scatter, words, unaligned stores and tokens against the model."""

import numpy as np
import pytest

from hw.agcu.model import run_load, run_store
from hw.agcu.program import Access, AGCUProgram, Index, LoadProgram, Loop, StoreProgram
from hw.config import preset

from .bench import SEGMENTS, Bench

CONFIG = preset("small").agcu
BEAT = CONFIG.beat_bytes


@pytest.fixture(scope="module")
def bench():
    return Bench(CONFIG)


def memory(rng, seed):
    return {"seed": seed, "request_stall": float(rng.choice([0, 0.5])), "response_stall": float(rng.choice([0, 0.5])),
            "latency": (1, int(rng.integers(1, 50)))}


@pytest.mark.parametrize("access", [Access.VECTOR, Access.UNALIGNED, Access.WORD])
@pytest.mark.parametrize("seed", range(4))
def test_gather(bench, access, seed):
    """Rows of a table by number, as an embedding reads them; equal numbers in a row too."""
    rng = np.random.default_rng(seed)
    stride = 7 * BEAT if access == Access.VECTOR else 100
    step = 4 if access == Access.WORD else BEAT
    load = LoadProgram(loops=(Loop(3, step), Loop(25)), index=Index(1, stride, 1), base=0x400, access=access)
    indices = rng.integers(0, 40, 25)
    indices[5:9] = indices[4]
    bench.start(AGCUProgram(loads=(load,)), **memory(rng, seed))
    bench.unit.feed("scalar_in[1]", np.append(indices, 7).astype(np.uint32), stall=float(rng.choice([0, 0.5])), seed=seed)
    got = bench.unit.collect("scalar_out[0]" if access == Access.WORD else "vector_out[0]",
                             stall=float(rng.choice([0, 0.5])), seed=seed)
    bench.unit.pulse("execute")
    bench.run(10_000, busy=0)
    expected = run_load(load, CONFIG, bench.memory.bytes, SEGMENTS, indices)
    assert np.array_equal(got.words.reshape(expected.shape), expected)
    assert bench.unit.transfers("scalar_in[1]") == load.indices == 25, "no index beyond the last one is taken"


def test_gather_runs_at_one_vector_a_cycle(bench):
    load = LoadProgram(loops=(Loop(400),), index=Index(0, BEAT, 0))
    bench.start(AGCUProgram(loads=(load,)), latency=(8, 8))
    bench.unit.feed("scalar_in[0]", np.random.default_rng(1).permutation(400).astype(np.uint32))
    bench.unit.collect("vector_out[0]")
    bench.unit.pulse("execute")
    assert bench.run(2000, busy=0) <= 425


@pytest.mark.parametrize("seed", range(16))
def test_partial_stores(bench, seed):
    """Unaligned rows, words, scatter; ragged tails, overlaps and rows that touch: the image is the model's, byte for byte."""
    rng = np.random.default_rng(seed)
    access = Access(int(rng.choice([1, 1, 2])))
    step = 4 if access == Access.WORD else BEAT
    loops = (Loop(int(rng.integers(1, 5)), int(rng.choice([step, step, 0, step + 4]))),
             Loop(int(rng.integers(1, 20)), int(rng.choice([4, 20, 36, 100]))))
    index = Index(0, 4, int(rng.integers(0, 3))) if rng.random() < 0.4 else None
    store = StoreProgram(loops=loops, segment=5, base=0x1000 + 4 * int(rng.integers(0, 8)), access=access, index=index,
                         scalar_input=1,
                         tail_bytes=0 if access == Access.WORD else int(rng.choice([0, 4, 6, 20, BEAT - 2])))
    indices = rng.integers(0, 200, store.indices)
    shape = (store.iterations,) if access == Access.WORD else (store.iterations, CONFIG.lanes)
    items = rng.integers(0, 1 << 32, shape, dtype=np.uint32)
    bench.start(AGCUProgram(stores=(store,)), **memory(rng, seed))
    expected = bench.memory.bytes.copy()
    run_store(store, CONFIG, expected, SEGMENTS, items, indices)
    bench.unit.feed("scalar_in[0]", indices.astype(np.uint32))
    bench.unit.feed("scalar_in[1]" if access == Access.WORD else "vector_in[0]", items,
                    stall=float(rng.choice([0, 0.5])), seed=seed)
    bench.unit.pulse("execute")
    bench.run(10_000, busy=0)
    assert np.array_equal(bench.memory.bytes, expected), store


@pytest.mark.parametrize("store, writes", [
    (StoreProgram(loops=(Loop(100, BEAT),), base=12, access=Access.UNALIGNED), 101),
    (StoreProgram(loops=(Loop(64, 4),), access=Access.WORD), 64 // CONFIG.lanes),
    (StoreProgram(loops=(Loop(1, BEAT), Loop(16, 16)), access=Access.UNALIGNED, tail_bytes=16), 8),
])
def test_writes_are_combined(bench, store, writes):
    """Neighbours become one write per beat, at one iteration a cycle."""
    bench.start(AGCUProgram(stores=(store,)), latency=(8, 8))
    bench.unit.feed("vector_in[0]", np.zeros((store.iterations, CONFIG.lanes), dtype=np.uint32))
    bench.unit.feed("scalar_in[0]", np.zeros(store.iterations, dtype=np.uint32))
    bench.unit.pulse("execute")
    assert bench.run(2000, busy=0) <= store.iterations + 25
    assert bench.memory.accepted == writes


def test_tokens_order_a_load_behind_a_store(bench):
    """A buffer is stored, its token waited for, read back: eight times over the same memory, token wire looped outside."""
    store = StoreProgram(loops=(Loop(5, BEAT), Loop(8)), handover=1, send_tokens=(2,), wait_tokens=(0,), tail_bytes=20)
    load = LoadProgram(loops=(Loop(5, BEAT), Loop(8)), handover=1, wait_tokens=(1,), send_tokens=(3,))
    bench.start(AGCUProgram(loads=(load,), stores=(store,)), latency=(1, 60))
    vectors = np.random.default_rng(1).integers(0, 1 << 32, (40, CONFIG.lanes), dtype=np.uint32)
    bench.unit.feed("vector_in[0]", vectors)
    got = bench.unit.collect("vector_out[0]")
    bench.unit.pulse("control_in", 1)                  # the first buffer is free
    bench.unit.pulse("execute")
    for _ in range(3000):
        sent = bench.unit.get("control_out")
        bench.unit.set("control_in", (sent >> 2 & 1) << 1 | (sent >> 3 & 1))
        bench.unit.tick()
    assert not bench.unit.get("busy")
    whole = np.arange(40) % 5 < 4
    assert np.array_equal(got.words[:, :5], vectors[:, :5]) and np.array_equal(got.words[whole], vectors[whole])
