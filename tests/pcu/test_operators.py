"""The operators of a transformer: RTL and interpreter agree bit for bit, both with a plain formula; one vector a cycle."""

import numpy as np
import pytest

from hw.config import PCUConfig
from hw.fp.function import TailFunction
from hw.fp.model import as_float
from hw.fp.tail_model import tail
from hw.pcu import library
from hw.pcu.model import pack_rows, unpack
from hw.pcu.pcu import PCU
from hw.pcu.program import ProgramError

from .harness import check
from .test_workload import bf16

CONFIG = PCUConfig()
LANES, ROWS, N = CONFIG.lanes, 5, 37
FORMATS = pytest.mark.parametrize("packed", [False, True], ids=["FP32", "BF16"])
f32 = np.float32


def matrices(count, packed, seed, shape=(ROWS, N)):
    """float32 matrices, of BF16 values if ``packed``."""
    values = np.random.default_rng(seed).normal(size=(count, *shape)).astype(f32)
    return bf16(values) if packed else values


def stream(values, packed):
    return pack_rows(values, LANES, packed)


def run(program, vectors, scalars, packed, *, stall=0.3):
    """With stalls, then without: at one vector (FP32) a cycle. Returns the model's output streams."""
    vectors = {port: stream(values, packed) for port, values in vectors.items()}
    scalars = {port: values.astype(f32).view(np.uint32) for port, values in scalars.items()}
    check(program, CONFIG, vectors, scalars, stall=stall, seed=1)
    streams, cycles = check(program, CONFIG, vectors, scalars)
    assert cycles <= int(np.prod(program.loops)) + PCU(CONFIG).latency + 40
    return streams


def rows_of(streams, packed, n=N, rows=ROWS):
    words = unpack(streams.vector) if packed else streams.vector
    values = as_float(words).reshape(rows, -1)
    assert (values[:, n:] == 0).all()
    return values[:, :n]


def rounded(values, packed):
    return bf16(values) if packed else values


@FORMATS
def test_rms_norm(packed):
    x, gain = matrices(2, packed, 1)
    gain[:] = gain[0]
    inverse = run(library.rms_reciprocal(CONFIG, rows=ROWS, n=N, epsilon=1e-3, packed=packed), {0: x}, {}, packed).scalar
    program = library.normalise_scale(CONFIG, rows=ROWS, n=N, packed=packed, packed_output=packed)
    out = rows_of(run(program, {0: x, 1: gain}, {0: as_float(inverse)}, packed), packed)
    assert (out == rounded((x * as_float(inverse)[:, None]) * gain, packed)).all()
    wide = x.astype(float)
    np.testing.assert_allclose(as_float(inverse), 1 / np.sqrt((wide * wide).mean(axis=1) + 1e-3), rtol=1e-6)


@FORMATS
def test_layer_norm(packed):
    x, gain, offset = matrices(3, packed, 2)
    gain[:], offset[:] = gain[0], offset[0]
    mean = as_float(run(library.row_mean(CONFIG, rows=ROWS, n=N, packed=packed), {0: x}, {}, packed).scalar)
    program = library.variance_reciprocal(CONFIG, rows=ROWS, n=N, packed=packed)
    inverse = as_float(run(program, {0: x}, {0: mean}, packed).scalar)
    program = library.layer_norm(CONFIG, rows=ROWS, n=N, packed=packed, packed_output=packed)
    out = rows_of(run(program, {0: x, 1: gain, 2: offset}, {0: mean, 1: inverse}, packed), packed)
    exact = ((x - mean[:, None]) * inverse[:, None]) * gain + offset
    assert (out == rounded(exact, packed)).all()
    wide = x.astype(float)
    reference = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(axis=1, keepdims=True) + 1e-5) * gain + offset
    np.testing.assert_allclose(exact, reference, rtol=1e-4, atol=1e-5)


@FORMATS
def test_softmax_with_causal_mask(packed):
    x, first = matrices(1, packed, 3)[0], 30
    program = library.causal_scale(CONFIG, rows=ROWS, n=N, factor=0.25, first=first, packed=packed)
    scores = rows_of(run(program, {0: x}, {}, packed), False)
    allowed = np.arange(N) <= first + np.arange(ROWS)[:, None]
    assert (scores == np.where(allowed, x * f32(0.25), -np.inf)).all()
    maximum = as_float(run(library.row_max(CONFIG, rows=ROWS, n=N), {0: scores}, {}, False).scalar)
    powers = run(library.subtract_exp(CONFIG, rows=ROWS, n=N, packed_output=packed), {0: scores}, {0: maximum}, False)
    exp = rows_of(powers, packed)
    inverse = as_float(run(library.sum_reciprocal(CONFIG, rows=ROWS, n=N, packed=packed), {0: exp}, {}, packed).scalar)
    program = library.scale(CONFIG, rows=ROWS, n=N, packed=packed, packed_output=packed)
    out = rows_of(run(program, {0: exp}, {0: inverse}, packed), packed)
    assert (out == rounded(exp * inverse[:, None], packed)).all() and (out[~allowed] == 0).all()
    np.testing.assert_allclose(out.sum(axis=1), 1, rtol=2e-2 if packed else 1e-6)


