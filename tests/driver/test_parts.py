"""Kernel images, the allocator and the expert cache by themselves."""

from collections import OrderedDict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.config import preset
from sw_driver.expert_cache import ExpertCache
from sw_driver.files import write_whole
from sw_driver.kernel import Argument, Kernel, KernelError, _decode_image, encode_image
from sw_driver.memory import ALIGNMENT, Buffer, DeviceMemoryError, TierAllocator

CONFIG = preset("small")
WORDS = st.dictionaries(st.integers(0, 1023), st.integers(0, 2**32 - 1), min_size=1, max_size=600)


@settings(max_examples=60)
@given(st.dictionaries(st.integers(0, 2**14 - 1), WORDS, max_size=3))
def test_image_round_trip(programs):
    image = encode_image(programs)
    assert _decode_image(image) == programs and image[-1] == 0


def test_long_runs_are_split_and_what_does_not_fit_is_refused():
    assert len(encode_image({1: dict.fromkeys(range(600), 7)})) == 600 + 3 + 1
    for programs, text in (({1 << 14: {0: 0}}, "unit=16384 does not fit in 14"), ({0: {1024: 0}}, "word=1024 does not fit in 10"),
                           ({0: {0: -1}}, "value=-1 does not fit in 32")):
        with pytest.raises(KernelError, match=text):
            encode_image(programs)


@pytest.fixture
def kernel():
    return Kernel("k", CONFIG.digest, 1, {5: {0: 1, 1: 0xFFFF_0000}},
                  {"n": (Argument(5, 1, 4, 8),), "m": (Argument(5, 1, 12, 4),)}, {"note": [1, "x"]})


def test_file_round_trip_and_damage(kernel, tmp_path):
    path = tmp_path / "k.rdu"
    kernel.save(path)
    assert Kernel.load(path, CONFIG) == kernel and [file.name for file in tmp_path.iterdir()] == ["k.rdu"]
    with pytest.raises(KernelError, match=r"preset|this one \(tiny\)"):
        Kernel.load(path, preset("tiny"))
    blob = path.read_bytes()
    for position in range(len(blob)):
        path.write_bytes(blob[:position] + bytes([blob[position] ^ 0x10]) + blob[position + 1:])
        with pytest.raises(KernelError, match=r"k\.rdu"):
            Kernel.load(path)
    for damaged in (blob[:-1], blob + b"x", b"", blob[:20]):
        path.write_bytes(damaged)
        with pytest.raises(KernelError):
            Kernel.load(path)


def test_argument_words_share_a_word(kernel):
    assert kernel.argument_words(kernel.programs, n=0xAB, m=3) == [(5, 1, 0xFFFF_3AB0)]
    assert kernel.argument_words(kernel.programs, n=0) == []
    for values, text in (({"n": 256}, "n=256 does not fit in 8 bits"), ({"n": -1}, "n=-1"), ({"o": 1}, "it has: m, n")):
        with pytest.raises(KernelError, match=text):
            kernel.argument_words(kernel.programs, **values)
    assert kernel.programs[5][1] == 0xFFFF_0000


def test_write_whole_leaves_nothing_behind(tmp_path):
    target = tmp_path / "new" / "file"
    write_whole(target, "text")
    assert target.read_text() == "text"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / "folder", b"x")
    assert not list(tmp_path.rglob("*.partial"))


@settings(max_examples=100)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5000), st.integers(0, 100)), max_size=60))
def test_allocations_never_overlap_and_free_pieces_join(actions):
    memory, used = TierAllocator("HBM", 0, 32 * ALIGNMENT), []
    for allocate, size, which in actions:
        if allocate:
            try:
                used.append(memory.allocate(size))
            except DeviceMemoryError as error:
                assert f"HBM: {size} bytes asked, {memory.free_bytes} of 8192 free (largest piece" in str(error)
        elif used:
            memory.free(used.pop(which % len(used)))
        taken = sorted((b.address, b.address + -(-b.size // ALIGNMENT) * ALIGNMENT) for b in used)
        assert all(end <= start for (_, end), (start, _) in pairwise(taken))
        assert all(start % ALIGNMENT == 0 and end <= memory.capacity for start, end in taken)
        assert memory.free_bytes == memory.capacity - sum(end - start for start, end in taken)
    for buffer in used:
        memory.free(buffer)
    assert memory.allocate(memory.capacity).address == 0


def test_allocator_refusals():
    memory = TierAllocator("DDR", 1, 1024)
    buffer = memory.allocate(1)
    memory.free(buffer)
    with pytest.raises(DeviceMemoryError, match="freed before"):
        memory.free(buffer)
    for size in (0, -5):
        with pytest.raises(DeviceMemoryError, match="must be positive"):
            memory.allocate(size)


@settings(max_examples=100)
@given(st.integers(1, 5), st.lists(st.integers(0, 7), max_size=80))
def test_cache_is_lru(count, experts):
    slots = [Buffer(0, 256 * index, 256) for index in range(count)]
    content, model = {}, OrderedDict()
    cache = ExpertCache(slots, lambda expert, slot: content.__setitem__(slot, expert))
    for expert in experts:
        hit, evicted = expert in model, None
        if not hit and len(model) == count:
            evicted, _ = model.popitem(last=False)
        model[expert] = None
        model.move_to_end(expert)
        found = cache.lookup(expert)
        assert (found.hit, found.evicted, content[found.buffer]) == (hit, evicted, expert)
        assert cache.resident == list(model)
    assert cache.hits + cache.misses == len(experts)


def test_dropped_expert_is_copied_again_and_the_others_stay():
    copied = []
    cache = ExpertCache([Buffer(0, 0, 256), Buffer(0, 256, 256)], lambda expert, slot: copied.append((expert, slot)))
    first, second = cache.lookup("a").buffer, cache.lookup("b").buffer
    cache.drop("a")
    cache.drop("unknown")
    assert cache.resident == ["b"] and cache.lookup("b").hit
    found = cache.lookup("a")
    assert (found.hit, found.evicted, found.buffer) == (False, None, first)
    assert copied == [("a", first), ("b", second), ("a", first)]


def test_failing_copy_frees_the_slot_and_keeps_the_others():
    fails = set()

    def copy(expert, _slot):
        if expert in fails:
            raise RuntimeError("no")
    cache = ExpertCache([Buffer(0, 0, 256), Buffer(0, 256, 256)], copy)
    cache.lookup("a")
    kept = cache.lookup("b").buffer
    fails.add("c")
    for _ in range(3):
        with pytest.raises(RuntimeError):
            cache.lookup("c")
        assert cache.resident == ["b"] and cache.lookup("b").buffer == kept
    assert cache.lookup("a").evicted is None
    with pytest.raises(ValueError, match="slots is empty"):
        ExpertCache([], copy)
