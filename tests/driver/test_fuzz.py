"""Damaged kernel files, register writes and schedules: an error of the driver each time, never a crash, a hang or a lost device."""

import pytest

from .fuzz import RegisterRounds, ScheduleRounds, fuzz_device, fuzz_files


@pytest.mark.parametrize("rounds, seed", [(1000, 1), pytest.param(100_000, 2, marks=pytest.mark.long)])
def test_files(rounds, seed):
    outcome = fuzz_files(rounds, seed)
    assert outcome["a kernel"] > rounds // 100 and outcome["KernelError"] > rounds // 2


@pytest.mark.parametrize("size, rounds, seed", [("small", 8, 1), *(
    pytest.param(*values, marks=pytest.mark.long) for values in (("tiny_soak", 5000, 2), ("small", 300, 3)))])
@pytest.mark.parametrize("kind", [RegisterRounds, ScheduleRounds], ids=["registers", "schedules"])
def test_device(kind, size, rounds, seed):
    outcome = fuzz_device(kind, size, rounds, seed)
    assert outcome.total() == rounds
    if kind is ScheduleRounds and rounds > 100:
        assert {"it ended", "DeviceTimeout", "DeviceHang", "DeviceFault", "halted: ILLEGAL", "halted: RUNAWAY"} <= set(outcome)
