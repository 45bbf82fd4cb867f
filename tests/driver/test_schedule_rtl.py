"""Schedules on the simulated socket: copies whose place and length the device computes, two kernels in turn, faults on the way."""

import threading

import numpy as np
import pytest

from coe_app.kernels import copy_kernel
from hw.config import ConfigError, preset
from sim.device import VerilatedBackend
from sw_driver.device import DDR, HBM, Device, DeviceError, DeviceFault, DeviceHang, DeviceTimeout
from sw_driver.schedule import Schedule

CONFIG = preset("small")
BEAT = CONFIG.beat_bytes
COPIER = f"agcu{len(CONFIG.agcu_ports) - 1}"


@pytest.fixture(scope="module")
def device():
    with Device(VerilatedBackend(CONFIG)) as device:
        yield device


@pytest.fixture(scope="module")
def copy():
    return copy_kernel(CONFIG)


def pieces(device, seed: int, count: int):
    values = np.random.default_rng(seed).integers(0, 256, (count, 4 * BEAT), np.uint8)
    return values, device.upload(DDR, values), device.allocate(HBM, values.nbytes)


def test_a_loop_of_copies_with_running_addresses_and_doorbells(device, copy):
    values, source, target = pieces(device, 1, 6)
    schedule, rang = Schedule("copies"), []
    with schedule.loop(6) as loop:
        schedule.launch(copy, source=loop.index * (4 * BEAT) + source.address, vectors=4,
                        destination=target.address + 5 * 4 * BEAT - loop.index * (4 * BEAT))
        schedule.signal(loop.index * 3 + 1)
    run = device.run_schedule(schedule, on_signal=rang.append)
    np.testing.assert_array_equal(device.read(target, np.uint8, values.shape), values[::-1])
    assert rang[-1] == 16 and tuple(rang) == run.doorbells and device.read_register("DOORBELL_COUNT") >= 6
    assert device.read_register("KERNEL_COUNT", 1) >= 6 and run.cycles > 6 * device.read_register("KERNEL_CYCLES", 1) / 2


def test_an_answer_in_memory_patches_the_next_launch(device, copy):
    """A table of sources is followed: the router's case. Then the host is waited for, and a loop is left by what memory says."""
    values, source, target = pieces(device, 2, 4)
    table = device.upload(HBM, np.array([2, 0, 3, 1, 7, 1], np.uint32))
    schedule = Schedule("answers")
    answer = schedule.value("answer", most=7)
    with schedule.loop(100) as loop:
        schedule.read(answer, table, loop.index * 4)
        schedule.leave_if(answer, ">=", 4)
        schedule.launch(copy, source=answer * (4 * BEAT) + source.address, vectors=4,
                        destination=target.address + loop.index * (4 * BEAT))
    schedule.write(table, answer + 100, 20)
    schedule.wait_memory(table, "==", 107, 20)
    run = device.run_schedule(schedule)
    np.testing.assert_array_equal(device.read(target, np.uint8, values.shape), values[[2, 0, 3, 1]])
    assert device.read(table, np.uint32, (6,))[5] == 107 and not run.doorbells


STUCK = {
    "memory": (lambda s, flag: s.wait_memory(flag, "!=", 0), r"WAIT_MEMORY .* which waits for the word at HBM 0x[0-9a-f]+ to be != 0x0"),
    "counter": (lambda s, flag: s.wait_counter(COPIER, "busy", "<", 1), f"WAIT_COUNTER .* which waits for busy of {COPIER} to be < 1"),
    "token": (lambda s, flag: s.wait_token(2), "WAIT_TOKEN .* which waits for a token on the last control wire into agcu2"),
}


@pytest.mark.parametrize("wait", STUCK)
def test_a_schedule_that_cannot_go_on_says_where_it_is_and_why(device, copy, wait):
    _, source, target = pieces(device, 5, 1)
    flag, schedule = device.upload(HBM, np.zeros(1, np.uint32)), Schedule("stuck")
    schedule.launch(copy, source=source.address, destination=target.address, vectors=4)
    schedule.wait()
    step, text = STUCK[wait]
    step(schedule, flag)
    device.stall_cycles, before = 2000, device.backend.cycles
    try:
        with pytest.raises(DeviceHang, match=f"schedule 'stuck' cannot finish: (.|\n)*; the schedule is at word *\\d+  {text}"):
            device.run_schedule(schedule)
    finally:
        device.stall_cycles = type(device).stall_cycles
    assert device.backend.cycles - before < 15_000, "not in a bounded time"
    device.reset()
    assert device.launch(copy, source=source.address, destination=target.address, vectors=4).cycles


