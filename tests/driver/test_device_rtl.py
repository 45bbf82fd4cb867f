"""The driver on the simulated socket: memory, copies, faults and what comes after them. One model serves all tests."""

import numpy as np
import pytest

from coe_app.kernels import copy_kernel
from coe_app.network import load_held_out, load_networks
from coe_app.serve import Server
from hw.config import preset
from sim.device import VerilatedBackend
from sw_driver.device import DDR, HBM, Device, DeviceError, DeviceFault

CONFIG = preset("small")
DDR_BYTES_PER_CYCLE = 6.4        # a 16-bit DDR4-3200 channel at a core clock of 1 GHz


@pytest.fixture(scope="module")
def device():
    with Device(VerilatedBackend(CONFIG)) as device:
        yield device


@pytest.fixture(scope="module")
def copy():
    return copy_kernel(CONFIG)


def random_bytes(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def launch_copy(device, copy, source: int, destination: int, size: int) -> int:
    return device.launch(copy, source=source, destination=destination, vectors=size // CONFIG.beat_bytes).cycles


@pytest.mark.parametrize("tier", [HBM, DDR])
def test_memory_round_trip_at_far_addresses(device, tier):
    capacity = device.memory[tier].capacity
    places = [(address, random_bytes(address, 300)) for address in (capacity - 300, capacity // 2 + 13, 3 << 20)]
    for address, values in places:
        device.backend.mem_write(tier, address, values)
    for address, values in places:
        np.testing.assert_array_equal(device.backend.mem_read(tier, address, 300), values)


def test_copy_is_right_and_as_fast_as_the_ddr(device, copy):
    size = 64 << 10
    values = random_bytes(1, size)
    source, destination = device.upload(DDR, values), device.allocate(HBM, size)
    cycles = launch_copy(device, copy, source.address, destination.address, size)
    np.testing.assert_array_equal(device.read(destination, np.uint8, (size,)), values)
    assert size / cycles >= 0.95 * DDR_BYTES_PER_CYCLE, f"{size / cycles:.2f} bytes per cycle"
    assert size / cycles <= DDR_BYTES_PER_CYCLE, "faster than the DRAM can be"
    device.free(source)
    device.free(destination)


def test_fault_is_named_and_reset_recovers(device, copy):
    size = 2048
    values = random_bytes(2, size)
    source, destination = device.upload(DDR, values), device.allocate(HBM, size)
    with pytest.raises(DeviceFault, match=r"agcu3: OUT_OF_RANGE at virtual address 0x1:0x04000000; reset the device"):
        launch_copy(device, copy, CONFIG.ddr.bytes - 64, destination.address, size)
    with pytest.raises(DeviceError):
        device.load(copy)
        device.execute(copy)
    device.reset()
    assert not any(device.read_fields("IRQ_STATUS").values())
    np.testing.assert_array_equal(device.read(source, np.uint8, (size,)), values)
    launch_copy(device, copy, source.address, destination.address, size)
    np.testing.assert_array_equal(device.read(destination, np.uint8, (size,)), values)


def test_units_have_no_combinational_path(device):
    router, experts = load_networks()
    server = Server(device, router, experts, resident=1)
    device.backend.check_units(True)
    try:
        run = server._run(router, server._router, load_held_out().pictures[:1])
    finally:
        device.backend.check_units(False)
    assert run.exact
