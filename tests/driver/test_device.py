"""Device against registers and memory in Python: what it sends, what it keeps, and what it says when something is wrong."""

import dataclasses

import numpy as np
import pytest

from hw.common.packet import FaultCause
from hw.config import preset
from hw.host.registers import register
from sw_driver.device import DDR, HBM, Device, DeviceError, DeviceFault, DeviceTimeout
from sw_driver.kernel import Argument, Kernel, KernelError
from sw_driver.memory import DeviceMemoryError
from tests.driver.fake import FakeBackend

CONFIG = preset("small")
FIRST, SECOND, THIRD = (CONFIG.unit_id(0, column) for column in range(3))
SWITCH = CONFIG.switch_id(0, 0)


def kernel(*units, group=0, digest=CONFIG.digest, value=1):
    return Kernel("k", digest, group, {unit: {0: 1 | group << 1, 1: 0x00AB_0000, 2: 5, 3: value} for unit in units},
                  {"n": tuple(Argument(unit, 1, 0, 16) for unit in units), "base": (Argument(units[0], 2, 0, 32),)})


def test_identity_is_checked_and_the_backend_closed():
    for registers, text in (({"ID": 5}, "no OpenRDU answers: ID is 0x00000005"), ({"CONFIG_HASH": 9}, "0x00000009")):
        backend = FakeBackend(CONFIG, **registers)
        with pytest.raises(DeviceError, match=text):
            Device(backend)
        assert backend.closed


def test_loads_once_and_sends_only_changed_words():
    backend = FakeBackend(CONFIG)
    with Device(backend) as device:
        work = kernel(FIRST, SECOND, group=1)
        assert device.launch(work, n=3, base=5).cycles == 7
        assert backend.loads == [(1 << 1, work.programs)]
        assert backend.arguments == [(FIRST, 1, 0x00AB_0003), (SECOND, 1, 0x00AB_0003)]
        backend.arguments.clear()
        device.launch(work, n=3)
        assert len(backend.loads) == 1 and not backend.arguments
        device.launch(work, n=3, base=6)
        assert len(backend.loads) == 1 and backend.arguments == [(FIRST, 2, 6)]
        with pytest.raises(KernelError, match="no argument 'm'; it has: base, n"):
            device.launch(work, m=1)
        with pytest.raises(KernelError, match="n=65536 does not fit in 16 bits"):
            device.launch(work, n=1 << 16)
        with pytest.raises(KernelError, match="build it for this preset"):
            device.load(kernel(FIRST, digest=1))
    assert backend.closed


def test_stale_units_of_the_group_are_switched_off():
    backend = FakeBackend(CONFIG)
    device = Device(backend)
    device.launch(kernel(SWITCH, FIRST, SECOND))
    device.launch(kernel(THIRD, group=1))
    device.launch(kernel(SECOND, value=2))
    assert [backend.programs[unit][0] for unit in (SWITCH, FIRST, SECOND, THIRD)] == [1, 0, 1, 3]
    device.launch(kernel(FIRST))
    assert backend.programs[SECOND][0] == 0


def test_units_of_a_load_that_failed_are_switched_off(monkeypatch):
    backend = FakeBackend(CONFIG)
    device = Device(backend)
    whole = FakeBackend._load

    def fails(self):
        whole(self)
        self.status = 0
    monkeypatch.setattr(FakeBackend, "_load", fails)
    with pytest.raises(DeviceTimeout, match="program load has not finished in 100 cycles; busy: no unit"):
        device.load(kernel(FIRST), max_cycles=100)
    monkeypatch.setattr(FakeBackend, "_load", whole)
    device.load(kernel(SECOND))
    assert (backend.programs[FIRST][0], backend.programs[SECOND][0]) == (0, 1)


def test_a_kernel_that_loses_a_unit_to_another_group_is_loaded_again():
    backend = FakeBackend(CONFIG)
    device = Device(backend)
    first, second = kernel(FIRST, SECOND), kernel(SECOND, group=1, value=2)
    device.launch(first)
    device.launch(second)
    with pytest.raises(DeviceError, match="not loaded"):
        device.execute(first)
    device.launch(kernel(THIRD))
    assert [backend.programs[unit][0] for unit in (FIRST, SECOND, THIRD)] == [0, 3, 1], "the robbed unit is not switched off"


def test_delta_loads_send_what_differs_and_arguments():
    backend = FakeBackend(CONFIG)
    device = Device(backend)
    first, second = kernel(FIRST, SECOND, value=7), kernel(FIRST, SECOND, value=9)
    assert device.image_words(first) == {"full": 11, "delta": 11}
    assert device.launch(first, base=3).loaded_words == 8
    assert device.image_words(second) == {"full": 11, "delta": 9}
    assert device.launch(second).loaded_words == 5
    assert backend.loads[-1][1] == {FIRST: {1: 0x00AB_0000, 2: 5, 3: 9}, SECOND: {1: 0x00AB_0000, 3: 9}}
    free = device.memory[HBM].free_bytes
    for _ in range(3):
        device.launch(first, base=4)
        device.launch(second, n=2)
        assert backend.programs[FIRST] == {0: 1, 1: 0x00AB_0002, 2: 5, 3: 9}
    assert free - device.memory[HBM].free_bytes <= 256, "one image for each pair of kernels"
    device.delta = False
    assert device.launch(first).loaded_words == 8


