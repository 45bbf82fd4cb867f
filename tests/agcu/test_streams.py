"""Loads and stores of an AGCU against the numpy model, with memory of random delay and order."""

import numpy as np
import pytest

from hw.agcu.model import run_load, run_store
from hw.agcu.program import Access, AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import preset

from .bench import SEGMENTS, Bench

CONFIG = preset("small").agcu
BEAT = CONFIG.beat_bytes


@pytest.fixture(scope="module")
def bench():
    return Bench(CONFIG)


def random_loops(rng, unit: int, room: int):
    """Loops whose addresses stay within ``room`` bytes above and below; repeats (stride 0) and negative strides among them."""
    loops, reach = [], 0
    for _ in range(rng.integers(1, CONFIG.counter_levels + 1)):
        bound = int(rng.integers(1, 6))
        stride = int(rng.choice([0, unit, unit, 2 * unit, BEAT, 5 * BEAT, 512, -unit, -2 * BEAT]))
        if reach + (bound - 1) * abs(stride) <= room:
            reach += (bound - 1) * abs(stride)
            loops.append(Loop(bound, stride))
    return tuple(loops) or (Loop(3, unit),)


def random_load(rng, access: Access) -> LoadProgram:
    unit = BEAT if access == Access.VECTOR else 4
    segment = int(rng.choice([0, 1, 2]))
    middle = SEGMENTS[segment].size // 2
    base = int(rng.integers(0, 1 << 32)) if access == Access.FILL else middle + int(rng.integers(0, 64)) * unit
    return LoadProgram(loops=random_loops(rng, unit, middle - 0x900), segment=segment, base=base, access=access)


@pytest.mark.parametrize("seed", range(40))
def test_random_loads(bench, seed):
    """Both engines at once, every access, stalls and reordering everywhere: the model's vectors, in order, nothing more."""
    rng = np.random.default_rng(seed)
    accesses = [Access(int(rng.choice([0, 0, 1, 1, 3]))) for _ in range(2)]
    loads = tuple(random_load(rng, access) for access in accesses)
    bench.start(AGCUProgram(loads=loads), seed=seed, request_stall=rng.choice([0, 0.5]), response_stall=rng.choice([0, 0.5]),
                latency=(1, int(rng.integers(1, 60))))
    collected = [bench.unit.collect(f"vector_out[{e}]", stall=float(rng.choice([0, 0.6])), seed=seed) for e in range(2)]
    bench.unit.pulse("execute")
    bench.run(100_000, busy=0)
    for load, got in zip(loads, collected, strict=True):
        assert np.array_equal(got.words, run_load(load, CONFIG, bench.memory.bytes, SEGMENTS)), load
    assert bench.unit.get("drained") and not bench.fault.valid


@pytest.mark.parametrize("seed", range(10))
def test_words_to_the_scalar_fabric(bench, seed):
    rng = np.random.default_rng(seed)
    load = random_load(rng, Access.WORD)
    bench.start(AGCUProgram(loads=(None, load)), seed=seed, latency=(1, 40))
    words = bench.unit.collect("scalar_out[0]", stall=float(rng.choice([0, 0.5])), seed=seed)
    bench.unit.pulse("execute")
    bench.run(100_000, busy=0)
    assert np.array_equal(words.words.ravel(), run_load(load, CONFIG, bench.memory.bytes, SEGMENTS))


@pytest.mark.parametrize("seed", range(30))
def test_random_stores(bench, seed):
    """Two store engines into their own segments with ragged tails: the image is the model's, byte for byte."""
    rng = np.random.default_rng(seed)
    stores = tuple(StoreProgram(loops=random_loops(rng, BEAT, 0x1000), segment=segment, base=SEGMENTS[segment].size // 2,
                                tail_bytes=int(rng.choice([0, 4, 6, BEAT - 2, BEAT]))) for segment in (0, 5))
    bench.start(AGCUProgram(stores=stores), seed=seed, request_stall=rng.choice([0, 0.5]), response_stall=rng.choice([0, 0.5]),
                latency=(1, int(rng.integers(1, 60))))
    expected = bench.memory.bytes.copy()
    for engine, store in enumerate(stores):
        vectors = rng.integers(0, 1 << 32, (store.iterations, CONFIG.lanes), dtype=np.uint32)
        bench.unit.feed(f"vector_in[{engine}]", vectors, stall=float(rng.choice([0, 0.5])), seed=seed)
        run_store(store, CONFIG, expected, SEGMENTS, vectors)
    bench.unit.pulse("execute")
    bench.run(100_000, busy=0)
    assert np.array_equal(bench.memory.bytes, expected)
    assert bench.memory.answered == bench.memory.accepted and not bench.fault.valid


def test_vectors_that_come_early_wait_and_bound_zero_ends_at_once(bench):
    bench.start(AGCUProgram(stores=(StoreProgram(loops=(Loop(2, BEAT),)),), loads=(LoadProgram(loops=(Loop(0, BEAT),)),)))
    bench.unit.feed("vector_in[0]", np.arange(3 * CONFIG.lanes, dtype=np.uint32).reshape(3, -1))
    bench.unit.tick(20)
    assert not bench.unit.get("busy") and bench.unit.transfers("vector_in[0]") == 0
    bench.unit.pulse("execute")
    bench.run(100, busy=0)
    assert bench.unit.transfers("vector_in[0]") == 2, "the third vector belongs to the next execution"
    assert np.array_equal(bench.memory.bytes[0, :2 * BEAT].view(np.uint32), np.arange(2 * CONFIG.lanes))
