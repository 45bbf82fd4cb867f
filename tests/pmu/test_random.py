"""Random legal programs on the RTL (Verilated) against the numpy model, each stream with its own random stalls.

Everything a program can be: loops of either direction, one to three buffers, unaligned and striped vectors, transposed reads, words and
halves, gathers, circular windows, predicates, shards, four producers in any order, any bank map.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.pmu.model import PMUModel
from hw.pmu.pmu import PMU
from hw.pmu.program import Element, Loop, PMUProgram, Read, Write
from sim.unit_bench import UnitBench

from .harness import CONFIG
from .programs import Case, cases, many_to_one

LONG = settings(max_examples=4000)
SHORT = settings(max_examples=80)


@pytest.fixture(scope="module")
def bench():
    with UnitBench(PMU(CONFIG), optimize="-O1") as bench:
        yield bench


def run(bench, case: Case, stalls, seed: int) -> list[list]:
    """Outputs per read engine. ``stalls``: probability of a pause for inputs and outputs."""
    program, lanes = case.program, CONFIG.lanes
    bench.reset()
    bench.set("program", program if isinstance(program, int) else program.pack(CONFIG))
    for port, data in case.vectors.items():
        ids = np.asarray(case.sequences.get(port, np.arange(len(data))), dtype=np.uint32) % 256
        bench.feed(f"vector_in[{port}]", np.column_stack([data, ids]), stall=stalls[0], seed=seed + port)
    for port, data in case.scalars.items():
        bench.feed(f"scalar_in[{port}]", [{"data": int(word), "sequence": 0} for word in data], stall=stalls[0], seed=seed + 4 + port)
    streams = []
    for engine in range(CONFIG.vector_outputs):
        for name in ("vector_out", "scalar_out"):
            streams.append(bench.collect(f"{name}[{engine}]", stall=stalls[1], seed=seed + 10 * len(streams)))
    bench.pulse("execute")
    bench.run(20_000, until={"busy": 0}, progress_limit=2000)
    return [[*vector.words[:, :lanes], *(int(word) for word in scalar.words[:, 0])]
            for vector, scalar in zip(streams[::2], streams[1::2], strict=True)]


def check(bench, case: Case, stalls, seed: int) -> None:
    """RTL and model, both from a scratchpad with the same contents."""
    pattern = np.random.default_rng(99).integers(0, 1 << 32, (CONFIG.words // CONFIG.lanes, CONFIG.lanes), dtype=np.uint32)
    model = PMUModel(CONFIG)
    for step in (Case(PMUProgram(write=Write(loops=(Loop(len(pattern), CONFIG.lanes),), vectors=(0,))), {0: pattern}), case,
                 Case(PMUProgram(reads=(Read(loops=(Loop(len(pattern), CONFIG.lanes),), synchronised=False),)))):
        # The fill and the final look at the whole scratchpad run under whatever bank map the case has.
        step.program = step.program if step is case else _mapped(step.program, case.program)
        got = run(bench, step, stalls if step is case else (0.0, 0.0), seed)
        expected = model.run(step.program, step.vectors, step.scalars, sequences=step.sequences)
        assert [len(out) for out in got] == [len(out) for out in expected]
        for one, other in zip(got, expected, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def _mapped(program: PMUProgram, like: PMUProgram) -> PMUProgram:
    """In the bank map and the stripes of another program: the scratchpad is that program's."""
    halves = 2 if like.element is Element.HALF else 1

    def scaled(engine):
        return engine and replace(engine, loops=tuple(replace(loop, stride=loop.stride * halves) for loop in engine.loops))
    return replace(program, bank_map=like.bank_map, pitch=like.pitch, element=like.element, write=scaled(program.write),
                   reads=tuple(scaled(read) for read in program.reads))


STALLS = st.tuples(st.sampled_from([0.0, 0.2, 0.7]), st.sampled_from([0.0, 0.3, 0.8]))


@SHORT
@given(case=cases(CONFIG), stalls=STALLS, seed=st.integers(0, 1000))
def test_random_programs(bench, case, stalls, seed):
    check(bench, case, stalls, seed)


@SHORT
@given(case=many_to_one(CONFIG), stalls=STALLS, seed=st.integers(0, 1000))
def test_four_producers_in_any_order(bench, case, stalls, seed):
    check(bench, case, stalls, seed)


@pytest.mark.long
@LONG
@given(case=cases(CONFIG), stalls=STALLS, seed=st.integers(0, 1000))
def test_thousands_of_random_programs(bench, case, stalls, seed):
    check(bench, case, stalls, seed)


def test_the_comparison_bites(bench):
    """A program whose reader has another stride than the model's is found out."""
    data = np.arange(8 * CONFIG.lanes, dtype=np.uint32).reshape(8, -1)
    write = Write(loops=(Loop(8, CONFIG.lanes),), vectors=(0,))
    right, wrong = (PMUProgram(write=write, reads=(Read(loops=(Loop(8, stride),)),)) for stride in (CONFIG.lanes, 2))
    got = run(bench, Case(wrong, {0: data}), (0.0, 0.0), 0)
    assert not np.array_equal(np.array(got[0]), np.array(PMUModel(CONFIG).run(right, {0: data})[0]))
