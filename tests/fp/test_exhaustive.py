"""Every operand of every unary function, every product of two BF16 numbers: hours, resumable, recorded in docs/records/."""

import numpy as np
import pytest

from hw.fp import model
from hw.fp.function import TailFunction
from hw.fp.mul import FpMul
from hw.fp.tail import TailUnit
from hw.hierarchy import to_verilog
from tests.fp.harness import Pipeline
from tests.fp.records import Record, fingerprint
from tests.fp.reference import FUNCTIONS, MONOTONIC, relative_error

PART = 1 << 20
BOUND = 2.0 ** -22


def check_function(run, name: str, start: int, size: int, before: float | None) -> tuple[float, int, float]:
    """(largest error, its operand, last value) of ``size`` consecutive operands; monotonic, with ``before`` as predecessor."""
    a = np.arange(start, start + size, dtype=np.uint64).astype(np.uint32)
    results = run(np.uint32(TailFunction[name].value), a)
    error = relative_error(name, a, results)
    worst = int(error.argmax())
    values = results.view(np.float32).astype(np.float64)
    if name in MONOTONIC:
        sequence = values if before is None else np.concatenate([[before], values])
        sequence = sequence[np.isfinite(sequence)]
        rising = MONOTONIC[name] == (start < 1 << 31)
        steps = np.diff(sequence)
        assert not (steps < 0 if rising else steps > 0).any(), f"{name} turns between {start:08x} and {start + size:08x}"
    return float(error[worst]), int(a[worst]), float(values[-1])


@pytest.mark.long
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_operand(name):
    run = Pipeline(TailUnit(), ("function", "a"))
    record = Record(name.lower(), fingerprint(to_verilog(TailUnit())))
    before = None
    for start in range(record.done, 1 << 32, PART):
        if start == 1 << 31:
            before = None
        error, operand, before = check_function(run, name, start, PART, before)
        assert error <= BOUND, f"{name}: 2**{np.log2(error):.2f} at {operand:08x}"
        record.save(start + PART, error, operand)


@pytest.mark.long
def test_every_bf16_product():
    run = Pipeline(FpMul())
    record = Record("bf16-products", fingerprint(to_verilog(FpMul())))
    b = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
    for start in range(record.done, 1 << 16, 16):
        a = np.repeat(np.arange(start, start + 16, dtype=np.uint32) << np.uint32(16), b.size)
        operands = np.tile(b, 16)
        wrong = run(a, operands) != model.fp32_mul(a, operands)
        assert not wrong.any(), f"{a[wrong][0]:08x} * {operands[wrong][0]:08x}"
        record.save(start + 16, 0.0, 0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_part_of_every_function(name):
    """The same check as the long run on a part of one decade, so that it does not rot."""
    run = Pipeline(TailUnit(), ("function", "a"))
    error, operand, _ = check_function(run, name, 0x3F7F8000, 1 << 16, None)
    assert error <= BOUND, f"{operand:08x}"


def test_records_resume(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.fp.records.FOLDER", tmp_path)
    Record("x", "unit-1").save(100, 0.5, 7)
    Record("x", "unit-1").save(200, 0.25, 8)
    assert Record("x", "unit-1").state == {"unit": "unit-1", "done": 200, "largest_error": 0.5, "operand": "00000007"}
    assert Record("x", "unit-2").done == 0
