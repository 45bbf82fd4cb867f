"""What both simulations of a whole device run: ordinary driver code, blind to what is below."""

from __future__ import annotations

import numpy as np

from coe_app.kernels import copy_kernel
from compiler.fabric.kernel import KernelBuilder
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import RDUConfig
from hw.dram.timing import dram_timing
from hw.pcu import library
from hw.pcu.model import pack_rows, run
from sw_driver.backend import Backend
from sw_driver.device import DDR, HBM, Device
from sw_driver.kernel import Kernel

__all__ = ["copy", "gemm", "gemm_kernel"]

VECTORS = 100
ROWS, K, FEATURES = 2, 16, 8


def launch(device: Device, kernel: Kernel, **arguments: int) -> int:
    """Cycles of a launch that starts in the middle of a refresh interval, with every row of the memory closed.

    The two simulations' bus masters take different times, so each first idles to the same phase of the refreshes.
    """
    device.load(kernel)
    device.set_arguments(kernel, **arguments)
    config = device.config
    interval = max(dram_timing(tier, config.beat_bytes).refi for tier in (config.hbm, config.ddr))
    device.backend.run(2 * interval + interval // 4 - device.backend.cycles % interval)
    device.execute(kernel)
    return device.wait(kernel, 10_000)


def copy(backend: Backend) -> dict:
    """Writes DDR through the window, copies it to HBM by the copy kernel: {"cycles", "bytes" read back as hex digits}."""
    device = Device(backend)
    data = np.random.default_rng(3).integers(0, 256, VECTORS * device.config.beat_bytes, dtype=np.uint8)
    source, destination = device.upload(DDR, data), device.allocate(HBM, data.size)
    cycles = launch(device, copy_kernel(device.config), vectors=VECTORS, source=source.address, destination=destination.address)
    result = device.read(destination, np.uint8, data.shape)
    np.testing.assert_array_equal(result, data)
    return {"cycles": cycles, "bytes": result.tobytes().hex()}


def gemm_kernel(config: RDUConfig) -> Kernel:
    """x[2, 16] @ w[16, 8] + bias by the PCU in the corner: w and x come from the west, bias from the east, where y is stored."""
    builder = KernelBuilder(config, "gemm")
    beat = config.beat_bytes
    operands = builder.agcu(0, AGCUProgram(loads=(LoadProgram(loops=(Loop(2 * K * FEATURES // beat, beat),)),
                                                  LoadProgram(loops=(Loop(2 * ROWS * K // beat, beat),)))))
    others = builder.agcu(1, AGCUProgram(loads=(LoadProgram(loops=(Loop(4 * FEATURES // beat, beat),)),),
                                         stores=(StoreProgram(loops=(Loop(4 * ROWS * FEATURES // beat, beat),)),)))
    pcu = builder.pcu(0, 0, library.gemm(config.pcu, rows=ROWS, k=K, features=FEATURES))
    builder.vector(operands.out(0), pcu.input(0))
    builder.vector(operands.out(1), pcu.input(1))
    builder.vector(others.out(0), pcu.input(2))
    builder.vector(pcu.out(0), others.input(0))
    for name, unit, engine in (("w", operands, "load0"), ("x", operands, "load1"), ("bias", others, "load0"),
                               ("y", others, "store0")):
        builder.argument(name, unit.field(f"{engine}.base"))
    return builder.build()


def gemm(backend: Backend) -> dict:
    """A matrix product in HBM by one PCU, checked against the numpy model: {"cycles", "bytes"}."""
    device = Device(backend)
    config, random = device.config, np.random.default_rng(4)
    w, x, bias = (random.normal(size=shape).astype(np.float32) for shape in ((K, FEATURES), (ROWS, K), (1, FEATURES)))
    streams = {0: pack_rows(w, config.lanes), 1: pack_rows(x, config.lanes), 2: pack_rows(bias, config.lanes, packed=False)}
    program = library.gemm(config.pcu, rows=ROWS, k=K, features=FEATURES).pack(config.pcu)
    expected = run(program, config.pcu, streams).vector
    places = {name: device.upload(HBM, streams[port]).address for name, port in (("w", 0), ("x", 1), ("bias", 2))}
    y = device.allocate(HBM, expected.nbytes)
    cycles = launch(device, gemm_kernel(config), **places, y=y.address)
    result = device.read(y, np.uint32, expected.shape)
    np.testing.assert_array_equal(result, expected)
    return {"cycles": cycles, "bytes": result.tobytes().hex()}