def test_a_prepared_kernel_is_exchanged_at_its_execute():
    backend = FakeBackend(CONFIG, run=lambda *_: {})
    device = Device(backend)
    first, second, third = kernel(FIRST, SECOND), kernel(SECOND, THIRD, value=4), kernel(THIRD, group=1)
    device.load(first)
    device.execute(first)
    device.prepare(second)
    device.set_arguments(second, base=99)
    assert backend.programs[SECOND][2] == 5 and THIRD not in backend.programs, "nothing is changed under the running kernel"
    for call in (lambda: device.prepare(third), lambda: device.load(third)):
        with pytest.raises(DeviceError, match="kernel 'k' is prepared: execute it first"):
            call()
    with pytest.raises(DeviceError, match="still runs a kernel"):
        device.execute(second)
    backend.status |= 1
    device.wait(first)
    backend.run = lambda _, groups: {"group_done": groups}
    device.launch(second, n=6)
    assert backend.programs[FIRST].get(0, 0) == 0 and backend.programs[SECOND] == second.programs[SECOND] | {1: 0x00AB_0006, 2: 99}
    loads = len(backend.loads)
    device.prepare(first)
    device.launch(first)
    assert {unit: backend.programs[unit] for unit in (FIRST, SECOND)} == first.programs and backend.programs[THIRD].get(0, 0) == 0
    assert sum(len(words) for _, records in backend.loads[loads:] for words in records.values()) <= 8
    plain = Device(FakeBackend(dataclasses.replace(CONFIG, shadow=False)))
    with pytest.raises(DeviceError, match="has no shadows"):
        plain.prepare(Kernel("k", plain.config.digest, 0, {FIRST: {0: 1}}))


def test_nothing_is_changed_under_a_running_kernel():
    backend = FakeBackend(CONFIG, run=lambda *_: {})
    device = Device(backend)
    work = kernel(FIRST)
    device.load(work)
    device.execute(work)
    for call in (lambda: device.set_arguments(work, n=2), lambda: device.execute(work), lambda: device.load(kernel(SECOND)),
                 lambda: device.load(kernel(FIRST, group=1))):
        with pytest.raises(DeviceError, match="group 0 still runs a kernel: wait for it first"):
            call()
    with pytest.raises(DeviceTimeout, match="kernel 'k' has not finished in 500 cycles; busy: no unit"):
        device.wait(work, 500)
    backend.status |= 1
    assert device.wait(work) == 7
    device.load(kernel(SECOND))


def test_fault_names_unit_cause_and_address_and_reset_clears_it():
    def fault(backend, _groups):
        backend.registers["FAULT"] = register("FAULT").pack(
            valid=1, cause=FaultCause.RIGHTS.value, segment=3, unit=CONFIG.agcu_id(2))
        backend.registers["FAULT_OFFSET"] = 0x1234
        return {"fault": 1}
    backend = FakeBackend(CONFIG, run=fault)
    device = Device(backend)
    with pytest.raises(DeviceFault, match=r"agcu2: RIGHTS at virtual address 0x3:0x00001234; reset the device"):
        device.launch(kernel(FIRST))
    backend.run = lambda _, groups: {"group_done": groups}
    device.reset()
    assert backend.status == 0, "what was recorded while the tile drained is cleared"
    device.launch(kernel(FIRST))
    assert len(backend.loads) == 2, "the tile has lost its programs"


def test_launcher_error_is_named():
    def error(backend, _groups):
        backend.registers["ERROR"] = register("ERROR").pack(code=2, position=9)
        return {"error": 1}
    with pytest.raises(DeviceError, match="halted with error TRUNCATED at word 9"):
        Device(FakeBackend(CONFIG, run=error)).launch(kernel(FIRST))


def test_memory():
    device = Device(FakeBackend(CONFIG))
    values = np.arange(24, dtype=np.int16).reshape(4, 6)
    for tier in (HBM, DDR):
        buffer = device.upload(tier, values[:, ::2])
        np.testing.assert_array_equal(device.read(buffer, np.int16, (4, 3)), values[:, ::2])
        device.write(buffer, np.int16(-1), offset=4)
        assert device.read(buffer, np.int16, (), offset=4) == -1
        for offset, size in ((0, 25), (24, 1), (-1, 1)):
            with pytest.raises(DeviceError, match="outside the buffer of 24 bytes"):
                device.write(buffer, np.zeros(size, np.uint8), offset=offset)
        device.free(buffer)
        for call in (lambda b=buffer: device.free(b), lambda b=buffer: device.read(b, np.uint8, (1,))):
            with pytest.raises(DeviceMemoryError, match="is not in use"):
                call()
    with pytest.raises(DeviceError, match="memory tier 2 does not exist"):
        device.allocate(2, 5)