@FORMATS
@pytest.mark.parametrize("name", ["silu", "gelu"])
def test_gating(name, packed):
    """activation(gate) * up: a chain of two PCUs."""
    gate, up = matrices(2, packed, 4)
    program = getattr(library, name)(CONFIG, rows=ROWS, n=N, packed=packed, packed_output=packed)
    active = rows_of(run(program, {0: gate * 4}, {}, packed), packed)
    assert (active == rounded(as_float(tail(TailFunction[name.upper()], gate * 4)), packed)).all()
    program = library.multiply(CONFIG, rows=ROWS, n=N, packed=packed, packed_output=packed)
    assert (rows_of(run(program, {0: active, 1: up}, {}, packed), packed) == rounded(active * up, packed)).all()


@FORMATS
def test_rotary(packed):
    """Pairs (i, i + half) of each head turned by an angle; two heads in a row of 32."""
    half, heads = 8, 2
    n = 2 * half * heads
    x = matrices(1, packed, 5, (ROWS, n))[0]
    angle = np.arange(ROWS)[:, None] / 100 ** (np.arange(half) / half)
    cosine, sine = rounded(np.cos(angle).astype(f32), packed), rounded(np.sin(angle).astype(f32), packed)
    cosines, sines = np.tile(cosine, 2 * heads), np.tile(np.concatenate([-sine, sine], axis=1), heads)
    swapped = x.reshape(ROWS, heads, 2, half)[:, :, ::-1].reshape(ROWS, n)
    program = library.rotary(CONFIG, rows=ROWS, n=n, packed=packed, packed_output=packed)
    out = rows_of(run(program, {0: x, 1: swapped, 2: cosines, 3: sines}, {}, packed), packed, n)
    assert (out == rounded(x * cosines + swapped * sines, packed)).all()
    first, second = (x.reshape(ROWS, heads, 2, half)[:, :, i] for i in (0, 1))
    turned = np.stack([first * cosine[:, None] - second * sine[:, None], second * cosine[:, None] + first * sine[:, None]], axis=2)
    np.testing.assert_allclose(out, turned.reshape(ROWS, n), rtol=1e-2 if packed else 1e-5, atol=1e-2 if packed else 1e-6)


@FORMATS
@pytest.mark.parametrize("name, formula", [
    ("residual_add", np.add), ("subtract", np.subtract), ("multiply", np.multiply), ("maximum", np.maximum), ("minimum", np.minimum)])
def test_two_operands(name, formula, packed):
    x, y = matrices(2, packed, 6)
    program = getattr(library, name)(CONFIG, rows=ROWS, n=N, packed=packed, packed_output=packed)
    assert (rows_of(run(program, {0: x, 1: y}, {}, packed), packed) == rounded(formula(x, y), packed)).all()


@FORMATS
def test_decode_attention(packed):
    """Scores of one query against the keys so far, and the values weighted with them."""
    query, keys, values = matrices(3, packed, 7)
    query[:] = query[0]
    program = library.dot_rows(CONFIG, rows=ROWS, n=N, factor=0.5, packed=packed)
    scores = as_float(run(program, {0: query, 1: keys}, {}, packed).scalar)
    np.testing.assert_allclose(scores, (query.astype(float) * keys).sum(axis=1) / 2, rtol=1e-5, atol=1e-6)
    program = library.weighted_sum(CONFIG, rows=ROWS, n=N, packed=packed, packed_output=packed)
    out = rows_of(run(program, {0: values}, {0: scores}, packed), packed, rows=1)[0]
    total = np.zeros(N, f32)
    for row in range(ROWS):
        total = total + values[row] * scores[row]
    assert (out == rounded(total, packed)).all()
    with pytest.raises(ProgramError, match="MAC latency needs at least 3"):
        library.weighted_sum(CONFIG, rows=ROWS, n=16).pack(CONFIG)


def test_affine_and_row_results_as_vectors():
    x = matrices(1, False, 8)[0]
    program = library.affine(CONFIG, 1.5, -2.0, rows=ROWS, n=N, function=TailFunction.RELU)
    assert (rows_of(run(program, {0: x}, {}, False), False) == np.maximum(x * f32(1.5) + f32(-2), 0)).all()
    for name, formula in (("row_max", np.max), ("row_min", np.min)):
        program = getattr(library, name)(CONFIG, rows=ROWS, n=N, to_vector=True)
        out = as_float(run(program, {0: x}, {}, False).vector)
        assert (out == formula(x, axis=1)[:, None]).all()
    total = as_float(run(library.row_sum(CONFIG, rows=ROWS, n=N), {0: x}, {}, False).scalar)
    np.testing.assert_allclose(total, x.astype(float).sum(axis=1), rtol=1e-5, atol=1e-6)
