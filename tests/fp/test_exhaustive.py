"""Every operand of every unary function, every product of two BF16 numbers: minutes each, resumable, recorded in docs/records/."""

import json
import re

import numpy as np
import pytest

from hw.fp.tail_model import tail
from tests.fp import records
from tests.fp.exact import Exact
from tests.fp.exhaustive import BOUND, NAMES, Exhaustive, run, unit_of
from tests.fp.records import Record
from tests.fp.reference import relative_error


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_every_operand(name):
    run(name)


@pytest.mark.parametrize("path", sorted(records.FOLDER.glob("fp-*.json")), ids=lambda path: path.stem)
def test_record_is_of_the_present_unit(path):
    """A changed unit needs its run anew: ``python -m tests.fp.exhaustive NAME``. Until then its record is wrong, and goes."""
    record, name = json.loads(path.read_text()), path.stem.removeprefix("fp-").upper().replace("-", "_")
    assert record["unit"] == unit_of(name) and record["done"] <= 1 << 32 and record["largest_error"] <= BOUND


@pytest.mark.parametrize("name", ["LOG", "SIN"])
def test_one_part_of_a_function(name):
    """The C++ loop and the numpy models agree on the results, on what the error is and where; no turn within the operands around 1."""
    first, size = 0x3F7F8000, 1 << 16
    function = Exhaustive(name)
    part = function(first, first + size - 1)
    operands = np.arange(first, first + size, dtype=np.uint32)
    error = relative_error(name, operands, tail(name, operands))
    assert part.largest == pytest.approx(error.max(), rel=1e-6) and part.largest <= BOUND and not part.turns
    assert error[part.operand - first] == pytest.approx(error.max(), rel=1e-6)
    for start in (0, 0x7F7FF000, 0x80000000, 0xFF7FF000, 0xC0000000):        # zeros, subnormals, the largest, infinities, NaN
        operands = np.arange(start, start + 0x2000, dtype=np.uint32)
        assert (function.results(start, operands.size) == tail(name, operands)).all()


def test_known_bad_function_is_caught():
    """A result that falls by one unit for some operands turns, and one that is wrong in its exponent exceeds the bound."""
    def edit(text):
        edited, count = re.subn(r"(module tail_unit\(.*?\bo <= )(\w+) ;", r"\1\2 ^ {31'd0, \2[7]} ^ {8'd0, &\2[12:0], 23'd0};", text,
                                count=1, flags=re.DOTALL)
        assert count == 1
        return edited
    part = Exhaustive("LOG", edit)(0x3F810000, 0x3F830000)
    assert part.turns and part.largest > BOUND


def test_known_bad_multiplier_is_caught():
    """Products of BF16 numbers with a subnormal result lose the bits below the rounding."""
    def edit(text):
        edited, count = re.subn(r"assign lost = .*;", "assign lost = 1'h0;", text)
        assert count == 1
        return edited
    first = 0x0F8D << 16 | 0x1F81
    assert Exact("BF16_PRODUCTS")(first, first + 0xFFFF).largest == 0
    assert Exact("BF16_PRODUCTS", edit)(first, first + 0xFFFF).largest


def test_records_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    Record("x", "unit-1").save(100, 0.5, 7, 1.5)
    Record("x", "unit-1").save(200, 0.25, 8, 1.0)
    assert Record("x", "unit-1").state == {"unit": "unit-1", "done": 200, "largest_error": 0.5, "operand": "00000007",
                                           "cpu_seconds": 2.5}
    assert Record("x", "unit-2").done == 0
