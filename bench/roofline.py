"""Share of the roofline that large kernels reach: ``rdu bench roofline [--case NAME,NAME]``.

Each case is one operator (or a few that are one kernel) on tensors in HBM, compiled with ``fuse=full``, results compared bit for bit.
``roofline_share``: the cycles that its MACs need on all PCUs, or its bytes at the peak of all HBM channels, whichever is more (the case
says which binds: compute or memory), over the cycles from Execute to finished, summed over its kernels. ``cycles``,
``predicted_cycles``, ``kernels``. The smallest sizes show what a launch costs by itself. Refresh alone takes 6.7 % of ``hbm2``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compiler.graph.builder import Builder, Value
from compiler.graph.ir import DType
from compiler.run import compile_graph, run_model
from hw.config import RDUConfig
from sw_driver.device import Device

from .common import chosen, metric, steps
from .phase import in_phase

__all__ = ["DESCRIPTION", "run"]

DESCRIPTION = "share of the roofline of large kernels, by operator; --case NAME,NAME (default: all but the largest; --full: all)"


@dataclass(frozen=True)
class Case:
    """``describe`` makes the result of inputs of the given shapes."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    describe: Callable[..., Value]
    dtype: DType = DType.FP32
    large: bool = False


def _layer(x: Value, w: Value, b: Value) -> Value:
    return (x @ w + b).gelu()


def _norm(x: Value) -> Value:
    width = x.builder.constant(np.ones(256), "gain")
    return x.op("LayerNormalization", width)


def _elementwise(name: str, count: int, describe: Callable[..., Value]) -> list[Case]:
    sizes = {DType.FP32: ((16, 64), (64, 256), (256, 256), (512, 512)), DType.BF16: ((256, 256), (512, 512))}
    return [Case(f"{name} {rows}x{columns} {dtype.value}", ((rows, columns),) * count, describe, dtype, rows == 512)
            for dtype, shapes in sizes.items() for rows, columns in shapes]


def _gemms() -> list[Case]:
    found = [Case(f"gemm {n}^3 {dtype.value}", ((n, n), (n, n)), lambda x, w: x @ w, dtype, n == 256)
             for dtype in (DType.BF16, DType.FP32) for n in (32, 64, 128, 256)]
    return [*found, Case("gemm gelu 256x128x256 bf16", ((256, 128), (128, 256), (256,)), _layer, DType.BF16)]


CASES = {case.name: case for case in (
    *_elementwise("axpy", 2, lambda x, z: x * 2.0 + z), *_elementwise("add", 2, lambda x, z: x + z),
    *_elementwise("gelu", 1, lambda x: x.gelu()), *_gemms(),
    Case("softmax 256x256 fp32", ((256, 256),), lambda x: x.softmax()), Case("layernorm 256x256 fp32", ((256, 256),), _norm))}


def run(config: RDUConfig, console, *, full: bool = False, case: str = "") -> list[dict]:
    from sim.device import open_backend  # no simulator until it runs

    cases = [CASES[name] for name in chosen("case", case, CASES) if case or full or not CASES[name].large]
    metrics = []
    with steps(console, f"building the simulator of {config.name}", len(cases)) as step, Device(open_backend(config)) as device:
        for each in cases:
            step(each.name)
            b, random = Builder("case", dtype=each.dtype), np.random.default_rng(7)
            values = [b.input(f"x{number}", shape) for number, shape in enumerate(each.shapes)]
            b.output("y", each.describe(*values))
            inputs = {f"x{number}": random.normal(0, 0.3, shape).astype(each.dtype.numpy) for number, shape in enumerate(each.shapes)}
            compiled = compile_graph(b.graph(), config)
            _, report = run_model(compiled, device, inputs, settle=lambda cycles: in_phase(device, cycles))
            compiled.program.release(device)
            if not report["bit_exact"]:
                raise RuntimeError(f"{each.name}: results differ from the reference")
            bound = max(report["launches"], key=lambda launch: launch["roofline_cycles"])["roofline"]
            name = f"{each.name} ({bound})"
            metrics += [metric("roofline_share", name, report["roofline_share"], "ratio"),
                        metric("cycles", name, report["cycles"], "cycles"),
                        metric("predicted_cycles", name, report["predicted_cycles"], "cycles"),
                        metric("kernels", name, report["kernels"], "kernels")]
    return metrics
