"""INT8 as a storage type, and stochastic rounding of the results."""

import numpy as np
import pytest

from hw.config import PCUConfig
from hw.fp.function import TailFunction
from hw.fp.model import as_float, counter_random, fp32_to_bf16
from hw.pcu import library
from hw.pcu.layout import Initial
from hw.pcu.model import pack_bytes, pack_rows, unpack
from hw.pcu.program import Input, ProgramError, SimdProgram, Stage, SystolicProgram, constant, vector

from .harness import check
from .test_workload import bf16, matmul

CONFIG = PCUConfig()
ODD = PCUConfig(lanes=4, stages=3, accumulators=8, broadcast_depth=48)
f32 = np.float32


def int8_streams(config, program, random):
    """Operands of every tile (x, dequantised w, initial) and the input streams."""
    p, lanes = program, config.lanes
    n, tiles, vectors = p.feature_blocks * lanes, [], {0: [], 1: [], 2: [], 3: []}
    for _ in range(p.row_tiles):
        for _ in range(p.column_tiles):
            x = bf16(random.normal(size=(p.rows, p.k * p.chunks)))
            vectors[1] += [pack_rows(x[:, c * p.k:(c + 1) * p.k], lanes) for c in range(p.chunks)]
            q = random.integers(-128, 128, size=(p.k * p.chunks, n))
            scales = random.uniform(0.001, 0.01, size=n).astype(f32)
            vectors[0].append(pack_bytes(q, lanes))
            vectors[3].append(pack_rows(scales, lanes, packed=False))
            initial = np.zeros(n, f32)
            if p.initial == Initial.BIAS:
                initial = random.normal(size=n).astype(f32)
                vectors[2].append(pack_rows(initial, lanes, packed=False))
            tiles.append((x, scales * q.astype(f32), initial))
    return tiles, {port: np.concatenate(parts) for port, parts in vectors.items() if parts}


CASES = {
    "decode": {"k": 20, "rows": 2, "feature_blocks": 8, "column_tiles": 3},
    "ragged": {"k": 9, "rows": 3, "feature_blocks": 6, "column_tiles": 2, "row_tiles": 2},
    "prefill": {"k": 7, "rows": 10, "feature_blocks": 2, "groups": 4, "column_tiles": 3},
    "chunks": {"k": 8, "rows": 6, "feature_blocks": 3, "groups": 2, "chunks": 3, "row_tiles": 2},
    "one step": {"k": 1, "rows": 1, "feature_blocks": 1, "column_tiles": 9},
}


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("initial", [Initial.ZERO, Initial.BIAS])
@pytest.mark.parametrize("case", CASES)
def test_int8_weights(case, initial, stall):
    program = SystolicProgram(**CASES[case], int8_weights=True, initial=initial)
    tiles, vectors = int8_streams(ODD, program, np.random.default_rng(len(case)))
    out, _ = check(program, ODD, vectors, stall=stall)
    expected = np.concatenate([matmul(*tile).ravel() for tile in tiles])
    np.testing.assert_array_equal(as_float(out.vector).ravel(), expected)


def test_int8_weights_come_at_a_quarter_of_a_vector_a_step():
    """As fast as BF16, with half its vectors: 4 rows, 8 blocks of weights."""
    shape = {"rows": 4, "k": 32, "features": 128, "bias": False}
    program = library.gemm(CONFIG, **shape, int8_weights=True, reuse=False)
    _, vectors = int8_streams(CONFIG, program, np.random.default_rng(3))
    _, cycles = check(program, CONFIG, vectors)
    assert len(vectors[0]) == 32 * 128 // (4 * CONFIG.lanes)
    assert cycles <= 2 * (32 * 8) + 16 + 4 * 8 + 60       # steps of two tiles, the first rows, the last drain, latency


