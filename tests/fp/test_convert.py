"""Conversions and comparisons: models against SoftFloat; stochastic rounding and its generator: RTL against models."""

import numpy as np
import pytest
import softfloatpy as sf
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.fp import model
from hw.fp.stochastic import CounterRandom, round_stochastic
from tests.fp.harness import Pipeline
from tests.fp.operands import SEED, corners, pairs, weighted

NAN = np.uint32(0x7FC00000)


def floats(bits):
    return [sf.Float32.from_bytes(int(b).to_bytes(4, "big")) for b in bits]


def operands(count=20_000):
    return np.concatenate([corners(), weighted(count, np.random.default_rng(SEED))])


def is_nan(bits):
    return (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)


def test_to_bf16_equals_softfloat():
    a = operands()
    expected = [int.from_bytes(sf.f32_to_bf16(x).to_bytes(), "big") for x in floats(a)]
    assert (model.fp32_to_bf16(a) == np.where(is_nan(a), 0x7FC0, expected)).all()


def test_bf16_survives_the_way_to_fp32_and_back():
    every = np.arange(1 << 16, dtype=np.uint16)
    back = model.fp32_to_bf16(model.bf16_to_fp32(every))
    assert (back == np.where(is_nan(every.astype(np.uint32) << np.uint32(16)), np.uint16(0x7FC0), every)).all()


def test_integer_conversions_equal_softfloat():
    integers = np.concatenate([np.arange(-300, 300), 2 ** np.arange(31), -(2 ** np.arange(32)), 2 ** np.arange(31) - 1,
                               np.random.default_rng(SEED).integers(-2 ** 31, 2 ** 31, 20_000)]).astype(np.int64)
    expected = [int.from_bytes(sf.i32_to_f32(sf.Int32.from_int(int(i))).to_bytes(), "big") for i in integers]
    assert (model.int32_to_fp32(integers.astype(np.uint32)) == expected).all()
    a = operands()
    inside = np.abs(a.view(np.float32)) < np.float32(2 ** 31)
    expected = [int.from_bytes(sf.f32_to_i32(x, sf.RoundingMode.MIN_MAG).to_bytes(), "big") for x in floats(a[inside])]
    assert (model.fp32_to_int32(a[inside]) == expected).all()
    assert model.fp32_to_int32(np.array([np.inf, -np.inf, np.nan, 3e9, -3e9], np.float32)).tolist() == \
        [0x7FFFFFFF, 0x80000000, 0, 0x7FFFFFFF, 0x80000000]


def test_comparisons_equal_softfloat():
    a, b = (x[-30_000:] for x in pairs(20_000))
    assert model.fp32_less(a, b).tolist() == [bool(sf.f32_lt(x, y)) for x, y in zip(floats(a), floats(b), strict=True)]


def test_minimum_and_maximum():
    a, b = pairs(20_000)
    with np.errstate(invalid="ignore"):
        low, high = (np.where(is_nan(a) | is_nan(b), NAN, f(a.view(np.float32), b.view(np.float32)).view(np.uint32))
                     for f in (np.minimum, np.maximum))
    zeros = ((a | b) & np.uint32(0x7FFFFFFF)) == 0            # numpy does not order zeros
    assert (model.fp32_min(a, b) == np.where(zeros, a | b, low)).all()
    assert (model.fp32_max(a, b) == np.where(zeros, a & b, high)).all()


class Rounder(wiring.Component):
    latency = 1
    a: In(32)
    b: In(32)
    o: Out(32)

    def elaborate(self, platform):
        m = Module()
        result = Signal(32)
        m.d.sync += result.eq(round_stochastic(self.a, self.b))
        m.d.comb += self.o.eq(result)
        return m


def test_stochastic_rounding_rtl_equals_model():
    a = operands(100_000)
    random = np.random.default_rng(1).integers(0, 1 << 32, a.size, dtype=np.uint32)
    assert (Pipeline(Rounder())(a, random) == model.fp32_to_bf16_stochastic(a, random)).all()


def test_stochastic_rounding_is_fair():
    """The share of roundings up is the part cut off; exact values never move. 0 and 65535 are the two extremes."""
    value = np.full(100_000, 0x3F803000, dtype=np.uint32)      # 3/16 of the way
    random = model.counter_random(7, 0, np.arange(value.size))
    share = (model.fp32_to_bf16_stochastic(value, random) == 0x3F81).mean()
    assert share == pytest.approx(3 / 16, abs=0.005)
    exact = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
    assert (model.fp32_to_bf16_stochastic(exact, 0xFFFF) == model.fp32_to_bf16(exact)).all()
    nearest = model.fp32_to_bf16_stochastic(value, 0)          # no randomness is not rounding to nearest
    assert (nearest == 0x3F80).all()


def test_generator_rtl_equals_model():
    rng = np.random.default_rng(SEED)
    seed, count = rng.integers(0, 1 << 32, (2, 50_000), dtype=np.uint32)
    stream = rng.integers(0, 1 << 16, 50_000, dtype=np.uint32)
    run = Pipeline(CounterRandom(), ("seed", "stream", "count"))
    assert (run(seed, stream, count) == model.counter_random(seed, stream, count)).all()


def test_generator_bits_are_even_and_streams_differ():
    words = model.counter_random(1, 0, np.arange(1 << 16))
    bits = np.unpackbits(words.view(np.uint8).reshape(-1, 4), axis=1).mean(axis=0)
    assert np.abs(bits - 0.5).max() < 0.01
    other = model.counter_random(1, 1, np.arange(1 << 16))
    assert np.abs(np.corrcoef(words, other)[0, 1]) < 0.02 and (words != other).mean() > 0.999
    assert (model.counter_random(2, 0, np.arange(1 << 16)) != words).mean() > 0.999
