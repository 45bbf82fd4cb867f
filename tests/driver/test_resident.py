"""Images and schedules in HBM: once for each content, given back when there is no room, never while the device may read them."""

import threading

import numpy as np
import pytest

from hw.config import preset
from sw_driver.device import DDR, HBM, Device, DeviceError
from sw_driver.kernel import Kernel
from sw_driver.memory import DeviceMemoryError, TierAllocator
from sw_driver.resident import Resident
from sw_driver.schedule import Schedule
from tests.driver.fake import FakeBackend

CONFIG = preset("tiny")


def place(resident: Resident, *contents: int) -> list[int]:
    """Contents of 512 bytes; returns their addresses."""
    return [resident.place(bytes([content]) * 512, lambda _: None).address for content in contents]


def test_the_least_recently_used_makes_room():
    memory = TierAllocator("HBM", HBM, 4096)
    resident = Resident(memory, limit=1536)
    resident.begin()
    first, second, third = place(resident, 1, 2, 3)
    assert place(resident, 1) == [first] and resident.size == 1536
    resident.begin()
    assert place(resident, 4) == [second], "1 was used after 2"
    assert place(resident, 5) == [third] and place(resident, 1) == [first]
    with pytest.raises(DeviceMemoryError):
        place(resident, *range(10, 20))                  # all of one launch: beyond the limit, up to what there is
    assert memory.free_bytes == 0
    resident.begin()
    while resident.give_back():
        pass
    assert memory.free_bytes == 4096 and resident.size == 0


def test_a_content_that_could_not_be_written_is_not_there():
    memory = TierAllocator("HBM", HBM, 4096)
    resident, written = Resident(memory, limit=2048), []

    def fails(_):
        raise DeviceError("no")
    with pytest.raises(DeviceError):
        resident.place(bytes(100), fails)
    assert memory.free_bytes == 4096
    resident.place(bytes(100), written.append)
    assert len(written) == 1


def test_hundreds_of_schedules_and_kernels_leave_the_memory_to_the_user():
    with Device(FakeBackend(CONFIG)) as device:
        free = device.memory[HBM].free_bytes
        for number in range(300):
            schedule = Schedule(f"schedule {number}")
            for value in range(40):
                schedule.signal(1000 * number + value, interrupt=False)
            device.run_schedule(schedule)
            device.launch(Kernel(f"kernel {number}", CONFIG.digest, 0, {CONFIG.unit_id(0, 0): {0: 1, **{n: number for n in range(1, 40)}}}))
        assert free - device.memory[HBM].free_bytes <= CONFIG.hbm.bytes // 8
        everything = device.allocate(HBM, CONFIG.hbm.bytes - 256 * 8)
        device.free(everything)


def test_a_schedule_is_under_way_until_its_end_was_seen():
    backend = FakeBackend(CONFIG, ends=False)
    device, schedule = Device(backend), Schedule("first")
    schedule.signal(5)
    kernel = Kernel("k", CONFIG.digest, 0, {CONFIG.unit_id(0, 0): {0: 1}})
    device.stall_cycles = 0
    device.start_schedule(schedule)
    for call in (lambda: device.load(kernel), lambda: device.prepare(kernel), lambda: device.start_schedule(schedule),
                 lambda: device.run_schedule(schedule)):
        with pytest.raises(DeviceError, match=r"schedule 'first' has not ended: wait_schedule\(\) or reset\(\) first"):
            call()
    with pytest.raises(DeviceError, match="schedule 'first' has not finished in 100 cycles; busy: no unit; the schedule is at word"):
        device.wait_schedule(max_cycles=100)
    backend.end_schedule()
    assert device.wait_schedule().words == 3
    with pytest.raises(DeviceError, match="no schedule is under way"):
        device.wait_schedule()
    device.launch(kernel)
    device.start_schedule(schedule)
    device.reset()
    device.launch(kernel)


def test_threads_take_turns():
    with Device(FakeBackend(CONFIG)) as device:
        failed, free = [], device.memory[DDR].free_bytes

        def work(number: int) -> None:
            try:
                rng = np.random.default_rng(number)
                for _ in range(40):
                    values = rng.integers(0, 1 << 31, rng.integers(1, 200), np.int64)
                    buffer = device.upload(DDR, values)
                    assert device.read_fields("GEOMETRY") is not None
                    np.testing.assert_array_equal(device.read(buffer, np.int64, values.shape), values)
                    device.free(buffer)
            except BaseException as error:
                failed.append(error)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed and device.memory[DDR].free_bytes == free
