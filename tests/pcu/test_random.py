"""Random legal programs under random stalls, RTL against the numpy interpreter at asymmetric sizes; illegal ones refused by name."""

import dataclasses

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hw.config import PCUConfig
from hw.pcu.program import Input, ProgramError, SimdProgram, vector

from .harness import check
from .strategies import BREAKS, simd_programs, systolic_programs

# Those of the other tests, and more for the long run: (lanes, stages).
SHORT = [PCUConfig(lanes=4, stages=3, accumulators=8, broadcast_depth=48), PCUConfig()]
LONG = [*SHORT, PCUConfig(lanes=4, stages=6, broadcast_depth=32), PCUConfig(lanes=16, stages=2, accumulators=16, broadcast_depth=64),
        PCUConfig(lanes=32, stages=1, accumulators=4, broadcast_depth=128), PCUConfig(lanes=32, stages=6)]
STALLS = st.sampled_from([0.0, 0.3, 0.7])
PROGRAMS = {"SIMD": simd_programs, "systolic": systolic_programs}


def name(config: PCUConfig) -> str:
    return f"{config.lanes}x{config.stages}"


def examples(count: int):
    """The same programs in every run, so that a failure can be repeated; shrunk to the smallest that fails."""
    return settings(max_examples=count, derandomize=True, database=None, deadline=None, suppress_health_check=[*HealthCheck],
                    print_blob=False)


def run_many(kind: str, config: PCUConfig, count: int) -> None:
    @examples(count)
    @given(case=PROGRAMS[kind](config), stall=STALLS, seed=st.integers(0, 1000))
    def run(case, stall, seed):
        program, vectors, scalars = case
        check(program, config, vectors, scalars, stall=stall, seed=seed)
    run()


@pytest.mark.parametrize("kind", PROGRAMS)
@pytest.mark.parametrize("config", SHORT, ids=name)
def test_random_programs(config, kind):
    run_many(kind, config, 60)


@pytest.mark.long
@pytest.mark.parametrize("kind", PROGRAMS)
@pytest.mark.parametrize("config", LONG, ids=name)
def test_many_random_programs(config, kind):
    run_many(kind, config, 600)


@pytest.mark.parametrize("kind", PROGRAMS)
def test_illegal_programs_are_refused_by_name(kind):
    config = SHORT[0]
    refused = [change for program, changes in BREAKS.items() if (program is SimdProgram) == (kind == "SIMD") for change in changes]

    @examples(150)
    @given(case=PROGRAMS[kind](config), broken=st.sampled_from(refused))
    def refuse(case, broken):
        change, message = broken
        program = case[0]
        # Accumulators reused too soon are refused before anything else.
        assume(program.accumulate is None if kind == "SIMD" else program.groups * program.feature_blocks >= 3)
        if change.keys() & {"vectors", "scalars", "constants"}:    # no stage that misses what the change takes away
            program = dataclasses.replace(program, stages=(), result=vector(0), vectors={0: Input()})
        with pytest.raises(ProgramError) as error:
            dataclasses.replace(program, **change).pack(config)
        assert message in str(error.value)
    refuse()