def test_a_loop_that_works_is_no_hang_and_one_without_end_times_out(device):
    schedule = Schedule("busy")
    with schedule.loop(3000):
        schedule.signal(1, interrupt=False)
    device.stall_cycles = 500
    try:
        assert device.run_schedule(schedule).steps == 2 + 2 * 3000
        endless = Schedule("endless")
        with endless.loop(1 << 31):
            endless.signal(1)
        with pytest.raises(DeviceTimeout, match=r"schedule 'endless' has not finished in 5000 cycles; the schedule is at word .* begun"):
            device.run_schedule(endless, max_cycles=5000)
    finally:
        device.stall_cycles = type(device).stall_cycles
    device.reset()


def test_another_thread_has_the_device_while_one_waits(device):
    """It writes the word that the schedule waits for, and reads counters meanwhile."""
    flag, schedule = device.upload(HBM, np.zeros(1, np.uint32)), Schedule("waiting")
    schedule.wait_memory(flag, "==", 7)
    seen = []

    def host():
        while device.read_register("SCHEDULE_STEPS") < 1:
            pass
        seen.append(device.counters([COPIER]))
        device.write(flag, np.array([7], np.uint32))
    device.stall_cycles = 0
    try:
        device.start_schedule(schedule)
        thread = threading.Thread(target=host)
        thread.start()
        assert device.wait_schedule().steps == 2
        thread.join()
    finally:
        device.stall_cycles = type(device).stall_cycles
    assert COPIER in seen[0]


def test_a_device_opened_by_name_as_in_a_notebook(copy):
    """No context manager: opened, used from cell to cell, closed twice, opened again."""
    with pytest.raises(DeviceError, match="backend 'fpga' does not exist; backends are: verilator"):
        Device.open("small", "fpga")
    with pytest.raises(ConfigError, match="unknown preset 'huge'; presets are: tiny, small"):
        Device.open("huge")
    for seed in (6, 7):
        device = Device.open("small")
        values, source, target = pieces(device, seed, 2)
        assert device.launch(copy, source=source.address, destination=target.address, vectors=8).cycles
        np.testing.assert_array_equal(device.read(target, np.uint8, values.shape), values)
        device.close()
        device.close()
        with pytest.raises(ValueError, match="this device is closed"):
            device.read(target, np.uint8, values.shape)


def test_waits_end_and_are_named_when_they_do_not(device, copy):
    values, source, target = pieces(device, 3, 1)
    flag = device.upload(HBM, np.zeros(1, np.uint32))
    schedule = Schedule("stuck")
    schedule.launch(copy, source=source.address, destination=target.address, vectors=4)
    schedule.wait_counter(COPIER, "busy", ">=", 1)
    schedule.wait_memory(flag, "!=", 0)
    with pytest.raises(DeviceTimeout, match=r"schedule 'stuck' has not finished in 3000 cycles; busy: no unit; the schedule is at "
                                            r"word *\d+  WAIT_MEMORY"):
        device.run_schedule(schedule, max_cycles=3000)
    np.testing.assert_array_equal(device.read(target, np.uint8, values.shape), values)
    device.reset()
    schedule.steps.pop()
    device.run_schedule(schedule)


def test_a_fault_stops_the_schedule_and_a_damaged_one_is_refused(device, copy):
    values, source, target = pieces(device, 4, 1)
    schedule = Schedule("faulty")
    with schedule.loop(50) as loop:
        schedule.launch(copy, source=source.address, destination=target.address + loop.index * (1 << 24), vectors=4)
    count = device.read_register("KERNEL_COUNT", 1)
    with pytest.raises(DeviceFault, match=f"{COPIER}: OUT_OF_RANGE"):
        device.run_schedule(schedule)
    assert device.read_register("KERNEL_COUNT", 1) < count + 5
    device.reset()
    broken = device.upload(HBM, np.array([15, 0, 0], np.uint32))
    device._start_schedule(broken)
    with pytest.raises(DeviceError, match="the launcher halted with error ILLEGAL at word 0"):
        device._wait_for("schedule_done", 1, 1000, "schedule")
    device.reset()
    assert device.launch(copy, source=source.address, destination=target.address, vectors=4).cycles
    np.testing.assert_array_equal(device.read(target, np.uint8, values.shape), values)
