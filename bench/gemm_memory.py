"""Square GEMMs from memory to memory, compiled: ``rdu bench gemm --from hbm [--shape MxKxN]``.

BF16 operands lie in HBM and the BF16 product goes there. Cold start: the kernel is loaded, nothing else; ``mac_utilization_total`` is
M x K x N / (MACs of the whole tile per cycle x cycles from Execute to finished), ``mac_utilization_loaded`` the same with the loading of
the kernel and its arguments in the cycles, ``bytes_per_cycle`` what the kernels move. Results are compared bit for bit.
"""

from __future__ import annotations

import numpy as np

from compiler.graph.builder import Builder
from compiler.graph.ir import DType
from compiler.run import compile_graph, run_model
from hw.config import RDUConfig
from sw_driver.device import Device

from .common import metric, steps

__all__ = ["SHAPES", "run"]

SHAPES = "64x64x64,128x128x128"
LARGE = "256x256x256"


def run(config: RDUConfig, console, shapes: list[tuple[int, int, int]]) -> list[dict]:
    """The metrics of each shape."""
    from sim.device import open_backend  # no simulator until it runs

    pcus = sum(config.is_pcu(*point) for point in config.grid)
    peak, metrics = pcus * config.pcu.macs_per_cycle, []
    with steps(console, f"building the simulator of {config.name}", len(shapes)) as step, Device(open_backend(config)) as device:
        for rows, k, features in shapes:
            name = f"{rows}x{k}x{features} {config.name} from hbm"
            step(name)
            b = Builder("gemm", dtype=DType.BF16)
            b.output("y", b.input("x", (rows, k)) @ b.input("w", (k, features)))
            compiled = compile_graph(b.graph(), config)
            random = np.random.default_rng(1)
            inputs = {"x": random.normal(size=(rows, k)), "w": random.normal(size=(k, features))}
            _, report = run_model(compiled, device, inputs)
            compiled.program.release(device)
            if not report["bit_exact"]:
                raise RuntimeError(f"gemm {name}: results differ from the reference")
            ideal = rows * k * features / peak
            metrics += [metric("mac_utilization_total", name, ideal / report["cycles"], "ratio"),
                        metric("mac_utilization_loaded", name, ideal / report["total_cycles"], "ratio"),
                        metric("cycles", name, report["cycles"], "cycles"),
                        metric("predicted_cycles", name, report["predicted_cycles"], "cycles"),
                        metric("kernels", name, report["kernels"], "kernels"),
                        metric("bytes_per_cycle", name, sum(report["bytes"].values()) / report["cycles"], "bytes/cycle")]
    return metrics
