"""Transposing a matrix in a PMU while the next one arrives, and at what rate.

    rdu bench transpose [--size 128] [--matrices 16]

RTL (Verilated), double-buffered, inputs always there and outputs always taken: matrices arrive row by row and leave column by column,
FP32 and packed BF16. Where two of them exceed the scratchpad of the preset's PMU its banks are made deeper, and the case says so.
Metrics: vectors per cycle in and out, from the first to the last, and elements that came out wrong.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from hw.config import PMUConfig, RDUConfig
from hw.pmu.pmu import PMU
from hw.pmu.program import Element
from hw.pmu.recipes import transposed_rows

from .common import metric, steps

__all__ = ["DESCRIPTION", "measure", "run"]

DESCRIPTION = "rate of double-buffered transposes in a PMU, FP32 and BF16; --size N --matrices N"


def deep_enough(config: PMUConfig, words: int) -> PMUConfig:
    """``config``, with deeper banks if it holds fewer than ``words``."""
    while config.words < words:
        config = dataclasses.replace(config, bank_rows=2 * config.bank_rows)
    return config


def measure(bench, config: PMUConfig, size: int, matrices: int, element: Element) -> tuple[float, float, int]:
    """(vectors in per cycle, vectors out per cycle, wrong elements) of ``matrices`` matrices on a bench of a PMU."""
    kind = np.uint16 if element is Element.HALF else np.uint32
    data = np.random.default_rng(1).integers(0, 1 << 16, (matrices, size, size), dtype=kind)
    program = transposed_rows(config, rows=size, columns=size, element=element, count=matrices)
    bench.reset()
    bench.set("program", program.pack(config))
    bench.feed("vector_in[0]", data.view(np.uint32).reshape(-1, config.lanes))
    out = bench.collect("vector_out[0]")
    bench.pulse("execute")
    bench.run(1 << 30, until={"busy": 0})
    got = np.ascontiguousarray(out.words[:, :config.lanes]).view(kind)
    wrong = int((got.reshape(data.shape) != data.transpose(0, 2, 1)).sum()) if got.size == data.size else data.size
    rates = [len(cycles) / (cycles[-1] - cycles[0] + 1) for cycles in (bench.sent("vector_in[0]").cycles, out.cycles)]
    return *rates, wrong


def run(config: RDUConfig, console, *, full: bool = False, size: int = 128, matrices: int = 16) -> list[dict]:
    """Both element types; ``--full``: 200 matrices."""
    from sim.unit_bench import UnitBench
    if size & size - 1 or not 2 * config.lanes <= size <= 1024:
        raise ValueError(f"size={size} must be a power of two from {2 * config.lanes} to 1024")
    if not 1 <= matrices <= 65535:
        raise ValueError(f"matrices={matrices} must be from 1 to 65535")
    metrics = []
    with steps(console, "building the PMU", 2) as step:
        for element, name, words in ((Element.HALF, "bf16", size * size), (Element.WORD, "fp32", 2 * size * size)):
            pmu = deep_enough(config.pmu, words)
            case = f"{size}x{size} {name}" + (f", {pmu.bank_rows} rows a bank" if pmu != config.pmu else "")
            step(case)
            with UnitBench(PMU(pmu)) as bench:
                into, out, wrong = measure(bench, pmu, size, 200 if full else matrices, element)
            metrics += [metric("in_vectors_per_cycle", case, into, "vectors/cycle"),
                        metric("out_vectors_per_cycle", case, out, "vectors/cycle"),
                        metric("wrong_elements", case, wrong, "elements")]
    return metrics
