"""One tensor on 2, 3 and 4 PMUs that hear one stream (RTL, Verilated): each element once, at the bandwidth of all together."""

import pytest

from bench.shards import Sharded, execute, parts
from hw.config import PMUConfig
from hw.pmu.program import ProgramError
from hw.pmu.shards import shard
from sim.unit_bench import UnitBench

CONFIG = PMUConfig(lanes=2, banks=4, bank_rows=64)


@pytest.fixture(scope="module")
def bench():
    with UnitBench(Sharded(CONFIG), optimize="-O1") as bench:
        yield bench


@pytest.mark.parametrize("pmus", [2, 3, 4])
@pytest.mark.parametrize("how", ["range", "predicate"])
@pytest.mark.parametrize("vectors", [96, 101])
def test_each_element_once(bench, pmus, how, vectors):
    """Three tensors, of which a part may be uneven, under random stalls of the stream and of every reader."""
    read, _, wrong, _ = execute(bench, CONFIG, pmus, vectors, 3, how, 1, seed=pmus, stall=0.3)
    assert read == 3 * vectors and wrong == 0
    assert sorted(vector for part in parts(pmus, vectors, how) for vector in part) == list(range(vectors))


@pytest.mark.parametrize("pmus", [2, 3, 4])
@pytest.mark.parametrize("how", ["range", "predicate"])
def test_bandwidth_of_all_shards_together(bench, pmus, how):
    """While one vector a cycle arrives, every read engine of every shard emits one: two per PMU and cycle, but for handovers."""
    read, cycles, wrong, _ = execute(bench, CONFIG, pmus, 96, 10, how, 2 * pmus)
    assert wrong == 0
    assert read >= 0.97 * 2 * pmus * cycles


def test_one_stream_feeds_all_shards_at_one_vector_a_cycle(bench):
    """The stream itself is not slowed down: ten tensors are in after ten times their length."""
    for how in ("range", "predicate"):
        execute(bench, CONFIG, 4, 96, 10, how, 1)
        taken = bench.sent("vector_in").cycles
        assert taken[-1] - taken[0] <= 960 * 1.03


def test_a_shard_without_elements_is_refused():
    with pytest.raises(ProgramError, match="this shard has 0 vectors"):
        shard(CONFIG, vectors=9, shards=4, number=3)
