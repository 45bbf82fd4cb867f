"""The access patterns of a decoder layer, as recipes: RTL against numpy written down directly."""

import numpy as np
import pytest

from hw.config import PMUConfig, preset
from hw.pmu.program import Element, ProgramError, argument
from hw.pmu.recipes import column_tiles, half_rotated, repeated_rows, scalars_to_vectors, transposed_rows, vectors_to_scalars
from hw.pmu.recipes import stage_buffer as plain_stage

from .harness import CONFIG, Bench, words

LANES = CONFIG.lanes
NUMBER = {Element.WORD: (np.uint32, LANES), Element.HALF: (np.uint16, 2 * LANES)}


def run(program, config=CONFIG, seed=0, stall=0.3, **inputs):
    [(out, events, _)] = Bench(config, seed=seed, stall=stall).run(program, **inputs).finish()
    return out, events


def patched(program, config=CONFIG, **lengths):
    """The program with lengths replaced, as a kernel's arguments do it."""
    bits = program.pack(config)
    for name, value in lengths.items():
        for field in program.lengths[name]:
            word, shift, width = argument(config, field)
            shift += 32 * word
            bits = bits & ~((1 << width) - 1 << shift) | value << shift
    return bits


@pytest.mark.parametrize(("element", "rows", "columns", "heads", "tile", "repeat"), [
    (Element.HALF, 16, 6, 2, 1, 1), (Element.HALF, 16, 8, 1, 2, 2), (Element.WORD, 8, 4, 3, 1, 1), (Element.WORD, 12, 4, 1, 3, 3),
])
def test_keys_written_by_row_are_read_as_weights(element, rows, columns, heads, tile, repeat):
    """K[rows, heads x columns] becomes for each head K^T in tiles of keys, twice."""
    kind, width = NUMBER[element]
    program = transposed_rows(CONFIG, rows=rows, columns=columns, element=element, tile=tile, heads=heads, repeat=repeat, count=2)
    keys = np.random.default_rng(1).integers(0, 1 << 16, (2, rows, -(-heads * columns // width) * width), dtype=kind)
    out, events = run(program, stall=0.0, vectors={0: keys.view(np.uint32).reshape(-1, LANES)})
    expected = []
    for block in keys:
        for head in range(heads):
            for _ in range(repeat):
                for start in range(0, rows, tile * width):
                    expected.append(block[start:start + tile * width, head * columns:(head + 1) * columns].T.ravel())
    assert np.array_equal(np.array(out[0]).view(kind).ravel(), np.concatenate(expected))
    assert events["bank_conflict"] == 0


def test_fewer_keys_by_argument():
    """A cache made for 16 keys in two tiles of 8, with 5 of them: one tile, whose last three keys are the consumer's to mask."""
    program = transposed_rows(CONFIG, rows=16, columns=8, tile=1)
    keys = np.arange(1, 5 * 8 + 1, dtype=np.uint16).reshape(5, 8)
    out, _ = run(patched(program, rows=5, tiles=1), vectors={0: keys.view(np.uint32)})
    assert len(out[0]) == 8
    assert np.array_equal(np.array(out[0]).view(np.uint16)[:, :5], keys.T)


def test_keys_that_need_a_sixth_loop_are_refused():
    with pytest.raises(ProgramError, match="6 loops"):
        transposed_rows(CONFIG, rows=16, columns=4, heads=2, tile=1, repeat=2, count=2)


@pytest.mark.parametrize("length", [13, 6, 1])
def test_scores_become_vectors_and_probabilities_words(length):
    """Rows of up to 13 words; the length is an argument on both sides."""
    scores = words(3, 3, length)
    vectors = -(-length // LANES)
    gather = patched(scalars_to_vectors(CONFIG, words=13, count=3, source=1), words=length, vectors=vectors)
    out, _ = run(gather, scalars={1: scores.ravel()})
    rows = np.array(out[0]).reshape(3, vectors * LANES)
    assert np.array_equal(rows[:, :length], scores)
    emit = patched(vectors_to_scalars(CONFIG, words=13, count=3, repeat=2, engines=(1,)), words=length, vectors=vectors)
    out, events = run(emit, vectors={0: rows.reshape(-1, LANES)})
    assert out[1] == [int(word) for row in scores for _ in range(2) for word in row]
    assert events["read1_vectors"] == 6 * length


def test_a_word_in_every_lane():
    data = words(8, 3, LANES)
    out, _ = run(vectors_to_scalars(CONFIG, words=6, count=1, repeat=2, broadcast=True), vectors={0: data[:2]})
    assert np.array_equal(np.array(out[0]), np.tile(data.ravel()[:6], 2)[:, None].repeat(LANES, axis=1))


@pytest.mark.parametrize(("element", "columns"), [(Element.WORD, 16), (Element.WORD, 8), (Element.WORD, 4), (Element.WORD, 2),
                                                  (Element.HALF, 32), (Element.HALF, 16), (Element.HALF, 8), (Element.HALF, 4)])
def test_rotary_reads_one_buffer_at_two_offsets(element, columns):
    kind, width = NUMBER[element]
    rows = max(6, 3 * width // columns)
    program = half_rotated(CONFIG, rows=rows, columns=columns, element=element, count=2)
    x = np.random.default_rng(2).integers(0, 1 << 16, (2 * rows, columns), dtype=kind)
    out, _ = run(program, vectors={0: x.view(np.uint32).reshape(-1, LANES)})
    straight, turned = (np.array(stream).view(kind).reshape(x.shape) for stream in out)
    assert np.array_equal(straight, x)
    assert np.array_equal(turned, np.roll(x, columns // 2, axis=1))


def test_a_half_of_less_than_a_word_is_refused():
    with pytest.raises(ProgramError, match="columns=2 must be a power of two"):
        half_rotated(CONFIG, rows=8, columns=2, element=Element.HALF)


@pytest.mark.parametrize(("rows", "repeat"), [(4, 3), (1, 5), (2, 1)])
def test_rows_repeated(rows, repeat):
    program = repeated_rows(CONFIG, vectors=3, rows=4, repeat=7, count=2, engines=(0, 1))
    data = words(4, 2 * rows * 3, LANES)
    out, _ = run(patched(program, rows=rows, repeat=repeat), vectors={0: data})
    expected = np.repeat(data.reshape(2 * rows, 3, LANES), repeat, axis=0).reshape(-1, LANES)
    assert np.array_equal(np.array(out[0]), expected) and np.array_equal(np.array(out[1]), expected)


@pytest.mark.parametrize("rows", [5, 3])
def test_values_tile_by_tile(rows):
    program = column_tiles(CONFIG, vectors=4, rows=5, tile=2, repeat=2, count=2)
    data = words(5, 2, rows, 2, 2, LANES)
    out, _ = run(patched(program, rows=rows), vectors={0: data.reshape(-1, LANES)})
    expected = [data[block, row, tile, vector] for block in range(2) for _ in range(2) for tile in range(2) for row in range(rows)
                for vector in range(2)]
    assert np.array_equal(np.array(out[0]), expected)


def test_a_stage_buffer_of_any_length():
    program = plain_stage(CONFIG, vectors=9, count=4, repeat=3)
    data = words(6, 2 * 5, LANES)
    out, _ = run(patched(program, vectors=5, count=2, repeat=1), vectors={0: data})
    assert np.array_equal(np.array(out[0]), data)


@pytest.mark.parametrize("name", ["small", "medium", "paper_unit"])
def test_recipes_fit_the_presets(name):
    """What a decoder layer of width 64 with heads of 16 needs, for a context of 64 tokens."""
    config: PMUConfig = preset(name).pmu
    for program in (transposed_rows(config, rows=64, columns=16, heads=4, repeat=16), scalars_to_vectors(config, words=64, count=256),
                    vectors_to_scalars(config, words=64, count=256), half_rotated(config, rows=64, columns=16),
                    repeated_rows(config, vectors=2, rows=4, repeat=64),
                    column_tiles(config, vectors=4, rows=64, tile=1, repeat=16)):
        program.pack(config)
