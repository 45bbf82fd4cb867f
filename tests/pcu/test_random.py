"""Random legal programs under random stalls, RTL against the numpy interpreter at asymmetric sizes; illegal ones refused by name."""

import dataclasses
import re

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from hw.config import PCUConfig
from hw.pcu.program import ProgramError, SimdProgram, SystolicProgram

from .harness import check
from .mutations import MUTATIONS, unrestricted
from .strategies import simd_programs, systolic_programs

# Those of the other tests, and more for the long run: (lanes, stages).
SHORT = [PCUConfig(lanes=4, stages=3, accumulators=8, broadcast_depth=48), PCUConfig()]
LONG = [*SHORT, PCUConfig(lanes=4, stages=6, broadcast_depth=32), PCUConfig(lanes=16, stages=2, accumulators=16, broadcast_depth=64),
        PCUConfig(lanes=32, stages=1, accumulators=4, broadcast_depth=128), PCUConfig(lanes=32, stages=6)]
STALLS = st.sampled_from([0.0, 0.3, 0.7])
PROGRAMS = {"SIMD": simd_programs, "systolic": systolic_programs}
PROGRAM_TYPES = {"SIMD": SimdProgram, "systolic": SystolicProgram}


def name(config: PCUConfig) -> str:
    return f"{config.lanes}x{config.stages}"


def run_many(kind: str, config: PCUConfig, count: int) -> None:
    @settings(max_examples=count)
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


def refuse(kind: str, config: PCUConfig, field: str, change, phases=tuple(Phase)) -> None:
    @settings(max_examples=10, phases=phases)
    @given(case=PROGRAMS[kind](config), data=st.data())
    def run(case, data):
        program = case[0]
        program.pack(config)
        changes = change(data.draw, program, config)
        assume(changes is not None)
        with pytest.raises(ProgramError) as error:
            dataclasses.replace(program, **changes).pack(config)
        assert re.search(rf"\b{field}\b", str(error.value)), f"{changes} of {field}: {error.value}"
    run()


@pytest.mark.parametrize("config", [LONG[0], LONG[3]], ids=name)
@pytest.mark.parametrize("kind", PROGRAMS)
def test_mutated_programs_are_refused_by_name(kind, config):
    """One rule of one field is broken: the refusal tells that field."""
    for field, change in MUTATIONS[PROGRAM_TYPES[kind]]:
        refuse(kind, config, field, change)


def test_a_mutation_that_breaks_nothing_is_found():
    """The property bites: a change that leaves the program legal, or another field named, fails."""
    for change in (lambda draw, program, config: {"column_tiles": 1}, lambda draw, program, config: {"column_tiles": 0}):
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            refuse("systolic", LONG[0], "row_tiles", change, (Phase.generate,))


def test_every_field_with_a_rule_is_mutated():
    """Any value of the others (enumerations, yes or no) makes a program that can be run."""
    assert unrestricted(SystolicProgram) == {"initial", "packed_weights", "int8_weights", "packed_rows", "function"}
    assert unrestricted(SimdProgram) == {"function"}
