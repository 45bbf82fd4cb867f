"""SECDED: the code itself, and the controller with errors injected into its device."""

import numpy as np
import pytest

from hw.common.packet import Status
from hw.dram.code import CHECK_BITS, COLUMNS, DATA, SINGLE, SYNDROMES, UNCORRECTABLE, WORD_BITS, encode
from sim.dram import inject

from .harness import Memory


def test_every_single_error_is_located_and_every_double_error_detected():
    columns = [*COLUMNS, *(1 << check for check in range(CHECK_BITS))]
    assert len(set(columns)) == WORD_BITS + CHECK_BITS
    for bit, column in enumerate(columns):
        assert SYNDROMES[column] == (SINGLE | DATA | bit if bit < WORD_BITS else SINGLE)
        assert all(SYNDROMES[column ^ other] == UNCORRECTABLE for other in columns if other != column)


def test_encode_is_linear_and_known():
    words = np.random.default_rng(1).integers(0, 1 << 63, (2, 100), np.uint64)
    assert np.array_equal(encode(words[0]) ^ encode(words[1]), encode(words[0] ^ words[1]))
    assert encode(np.array([1], np.uint64))[0] == 0b111


@pytest.fixture(scope="module")
def memory():
    return Memory("hbm2", ecc=True)


def test_soak_with_partial_writes(memory):
    random = np.random.default_rng(11)
    for stall, span in ((0, len(memory.beats)), (0.4, 512), (0.1, 4)):
        count = 8000
        mask = random.integers(0, 2, (count, memory.beat_bytes), np.uint8)
        mask[random.random(count) < 0.6] = 1
        memory.run(random.integers(0, span, count), random.integers(0, 2, count), mask=mask, stall_in=stall, stall_out=stall)


def test_every_injected_error_is_corrected_or_reported(memory):
    random = np.random.default_rng(12)
    beats = random.choice(len(memory.beats), 3000, replace=False)
    memory.run(beats, [1] * len(beats))
    right = memory.beats[beats].copy()
    kind = random.integers(0, 3, len(beats))                       # errors in one word of the beat
    for beat, errors in zip(beats, kind, strict=True):
        word, bits = 8 * random.integers(memory.beat_bytes // 8), random.choice(72, errors, replace=False)
        for bit in map(int, bits):
            inject(memory.bench.lib, 0, int(beat * memory.beat_bytes + word) + bit % 64 // 8, bit % 8 if bit < 64 else bit - 56)
    result = memory.run(beats, [0] * len(beats), check=False)
    status = result["status"] @ [1, 2, 4]
    assert np.array_equal(status, np.array([Status.OKAY.value, Status.CORRECTED.value, Status.UNCORRECTABLE.value])[kind])
    assert np.array_equal(result["data"][kind < 2], right[kind < 2])


def test_single_errors_in_every_bit_position(memory):
    beats = np.arange(72)
    memory.run(beats, [1] * 72)
    right = memory.beats[beats].copy()
    for bit in range(72):
        inject(memory.bench.lib, 0, bit * memory.beat_bytes + bit % 64 // 8, bit % 8 if bit < 64 else bit - 56)
    result = memory.run(beats, [0] * 72, check=False)
    assert np.array_equal(result["data"], right)
    assert (result["status"] == [1, 0, 0]).all()


def test_a_partial_write_into_an_uncorrectable_beat_is_refused(memory):
    memory.run([5], [1])
    for bit in (0, 1):
        inject(memory.bench.lib, 0, 5 * memory.beat_bytes, bit)
    before = memory.beats[5].copy()
    mask = np.zeros((1, memory.beat_bytes), np.uint8)
    mask[0, 9] = 1
    result = memory.run([5], [1], mask=mask, check=False)
    assert result["status"].tolist() == [[0, 1, 0]] and np.array_equal(memory.beats[5], before)
    memory.run([5], [1])                                            # a whole write repairs it
    memory.run([5], [0])
