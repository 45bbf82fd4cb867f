"""Runs a program on the RTL (Verilated, streams pumped in C++) and compares every output with the numpy interpreter."""

import functools

import numpy as np

from hw.config import PCUConfig
from hw.pcu.model import run
from hw.pcu.pcu import PCU
from sim.unit_bench import UnitBench


@functools.cache
def bench(config: PCUConfig) -> UnitBench:
    """One bench per size, used by all tests of a process (a Verilated model takes long to build and 0.3 s to load)."""
    return UnitBench(PCU(config))


def check(program, config: PCUConfig, vectors: dict, scalars: dict | None = None, *, stall: float = 0.0, seed: int = 0,
          max_cycles: int = 200_000):
    """Runs ``program``; asserts that outputs and the inputs taken equal the model's. Returns (streams, cycles)."""
    bits = program.pack(config)
    expected = run(bits, config, vectors, scalars)
    unit = bench(config)
    unit.reset()
    unit.set("program", bits)
    inputs = [("vector_in", port, words) for port, words in vectors.items()]
    inputs += [("scalar_in", port, words) for port, words in (scalars or {}).items()]
    for number, (kind, port, words) in enumerate(inputs):
        payloads = [{"data": list(map(int, row)) if kind == "vector_in" else int(row), "sequence": 0} for row in words]
        unit.feed(f"{kind}[{port}]", payloads, stall=stall, seed=seed + number)
    out_vector = unit.collect("vector_out[0]", stall=stall, seed=seed + 100)
    out_scalar = unit.collect("scalar_out[0]", stall=stall, seed=seed + 101)
    unit.pulse("execute")
    start = unit.cycle
    unit.run(max_cycles, until={"vector_out[0]": len(expected.vector), "scalar_out[0]": len(expected.scalar), "busy": 0})
    cycles = unit.cycle - start
    unit.tick(100)
    assert len(out_vector) == len(expected.vector) and len(out_scalar) == len(expected.scalar)
    if len(expected.vector):
        np.testing.assert_array_equal(out_vector.words, expected.vector)
    if len(expected.scalar):
        np.testing.assert_array_equal(np.ravel(out_scalar.ints()), expected.scalar)
    taken = expected.taken_vectors, expected.taken_scalars
    for kind, counts in zip(("vector_in", "scalar_in"), taken, strict=True):
        for port, count in enumerate(counts):
            assert unit.transfers(f"{kind}[{port}]") == count, f"{kind}[{port}]"
    return expected, cycles
