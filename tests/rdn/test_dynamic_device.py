"""Dynamic flows on a whole simulated socket: the same streams by circuit and by destination, the same bytes."""

from dataclasses import replace

import numpy as np
import pytest

from compiler.kernel import KernelBuilder
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import preset
from sim.device import VerilatedBackend
from sw_driver.device import HBM, SEGMENT_OF_TIER, Device

pytestmark = pytest.mark.long          # builds a socket of its own

TINY = preset("tiny")
CONFIG = replace(TINY, name="tiny_dynamic", rdn=replace(TINY.rdn, dynamic_slots=2))
VECTORS = 96


def crossing(dynamic: bool):
    """Both AGCUs load a tensor, across the tile to the other one's store: two streams that meet on every link."""
    kernel = KernelBuilder(CONFIG, f"crossing {dynamic}")
    loops = (Loop(VECTORS, CONFIG.beat_bytes),)
    segment = SEGMENT_OF_TIER[HBM]
    units = [kernel.agcu(index, AGCUProgram(loads=(LoadProgram(loops=loops, segment=segment),),
                                            stores=(StoreProgram(loops=loops, segment=segment),))) for index in range(2)]
    for index, unit in enumerate(units):
        kernel.vector(unit.out(0), units[1 - index].input(0), dynamic=dynamic)
        kernel.argument(f"from{index}", unit.field("load0.base"))
        kernel.argument(f"to{1 - index}", units[1 - index].field("store0.base"))
    return kernel.build()


def test_streams_by_destination_bring_the_same_bytes_as_circuits():
    size, cycles = VECTORS * CONFIG.beat_bytes, {}
    data = [np.random.default_rng(seed).integers(0, 256, size, np.uint8) for seed in (1, 2)]
    with Device(VerilatedBackend(CONFIG)) as device:
        sources = [device.upload(HBM, values) for values in data]
        for dynamic in (False, True):
            targets = [device.upload(HBM, np.zeros(size, np.uint8)) for _ in data]
            cycles[dynamic] = device.launch(crossing(dynamic), from0=sources[0].address, from1=sources[1].address,
                                            to0=targets[0].address, to1=targets[1].address).cycles
            for index, target in enumerate(targets):
                np.testing.assert_array_equal(device.read(target, np.uint8, (size,)), data[1 - index], f"dynamic={dynamic}")
    assert cycles[True] <= cycles[False] * 1.1, cycles
    print(cycles)
