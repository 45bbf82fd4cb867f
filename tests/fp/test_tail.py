"""TailUnit: bit for bit as its model; the model within 2**-22 of the functions, exact at specials, monotonic."""

import re

import numpy as np
import pytest

from hw.fp import tables, tail_model
from hw.fp.function import TailFunction
from hw.fp.tail import TailUnit
from hw.fp.tail_model import tail
from tests.fp.harness import Pipeline
from tests.fp.operands import SEED, corners, weighted
from tests.fp.reference import FUNCTIONS, MONOTONIC, relative_error

BF16 = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
STRIDED = np.arange(0, 1 << 32, 8191, dtype=np.uint64).astype(np.uint32)
BOUND = 2.0 ** -22
INPUTS = ("function", "a")


@pytest.fixture(scope="module")
def rtl():
    return Pipeline(TailUnit(), INPUTS)


def operands() -> np.ndarray:
    rng = np.random.default_rng(SEED)
    around_one = rng.normal(0, 6, 30_000).astype(np.float32).view(np.uint32)
    return np.concatenate([BF16, corners(), weighted(30_000, rng), around_one])


@pytest.mark.parametrize("function", TailFunction, ids=lambda f: f.name)
def test_rtl_equals_model(rtl, function):
    a = operands()
    assert (rtl(np.uint32(function.value), a) == tail(function, a)).all()


def test_function_may_change_every_cycle(rtl):
    rng = np.random.default_rng(SEED)
    a = rng.choice(operands(), 20_000)
    functions = rng.integers(0, len(TailFunction), a.size).astype(np.uint32)
    expected = np.zeros_like(a)
    for function in TailFunction:
        chosen = functions == function.value
        expected[chosen] = tail(function, a[chosen])
    assert (rtl(functions, a) == expected).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_accuracy(name):
    a = np.concatenate([BF16, STRIDED])
    error = relative_error(name, a, tail(name, a))
    worst = error.argmax()
    assert error[worst] <= BOUND, f"2**{np.log2(error[worst]):.2f} at {a[worst]:08x}"


@pytest.mark.parametrize("name", MONOTONIC)
def test_monotonic(name):
    """Over strided operands, and over consecutive ones from places spread over the range, segment borders among them."""
    rng = np.random.default_rng(SEED)
    borders = (np.arange(0x3C0, 0x430) << 20).astype(np.uint32)
    starts = np.concatenate([borders - 500, rng.integers(0, 0x7F000000, 100).astype(np.uint32)])
    for sign in (0, 1 << 31):
        runs = [np.sort(STRIDED[STRIDED < 0x7F800000]), *(start + np.arange(1000, dtype=np.uint32) for start in starts)]
        for run in runs:
            values = tail(name, run | np.uint32(sign)).view(np.float32)
            values = values[np.isfinite(values)].astype(np.float64)
            steps = np.diff(values)
            rising = MONOTONIC[name] == (sign == 0)
            assert not (steps < 0 if rising else steps > 0).any()


SPECIALS = {   # (operand, result)
    "EXP": [(0.0, 1.0), (-0.0, 1.0), (np.inf, np.inf), (-np.inf, 0.0), (89.0, np.inf), (-105.0, 0.0)],
    "LOG": [(1.0, 0.0), (0.0, -np.inf), (-0.0, -np.inf), (-1.0, np.nan), (np.inf, np.inf), (-np.inf, np.nan)],
    "RECIPROCAL": [(1.0, 1.0), (2.0 ** 127, 2.0 ** -127),
                   (-2.0, -0.5), (0.0, np.inf), (-0.0, -np.inf), (np.inf, 0.0), (-np.inf, -0.0)],
    "RSQRT": [(1.0, 1.0), (4.0, 0.5), (0.0, np.inf), (-0.0, -np.inf), (-1.0, np.nan), (np.inf, 0.0)],
    "SQRT": [(1.0, 1.0), (9.0, 3.0), (0.0, 0.0), (-0.0, -0.0), (-1.0, np.nan), (np.inf, np.inf)],
    "TANH": [(0.0, 0.0), (-0.0, -0.0), (np.inf, 1.0), (-np.inf, -1.0), (20.0, 1.0)],
    "SIGMOID": [(0.0, 0.5), (-0.0, 0.5), (np.inf, 1.0), (-np.inf, 0.0), (30.0, 1.0)],
    "GELU": [(0.0, 0.0), (-0.0, -0.0), (np.inf, np.inf), (-np.inf, -0.0), (20.0, 20.0)],
    "SILU": [(0.0, 0.0), (-0.0, -0.0), (np.inf, np.inf), (-np.inf, -0.0), (200.0, 200.0)],
    "SIN": [(0.0, 0.0), (-0.0, -0.0), (1e-5, 1e-5), (np.inf, np.nan), (-np.inf, np.nan)],
    "COS": [(0.0, 1.0), (-0.0, 1.0), (1e-5, 1.0), (np.inf, np.nan), (-np.inf, np.nan)],
    "RELU": [(-1.0, 0.0), (-0.0, 0.0), (2.0, 2.0), (np.inf, np.inf), (-np.inf, 0.0)],
}


@pytest.mark.parametrize("name", SPECIALS)
def test_specials_are_exact(name):
    cases = [*SPECIALS[name], (np.nan, np.nan)]
    a, expected = (np.array(part, dtype=np.float32) for part in zip(*cases, strict=True))
    assert tail(name, a).tolist() == np.where(np.isnan(expected), np.uint32(0x7FC00000), expected.view(np.uint32)).tolist()


@pytest.mark.parametrize("order", [1, 2, 3])
def test_wrong_coefficient_is_caught(order, monkeypatch):
    """One coefficient of one segment off by 2**-18: the accuracy test fails."""
    right = tail_model._columns
    wrong = [column.copy() for column in right("function")]
    wrong[order][tables.BASES["reciprocal"] + 11] += 1 << 12
    monkeypatch.setattr(tail_model, "_columns", lambda kind: wrong if kind == "function" else right(kind))
    assert relative_error("RECIPROCAL", BF16, tail("RECIPROCAL", BF16)).max() > BOUND


def test_known_bad_rtl_is_caught():
    """Bits lost in making a result subnormal no longer decide its rounding."""
    def edit(text):
        edited, count = re.subn(r", lost \}", ", 1'h0 }", text)
        assert count == 1
        return edited
    run, a = Pipeline(TailUnit(), INPUTS, edit=edit), operands()
    assert any((run(np.uint32(f.value), a) != tail(f, a)).any() for f in TailFunction)
