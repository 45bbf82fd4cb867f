"""Kernels that cannot finish: the driver says so within a bounded time, and who waits for whom."""

import numpy as np
import pytest

from compiler.fabric.kernel import KernelBuilder
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import preset
from hw.pcu import library
from sim.device import VerilatedBackend
from sw_driver.device import HBM, Device, DeviceHang, difference

CONFIG = preset("small")
BEAT, LAST = CONFIG.beat_bytes, len(CONFIG.agcu_ports) - 1
SHAPE = {"rows": 2, "n": 4 * CONFIG.lanes}


@pytest.fixture(scope="module")
def device():
    with Device(VerilatedBackend(CONFIG)) as device:
        device.stall_cycles = 2000
        yield device


def kernel(vectors: int, ring: bool = False):
    """``vectors`` of the 8 that the PCU wants come; ``ring``: a second PCU's result comes back as an input of the first."""
    builder = KernelBuilder(CONFIG, "ring" if ring else "starving")
    source = builder.agcu(0, AGCUProgram(loads=(LoadProgram(loops=(Loop(vectors, BEAT),)),)))
    target = builder.agcu(LAST, AGCUProgram(stores=(StoreProgram(loops=(Loop(8, BEAT),)),)))
    first = builder.pcu(0, 0, library.residual_add(CONFIG.pcu, **SHAPE) if ring else library.affine(CONFIG.pcu, 2.0, **SHAPE))
    builder.vector(source.out(0), first.input(0))
    if ring:
        second = builder.pcu(1, 1, library.affine(CONFIG.pcu, 2.0, **SHAPE))
        builder.vector(first.out(0), second.input(0))
        builder.vector(second.out(0), first.input(1), target.input(0))
    else:
        builder.vector(first.out(0), target.input(0))
    builder.argument("target", target.field("store0.base"))
    return builder.build()


def run(device, own):
    target = device.allocate(HBM, 8 * BEAT)
    before = device.backend.cycles
    try:
        return device.launch(own, target=target.address)
    finally:
        assert device.backend.cycles - before < 30_000, "not in a bounded time"
        device.free(target)


def test_a_starving_source_is_named(device):
    with pytest.raises(DeviceHang) as hang:
        run(device, kernel(5))
    text = str(hang.value)
    assert "kernel 'starving' cannot finish" in text
    assert "pcu(0,0) waits for vector flow agcu0.0 -> pcu(0,0).0" in text
    assert "agcu0 is where it begins: idle: it has done all that it was programmed to do" in text
    report = device.explain_stall()
    assert report.roots == ("agcu0",) and not report.cycle
    device.reset()
    assert run(device, kernel(8)).cycles


def test_a_ring_is_shown(device):
    with pytest.raises(DeviceHang, match="these wait in a ring: ") as hang:
        run(device, kernel(8, ring=True))
    assert set(device.explain_stall().cycle) == {"pcu(0,0)", "pcu(1,1)"}, hang.value
    device.reset()
    assert str(device.explain_stall()) == "no unit waits: nothing is launched, or all of them move"


def test_a_fork_that_joins_without_a_buffer_is_shown_as_a_ring(device):
    """The maximum of a row comes when the whole row has been sent; the PCU that subtracts it takes only its beginning before."""
    shape = {"rows": 2, "n": 32 * CONFIG.lanes}
    builder = KernelBuilder(CONFIG, "fork")
    source = builder.agcu(0, AGCUProgram(loads=(LoadProgram(loops=(Loop(64, BEAT),)),)))
    target = builder.agcu(LAST, AGCUProgram(stores=(StoreProgram(loops=(Loop(64, BEAT),)),)))
    maximum = builder.pcu(0, 0, library.row_max(CONFIG.pcu, **shape))
    exponential = builder.pcu(0, 2, library.subtract_exp(CONFIG.pcu, **shape))
    builder.vector(source.out(0), maximum.input(0), exponential.input(0))
    builder.scalar(maximum.out(0), exponential.input(0))
    builder.vector(exponential.out(0), target.input(0))
    builder.argument("target", target.field("store0.base"))
    with pytest.raises(DeviceHang) as hang:
        run(device, builder.build())
    report = device.explain_stall()
    assert set(report.cycle) == {"agcu0", "pcu(0,0)", "pcu(0,2)"}, hang.value
    assert ("agcu0", "room in vector flow agcu0.0 -> pcu(0,2).0", "pcu(0,2)") in report.waits
    assert ("pcu(0,0)", "vector flow agcu0.0 -> pcu(0,0).0", "agcu0") in report.waits
    assert not report.roots
    device.reset()


def test_counters_before_and_after(device):
    own, before = kernel(8), device.counters()
    run(device, own)
    moved = difference(device.counters(), before)
    assert moved["agcu0"]["beats_read"] == 8 and moved["pcu(0,0)"]["packets_out"] == 8
    assert moved[f"agcu{LAST}"]["beats_written"] == 8 and "pcu(1,1)" not in moved
    assert np.sum(device.counters(["agcu0"], ("beats_read",))["agcu0"]["beats_read"]) >= 8
