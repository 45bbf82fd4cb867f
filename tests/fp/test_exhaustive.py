"""Every operand of every unary function, every product of two BF16 numbers: hours, resumable, recorded in docs/records/."""

import re

import numpy as np
import pytest

from hw.fp import model
from hw.fp.mul import FpMul
from hw.fp.tail_model import tail
from hw.hierarchy import to_verilog
from tests.fp.exhaustive import BOUND, Exhaustive, run
from tests.fp.harness import Pipeline
from tests.fp.records import Record, fingerprint
from tests.fp.reference import FUNCTIONS, relative_error


@pytest.mark.long
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_operand(name):
    run(name)


@pytest.mark.long
def test_every_bf16_product():
    multiply = Pipeline(FpMul())
    record = Record("bf16-products", fingerprint(to_verilog(FpMul(), synthesis=True)))
    b = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
    for start in range(record.done, 1 << 16, 16):
        a = np.repeat(np.arange(start, start + 16, dtype=np.uint32) << np.uint32(16), b.size)
        operands = np.tile(b, 16)
        wrong = multiply(a, operands) != model.fp32_mul(a, operands)
        assert not wrong.any(), f"{a[wrong][0]:08x} * {operands[wrong][0]:08x}"
        record.save(start + 16, 0.0, 0)


@pytest.mark.parametrize("name", ["LOG", "SIN"])
def test_one_part_of_a_function(name):
    """The C++ loop and the numpy reference agree on what the error is and where; no turn within the operands around 1."""
    first, size = 0x3F7F8000, 1 << 16
    part = Exhaustive(name)(first, first + size - 1)
    operands = np.arange(first, first + size, dtype=np.uint32)
    error = relative_error(name, operands, tail(name, operands))
    assert part.largest == pytest.approx(error.max(), rel=1e-6) and part.largest <= BOUND and not part.turns
    assert error[part.operand - first] == pytest.approx(error.max(), rel=1e-6)


def test_known_bad_function_is_caught():
    """A result that falls by one unit for some operands turns, and one that is wrong in its exponent exceeds the bound."""
    def edit(text):
        edited, count = re.subn(r"(module tail_unit\(.*?\bo <= )(\w+) ;", r"\1\2 ^ {31'd0, \2[7]} ^ {8'd0, &\2[12:0], 23'd0};", text,
                                count=1, flags=re.DOTALL)
        assert count == 1
        return edited
    part = Exhaustive("LOG", edit)(0x3F810000, 0x3F830000)
    assert part.turns and part.largest > BOUND


def test_records_resume(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.fp.records.FOLDER", tmp_path)
    Record("x", "unit-1").save(100, 0.5, 7)
    Record("x", "unit-1").save(200, 0.25, 8)
    assert Record("x", "unit-1").state == {"unit": "unit-1", "done": 200, "largest_error": 0.5, "operand": "00000007"}
    assert Record("x", "unit-2").done == 0
