"""How fast a busy PCU simulates: multiply-accumulates per second, beside a C loop that makes the same sums in the same order.

    rdu bench pcu-speed [--preset paper_unit] [--tiles N]

One PCU by itself, Verilated, its streams fed in C++; a GEMM of ``stages`` rows and N tiles of columns. The loop is plain C, compiled for
this processor, a rounding after the product and one after the sum. Both results are compared bit for bit. By processor time.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from hw.config import RDUConfig
from hw.fp.model import as_float, rounded_to_bf16
from hw.pcu import library
from hw.pcu.library.gemm import tile_features
from hw.pcu.model import pack_rows
from hw.pcu.pcu import PCU
from sim.toolchain import compiler_name
from sim.unit_bench import UnitBench

from .common import metric, steps

__all__ = ["DESCRIPTION", "run"]

DESCRIPTION = "multiply-accumulates per second of a busy simulated PCU, beside a C loop; --tiles N (100; --full 1000)"
K, REPEATS = 64, 5
LOOP = r"""
void gemm(const float* x, const float* w, float* out, long rows, long k, long features) {
    for (long m = 0; m < rows; m++)
        for (long i = 0; i < k; i++)
            for (long n = 0; n < features; n++) out[m * features + n] += x[m * k + i] * w[i * features + n];
}
"""


def run(config: RDUConfig, console, *, full: bool = False, tiles: int = 100) -> list[dict]:
    """The best of five runs of each, in turn. ``cycles_per_cpu_second`` is the PCU's."""
    tiles = 1000 if full else tiles
    if not 1 <= tiles <= 10_000:
        raise ValueError(f"tiles={tiles} must be from 1 to 10000")
    pcu, random = config.pcu, np.random.default_rng(1)
    tile = tile_features(pcu, 2 * pcu.lanes * (pcu.accumulators // 2))
    x, w = (rounded_to_bf16(random.normal(size=shape)) for shape in ((pcu.stages, K), (tiles, K, tile)))
    program = library.gemm(pcu, rows=pcu.stages, k=K, features=tiles * tile, bias=False).pack(pcu)
    macs, hardware, loop = tiles * pcu.stages * K * tile, [], []
    with steps(console, f"building a PCU of {pcu.lanes} x {pcu.stages} (once)", REPEATS) as step, \
            UnitBench(PCU(pcu), optimize="-O3") as bench:
        compute = _loop()
        for number in range(REPEATS):
            step(f"run {number + 1}")
            seconds, cycles, found = _simulate(bench, program, pack_rows(w.reshape(-1, tile), pcu.lanes), pack_rows(x, pcu.lanes),
                                               tiles * pcu.stages * tile // pcu.lanes)
            hardware.append(seconds)
            expected = np.zeros((tiles, pcu.stages, tile), np.float32)
            begin = time.process_time()
            for part, out in zip(w, expected, strict=True):
                compute(x, part, out)
            loop.append(time.process_time() - begin)
            if not np.array_equal(found.view(np.uint32), expected.reshape(-1).view(np.uint32)):
                raise RuntimeError("the PCU and the C loop differ")
    case = f"PCU {pcu.lanes} x {pcu.stages}"
    return [metric("macs_per_second", case, macs / min(hardware), "MAC/s"),
            metric("macs_per_second", "C loop", macs / min(loop), "MAC/s"),
            metric("slowdown", case, min(hardware) / min(loop), "ratio"),
            metric("mac_utilization_total", case, macs / (cycles * pcu.lanes * pcu.stages), "ratio"),
            metric("cycles_per_cpu_second", case, cycles / min(hardware), "cycles/s")]


def _simulate(bench: UnitBench, program: int, weights: np.ndarray, rows: np.ndarray, outputs: int) -> tuple[float, int, np.ndarray]:
    """(processor seconds, cycles, results in order) of one run."""
    bench.reset()
    bench.set("program", program)
    bench.feed("vector_in[0]", weights)
    bench.feed("vector_in[1]", rows)
    out, first, begin = bench.collect("vector_out[0]"), bench.cycle, time.process_time()
    bench.pulse("execute")
    bench.run(10_000_000, until={"vector_out[0]": outputs, "busy": 0})
    return time.process_time() - begin, bench.cycle - first, as_float(out.words).reshape(-1)


def _loop():
    with tempfile.TemporaryDirectory() as folder:
        source, library_file = Path(folder) / "gemm.c", Path(folder) / "gemm.so"
        source.write_text(LOOP)
        flags = ("-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC")
        subprocess.run([compiler_name(), "-x", "c", *flags, "-o", library_file, source], check=True)
        function = ctypes.CDLL(str(library_file)).gemm
    pointer = np.ctypeslib.ndpointer(np.float32, flags="C_CONTIGUOUS")
    function.argtypes, function.restype = [pointer] * 3 + [ctypes.c_long] * 3, None
    return lambda x, w, out: function(x, w, out, *x.shape, w.shape[1])
