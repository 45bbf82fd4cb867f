"""The programs of the first workload: RTL, interpreter and a plain numpy formula agree."""

import numpy as np
import pytest

from hw.config import PCUConfig
from hw.fp.function import TailFunction
from hw.fp.model import as_float, fp32_to_bf16
from hw.fp.tail_model import tail
from hw.pcu import library
from hw.pcu.model import pack_rows, unpack

from .harness import check

CONFIG = PCUConfig()
STALLS = [0.0, 0.4]


def bf16(values):
    """Rounded to BF16, as float32."""
    return (fp32_to_bf16(np.asarray(values, dtype=np.float32)).astype(np.uint32) << 16).view(np.float32)


def operands(random, rows, k, features):
    """x and w in BF16, a bias in FP32."""
    x, w = bf16(random.normal(size=(rows, k))), bf16(random.normal(size=(k, features)))
    return x, w, random.normal(size=features).astype(np.float32)


def gemm_streams(x, w, bias):
    return {0: pack_rows(w, CONFIG.lanes), 1: pack_rows(x, CONFIG.lanes), 2: pack_rows(bias, CONFIG.lanes, packed=False)}


def matmul(x, w, initial):
    """Sequential in k, two roundings."""
    sums = np.broadcast_to(initial, (x.shape[0], w.shape[1])).astype(np.float32)
    for k in range(x.shape[1]):
        sums = sums + x[:, k, None] * w[k]
    return sums


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("rows", [1, 3, 4])
def test_gemm_bias_relu_pack(rows, stall):
    random = np.random.default_rng(rows)
    x, w, bias = operands(random, rows, 64, 64)
    program = library.gemm(CONFIG, rows=rows, k=64, features=64, relu=True, packed_output=True)
    streams, _ = check(program, CONFIG, gemm_streams(x, w, bias), stall=stall)
    expected = bf16(np.maximum(matmul(x, w, bias), 0))
    np.testing.assert_array_equal(as_float(unpack(streams.vector)).reshape(rows, 64), expected)


@pytest.mark.parametrize("stall", STALLS)
def test_gemm_narrow_to_fp32(stall):
    random = np.random.default_rng(7)
    x, w, bias = operands(random, 3, 64, 16)
    program = library.gemm(CONFIG, rows=3, k=64, features=16)
    streams, _ = check(program, CONFIG, gemm_streams(x, w, bias), stall=stall)
    np.testing.assert_array_equal(as_float(streams.vector).reshape(3, 16), matmul(x, w, bias))


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("rows, n", [(3, 10), (1, 5), (4, 16), (5, 77)])
def test_softmax_and_argmax(rows, n, stall):
    random = np.random.default_rng(n)
    x = random.normal(size=(rows, n)).astype(np.float32) * 4
    stream = pack_rows(x, 8, packed=False)
    maximum, _ = check(library.row_max(CONFIG, rows=rows, n=n), CONFIG, {0: stream}, stall=stall)
    np.testing.assert_array_equal(as_float(maximum.scalar), x.max(axis=1))
    largest, _ = check(library.argmax(CONFIG, rows=rows, n=n), CONFIG, {0: stream}, stall=stall)
    np.testing.assert_array_equal(largest.scalar, x.argmax(axis=1))
    powers, _ = check(library.subtract_exp(CONFIG, rows=rows, n=n), CONFIG, {0: stream}, {0: maximum.scalar}, stall=stall)
    exp = as_float(powers.vector).reshape(rows, -1)
    np.testing.assert_array_equal(exp[:, :n], as_float(tail(TailFunction.EXP, x - x.max(axis=1, keepdims=True))))
    assert (exp[:, n:] == 0).all()
    inverse, _ = check(library.sum_reciprocal(CONFIG, rows=rows, n=n), CONFIG, {0: powers.vector}, stall=stall)
    scaled, _ = check(library.scale(CONFIG, rows=rows, n=n), CONFIG, {0: powers.vector}, {0: inverse.scalar}, stall=stall)
    probabilities = as_float(scaled.vector).reshape(rows, -1)
    reference = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    np.testing.assert_allclose(probabilities[:, :n], reference / reference.sum(axis=1, keepdims=True), rtol=1e-5)
    assert (probabilities[:, n:] == 0).all()