def test_int8_values_in_vector_code():
    """Every INT8 is read exactly; one vector serves four iterations, a row's rest is dropped."""
    values = np.arange(-128, 128).repeat(3)[:5 * 50].reshape(5, 50)
    program = SimdProgram(loops=(-(-50 // 4), 5), vectors={0: Input(int8=True)}, constants=(0x3F000000,),
                          stages=(Stage.mul(vector(0), constant(0)),), mask=library.scale(ODD, rows=5, n=50).mask)
    out, _ = check(program, ODD, {0: pack_bytes(values, 4)}, stall=0.3)
    assert (as_float(out.vector).reshape(5, -1)[:, :50] == values / 2).all()


def test_stochastic_rounding():
    """Each lane rounds up with the probability of what is cut off; the same seed gives the same result, another one another."""
    x = np.random.default_rng(2).normal(size=(40, 50)).astype(f32)
    outs = []
    for seed in (7, 7, 8):
        program = SimdProgram(loops=(-(-50 // 8), 40), vectors={0: Input()}, packed_output=True, rounding_seed=seed,
                              mask=library.scale(CONFIG, rows=40, n=50).mask)
        out, _ = check(program, CONFIG, {0: pack_rows(x, 8, packed=False)}, stall=0.3 if len(outs) else 0.0)
        outs.append(as_float(unpack(out.vector)).reshape(40, -1)[:, :50])
    assert (outs[0] == outs[1]).all() and (outs[0] != outs[2]).any()
    low, high = (x.view(np.uint32) & 0xFFFF0000).view(f32), ((x.view(np.uint32) & 0xFFFF0000) + 0x10000).view(f32)
    assert ((outs[0] == low) | (outs[0] == high)).all() and (outs[0] != bf16(x)).any()
    chance = (x.view(np.uint32) & 0xFFFF) / 65536
    assert np.mean(outs[0] == high) == pytest.approx(chance.mean(), abs=0.03)
    word = int(counter_random(7, 1, 0)[0])               # lane 3 of vector 0: upper half of stream 1
    up = (int(x.view(np.uint32)[0, 3]) & 0xFFFF) + (word >> 16) > 0xFFFF
    assert (outs[0][0, 3] == high[0, 3]) == up


def test_stochastic_rounding_of_a_gemm():
    """Behind a function of the tail, from the systolic mode: the model's bits."""
    program = library.gemm(CONFIG, rows=3, k=16, features=32, bias=False, packed_output=True, rounding_seed=99,
                           function=TailFunction.SILU)
    random = np.random.default_rng(5)
    x, w = bf16(random.normal(size=(3, 16))), bf16(random.normal(size=(16, 32)))
    out, _ = check(program, CONFIG, {0: pack_rows(w, 8), 1: pack_rows(x, 8)}, stall=0.2)
    nearest = library.gemm(CONFIG, rows=3, k=16, features=32, bias=False, packed_output=True, function=TailFunction.SILU)
    other, _ = check(nearest, CONFIG, {0: pack_rows(w, 8), 1: pack_rows(x, 8)})
    assert (out.vector != other.vector).any()
    np.testing.assert_allclose(as_float(unpack(out.vector)), as_float(unpack(other.vector)), rtol=2 ** -7)


@pytest.mark.parametrize("change, message", [
    ({"rounding_seed": 1}, "rounding_seed=1 needs packed_output=True"),
    ({"rounding_seed": 1 << 32, "packed_output": True}, "rounding_seed=4294967296"),
    ({"vectors": {0: Input(int8=True, packed=True)}}, "vectors[0].packed=True with int8=True"),
    ({"scalars": {0: Input(int8=True)}}, "scalars[0].int8=True"),
])
def test_refused(change, message):
    with pytest.raises(ProgramError) as error:
        SimdProgram(**{"loops": (4,), "vectors": {0: Input()}} | change).pack(CONFIG)
    assert message in str(error.value)


def test_int8_weights_need_the_fourth_input():
    config = PCUConfig(vector_inputs=3)
    with pytest.raises(ProgramError, match="scales come on vector input 3, the unit has 3"):
        SystolicProgram(k=4, rows=1, feature_blocks=4, int8_weights=True).pack(config)


def test_known_bad_scale_is_caught():
    """Scaling the sum instead of the weights gives other bits."""
    program = SystolicProgram(k=20, rows=2, feature_blocks=4, int8_weights=True)
    ((x, w, initial),), vectors = int8_streams(ODD, program, np.random.default_rng(6))
    out, _ = check(program, ODD, vectors)
    scales = as_float(vectors[3]).ravel()
    sums = matmul(x, w / scales, initial) * scales
    assert (as_float(out.vector).ravel() != sums.ravel()).any()
    assert (fp32_to_bf16(out.vector.ravel()) == fp32_to_bf16(sums.ravel())).mean() > 0.9
