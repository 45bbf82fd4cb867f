"""Dynamic flows on a whole simulated socket: streams by circuit and by destination, packets that name their own."""

from dataclasses import replace

import numpy as np
import pytest

from compiler.fabric.kernel import KernelBuilder
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import preset
from hw.pcu.program import Input, SimdProgram
from hw.rdn.dynamic import destination_layout
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


@pytest.fixture(scope="module")
def device():
    with Device(VerilatedBackend(CONFIG)) as made:
        yield made


def test_streams_by_destination_bring_the_same_bytes_as_circuits(device):
    size, cycles = VECTORS * CONFIG.beat_bytes, {}
    data = [np.random.default_rng(seed).integers(0, 256, size, np.uint8) for seed in (1, 2)]
    sources = [device.upload(HBM, values) for values in data]
    for dynamic in (False, True):
        targets = [device.upload(HBM, np.zeros(size, np.uint8)) for _ in data]
        cycles[dynamic] = device.launch(crossing(dynamic), from0=sources[0].address, from1=sources[1].address,
                                        to0=targets[0].address, to1=targets[1].address).cycles
        for index, target in enumerate(targets):
            np.testing.assert_array_equal(device.read(target, np.uint8, (size,)), data[1 - index], f"dynamic={dynamic}")
    assert cycles[True] <= cycles[False] * 1.1, cycles
    print(cycles)


def test_each_packet_names_its_destination(device):
    """One stream, dealt by the first words of its vectors to two stores and, through a PCU, to a third."""
    random, lanes = np.random.default_rng(3), CONFIG.lanes
    kernel, segment = KernelBuilder(CONFIG, "by data"), SEGMENT_OF_TIER[HBM]
    chosen = random.integers(0, 3, VECTORS)
    counts = [int((chosen == end).sum()) for end in range(3)]

    def engine(kind, count):
        return kind(loops=(Loop(count, CONFIG.beat_bytes),), segment=segment)
    west = kernel.agcu(0, AGCUProgram(loads=(engine(LoadProgram, VECTORS),), stores=(engine(StoreProgram, counts[0]),)))
    east = kernel.agcu(1, AGCUProgram(stores=tuple(engine(StoreProgram, count) for count in counts[1:])))
    passing = kernel.pcu(1, 1, SimdProgram(loops=(counts[2],), vectors={0: Input()}))
    ends = west.input(0), east.input(0), passing.input(0)
    kernel.vector(west.out(0), *ends, dynamic=True, by_data=True)
    kernel.vector(passing.out(0), east.input(1))
    fields = west.field("load0.base"), west.field("store0.base"), east.field("store0.base"), east.field("store1.base")
    for name, field in zip(("source", "to0", "to1", "to2"), fields, strict=True):
        kernel.argument(name, field)
    stream = random.integers(0, 1 << 32, (VECTORS, lanes), dtype=np.uint32)
    words = np.array([kernel.destination(end) for end in ends], dtype=np.uint32)
    bits = destination_layout(CONFIG.rdn.coordinate_bits, CONFIG.rdn.labels).size
    stream[:, 0] = stream[:, 0] >> bits << bits | words[chosen]              # what lies above names nothing, and arrives
    targets = [device.upload(HBM, np.zeros((count, lanes), np.uint32)) for count in counts]
    device.launch(kernel.build(), source=device.upload(HBM, stream).address,
                  **{f"to{number}": target.address for number, target in enumerate(targets)})
    for end, target in enumerate(targets):
        np.testing.assert_array_equal(device.read(target, np.uint32, (counts[end], lanes)), stream[chosen == end])
