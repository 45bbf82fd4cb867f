"""Predication, sequence IDs, the address pipeline, gather and permutation, against the model and against numpy."""

import random

import numpy as np
import pytest

from hw.pmu.address import Factor, Operation, Scalar, Sequence, Shard, Stage, extract, index_times, insert, modulo, within
from hw.pmu.model import PMUModel
from hw.pmu.program import Loop, PMUProgram, Read, Write

from .harness import CONFIG, Bench, assert_same, words

LANES = CONFIG.lanes


def check(*jobs, seed=0, stall=0.3):
    """Runs (program, keyword arguments) jobs on RTL and model and compares; returns the outputs and events of each."""
    bench, model = Bench(seed=seed, stall=stall), PMUModel(CONFIG)
    for program, inputs in jobs:
        bench.run(program, **inputs)
    results = bench.finish()
    for (program, inputs), (out, _, _) in zip(jobs, results, strict=True):
        assert_same(out, model.run(program, **inputs))
    return results


@pytest.mark.parametrize("shards", [2, 3, 4])
def test_shards_keep_each_element_once(shards):
    """Every shard hears the whole tensor (larger than one scratchpad) and keeps its part."""
    total = 300                                  # vectors; the scratchpad holds 256
    size = -(-total // shards)
    data = words(20, total, LANES)
    found = []
    for shard in range(shards):
        mine = min(size, total - shard * size)
        part = Shard(shard * size * LANES, mine * LANES, 8)
        write = PMUProgram(write=Write(loops=(Loop(total, LANES),), vectors=(0,), shard=part))
        read = PMUProgram(reads=(Read(loops=(Loop(mine, LANES),), base=8, synchronised=False),))
        results = check((write, {"vectors": {0: data}}), (read, {}), seed=shard, stall=0.0)
        assert results[0][1]["dropped"] == total - mine and results[0][1]["write_vectors"] == mine
        found += results[1][0][0]
    assert np.array_equal(np.array(found), data)


@pytest.mark.parametrize("shard", range(3))
def test_rows_dealt_out_by_predicate(shard):
    """Row r belongs to shard r % 3 and lies there in place r // 3."""
    rows = 17
    data = words(21, rows, LANES)
    place = Stage(operation=Operation.MAC, factor=Factor.Y, a=2 * LANES)
    stages = (*modulo(2 * 3, 8), within(2 * shard, 1, of=Factor.X), place)      # x begins as 2 * row
    write = PMUProgram(write=Write(loops=(Loop(rows, 1),), vectors=(0,), stages=stages))
    mine = data[shard::3]
    read = PMUProgram(reads=(Read(loops=(Loop(len(mine), LANES),), synchronised=False),))
    results = check((write, {"vectors": {0: data}}), (read, {}))
    assert np.array_equal(np.array(results[1][0][0]), mine)
    assert results[0][1]["dropped"] == rows - len(mine)


def test_modulo_of_addresses():
    """A circular window: 40 vectors pass through a ring of 12, whatever is not a power of two."""
    ring = 12
    data = words(22, 40, LANES)
    write = PMUProgram(write=Write(loops=(Loop(40, LANES),), vectors=(0,), stages=modulo(ring * LANES * 2, 10)))
    read = PMUProgram(reads=(Read(loops=(Loop(ring, LANES),), synchronised=False),))
    results = check((write, {"vectors": {0: data}}), (read, {}))
    assert np.array_equal(np.array(results[1][0][0]), [data[max(i for i in range(slot, 40, ring))] for slot in range(ring)])


@pytest.mark.parametrize("seed", range(3))
def test_four_producers_in_any_order(seed):
    """Sequence IDs put the packets of four producers in order by where they are written."""
    count = 48
    data = words(23, count, LANES)
    order = random.Random(seed).sample(range(count), count)
    parts = {port: order[port::4] for port in range(4)}
    program = PMUProgram(
        write=Write(loops=(Loop(count),), vectors=(0, 1, 2, 3), index=Sequence(), stages=(index_times(2 * LANES),)),
        reads=(Read(loops=(Loop(count, LANES),)),))
    [(out, *_)] = check((program, {"vectors": {port: data[ids] for port, ids in parts.items()}, "sequences": parts}), seed=seed)
    assert np.array_equal(np.array(out[0]), data)


def test_gather_rows_and_words_by_scalars():
    """An embedding: each scalar names a row of three vectors; and a lookup table: each scalar names a word."""
    table = words(24, 30, LANES)
    fill = PMUProgram(write=Write(loops=(Loop(30, LANES),), vectors=(0,)))
    ids = np.array([4, 0, 9, 9, 2], dtype=np.uint32)
    rows = Read(loops=(Loop(3, LANES), Loop(5)), synchronised=False, index=Scalar(0, loops=1),
                stages=(index_times(3 * LANES * 2),))
    entry = Read(loops=(Loop(7),), word=True, scalar=True, synchronised=False, index=Scalar(1), stages=(index_times(2),))
    keys = np.array([0, 5, 119, 64, 33, 2, 1], dtype=np.uint32)
    gather = PMUProgram(reads=(rows, entry))
    results = check((fill, {"vectors": {0: table}}), (gather, {"scalars": {0: ids, 1: keys}}))
    assert np.array_equal(np.array(results[1][0][0]), table.reshape(10, 3, LANES)[ids].reshape(15, LANES))
    assert results[1][0][1] == list(table.ravel()[keys])


def test_extract_and_insert_swap_address_fields():
    """Shift and set: vector number abcd (bits 3 to 6 of the address) becomes bcda, which interleaves two halves of a buffer."""
    data = words(25, 16, LANES)
    write = PMUProgram(write=Write(loops=(Loop(16, LANES),), vectors=(0,)))
    double = Stage(operation=Operation.MAC, factor=Factor.X, a=2)
    stages = (extract(6, 1), double, extract(0, 0x7F, to_y=False), insert(3, 1))
    read = PMUProgram(reads=(Read(loops=(Loop(16, LANES),), synchronised=False, stages=stages),))
    results = check((write, {"vectors": {0: data}}), (read, {}))
    assert np.array_equal(np.array(results[1][0][0]), data[[number << 1 & 15 | number >> 3 for number in range(16)]])


def test_permuted_lanes():
    data = words(26, 9, LANES)
    permute = (2, 0, 3, 3)
    program = PMUProgram(write=Write(loops=(Loop(9, LANES),), vectors=(0,)),
                         reads=(None, Read(loops=(Loop(9, LANES),), permute=permute)))
    [(out, *_)] = check((program, {"vectors": {0: data}}))
    assert np.array_equal(np.array(out[1]), data[:, permute])
