"""Errors in a PMU's scratchpad as the host sees them: a `tiny` device with ECC, a stage buffer, bits turned over by an argument."""

import dataclasses

import numpy as np
import pytest

from compiler.fabric.kernel import KernelBuilder
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import preset
from hw.pmu.program import Inject
from hw.pmu.recipes import stage_buffer
from sim.device import VerilatedBackend
from sw_driver.device import HBM, Device, DeviceFault
from sw_driver.kernel import Kernel

pytestmark = pytest.mark.long            # a device of its own is built

TINY = preset("tiny")
CONFIG = dataclasses.replace(TINY, name="tiny_ecc", pmu=dataclasses.replace(TINY.pmu, ecc=True))
VECTORS, COUNT = 8, 5


def buffer_kernel() -> Kernel:
    """HBM -> PMU (0, 1) -> HBM. Arguments: ``source``, ``destination``, and ``flips``: the bits to turn over in vector 21."""
    builder = KernelBuilder(CONFIG, "buffer")
    loops = (Loop(VECTORS * COUNT, CONFIG.beat_bytes),)
    load = builder.agcu(0, AGCUProgram(loads=(LoadProgram(loops=loops),)))
    store = builder.agcu(1, AGCUProgram(stores=(StoreProgram(loops=loops),)))
    program = stage_buffer(CONFIG.pmu, vectors=VECTORS, count=COUNT)
    pmu = builder.pmu(0, 1, dataclasses.replace(program, inject=Inject(access=21, half_lane=3, flips=0)))
    builder.vector(load.out(0), pmu.input(0))
    builder.vector(pmu.out(0), store.input(0))
    builder.argument("source", load.field("load0.base"))
    builder.argument("destination", store.field("store0.base"))
    builder.argument("flips", pmu.field("ecc.flips"))
    return builder.build()


def test_single_errors_are_corrected_double_errors_stop_the_kernel_and_reset_recovers():
    data = np.random.default_rng(1).integers(0, 256, VECTORS * COUNT * CONFIG.beat_bytes, dtype=np.uint8)
    kernel = buffer_kernel()
    with Device(VerilatedBackend(CONFIG)) as device:
        source, destination = device.upload(HBM, data), device.allocate(HBM, data.size)

        def launch(flips: int) -> np.ndarray:
            device.write(destination, np.zeros_like(data))
            device.launch(kernel, source=source.address, destination=destination.address, flips=flips)
            return device.read(destination, np.uint8, data.shape)

        np.testing.assert_array_equal(launch(0), data)
        np.testing.assert_array_equal(launch(1 << 20), data)
        counters = device.counters()["pmu(0,1)"]
        assert counters["ecc_corrected"] == 1
        with pytest.raises(DeviceFault, match=r"pmu\(0,1\): UNCORRECTABLE at scratchpad byte 0x"):
            launch(0b101)
        got = device.read(destination, np.uint8, data.shape)
        assert not got[21 * CONFIG.beat_bytes:].any(), "nothing from the wrong vector on was stored"
        device.reset()
        np.testing.assert_array_equal(launch(0), data)
