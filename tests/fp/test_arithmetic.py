"""FpAdd and FpMul against their models, the models against SoftFloat and MPFR, and proof that these comparisons bite."""

import operator
import re

import numpy as np
import pytest

from hw.fp import model
from hw.fp.add import FpAdd
from hw.fp.mul import FpMul
from tests.fp.harness import Pipeline
from tests.fp.operands import corners, pairs, weighted
from tests.fp.oracle import mpfr_binary, softfloat_binary

UNITS = {"add": (FpAdd, model.fp32_add), "mul": (FpMul, model.fp32_mul)}
SIGN = np.uint32(1 << 31)


def differences(run, reference, count=300_000):
    a, b = pairs(count)
    got, expected = run(a, b), reference(a, b)
    return [tuple(f"{int(v):08x}" for v in row) for row in np.stack([a, b, got, expected], 1)[got != expected]]


@pytest.fixture(scope="module", params=UNITS)
def unit(request):
    component, reference = UNITS[request.param]
    return request.param, Pipeline(component()), reference


def test_rtl_equals_model(unit):
    _, run, reference = unit
    assert differences(run, reference, 1_000_000) == []


def test_model_equals_softfloat(unit):
    name, _, reference = unit
    a, b = pairs(50_000)
    assert (reference(a, b) == softfloat_binary(f"f32_{name}", a, b)).all()


def test_model_equals_mpfr(unit):
    name, _, reference = unit
    a, b = (x[-30_000:] for x in pairs(30_000))
    assert (reference(a, b) == mpfr_binary(getattr(operator, name), a, b)).all()


def test_subtraction_is_addition_of_the_opposite():
    a, b = pairs(20_000)
    run = Pipeline(FpAdd())
    assert (run(a, b ^ SIGN) == model.fp32_sub(a, b)).all()
    assert (model.fp32_sub(a, b) == softfloat_binary("f32_sub", a, b)).all()


def test_mac_rounds_twice():
    rng = np.random.default_rng(3)
    c, a, b = (weighted(200_000, rng) for _ in range(3))
    multiply, add = Pipeline(FpMul()), Pipeline(FpAdd())
    assert (add(c, multiply(a, b)) == model.mac(c, a, b)).all()


def test_result_comes_after_the_stated_latency(unit):
    """The harness takes results ``latency`` cycles after operands; one more or less and nothing fits."""
    name, _, reference = unit
    component = UNITS[name][0]()
    component.latency += 1
    assert differences(Pipeline(component, name=f"late_{name}"), reference, 1000)


# What is wrong with the variant: (unit, pattern in the Verilog, replacement).
BAD = {
    "adder drops the sticky bit": ("add", r"\| shifted\[28:0\]", "1'h0"),
    "adder forgets some sticky bits": ("add", r"\| shifted\[28:0\]", "| shifted[28:8]"),
    "adder rounds ties up": ("add", r"\[4:0\] != 4'h8", "[4:0] != 4'h0"),
    "adder lets equal operands keep their sign": ("add", r"= 32'd2147483648|== 32'h80000000", "== 32'h80000001"),
    "multiplier rounds ties up": ("mul", r"\[3:0\] != 3'h4", "[3:0] != 3'h0"),
    "multiplier loses bits below the smallest number": ("mul", r"assign lost = .*;", "assign lost = 1'h0;"),
    "multiplier takes infinity times zero for infinity": ("mul", r"_\w+ *& zero;", "1'h0;"),
}


@pytest.mark.parametrize("fault", BAD)
def test_known_bad_variant_is_caught(fault):
    name, pattern, replacement = BAD[fault]
    component, reference = UNITS[name]

    def edit(text):
        edited, count = re.subn(pattern, replacement, text)
        assert count == 1, f"{pattern!r} occurs {count} times:\n{text}"
        return edited
    assert differences(Pipeline(component(), edit=edit), reference)


def test_corners_hold_every_kind_of_number():
    fields = (corners() >> np.uint32(23)) & np.uint32(255)
    assert {0, 1, 126, 127, 128, 254, 255} <= set(fields.tolist())
    assert len(corners()) ** 2 > 200_000
