"""The SIMD mode: random legal programs at asymmetric sizes against the interpreter, and what is refused."""

import numpy as np
import pytest

from hw.config import PCUConfig
from hw.fp.model import as_float
from hw.pcu import library
from hw.pcu.layout import SLOTS, Op
from hw.pcu.model import run
from hw.pcu.pcu import PCU
from hw.pcu.program import (
    Input,
    Mask,
    ProgramError,
    SimdProgram,
    Stage,
    constant,
    integer,
    scalar,
    stage,
    vector,
)

from .harness import check
from .strategies import SPECIAL
from .strategies import random_words as words

CONFIG = PCUConfig()
ODD = PCUConfig(lanes=4, stages=3, accumulators=8, broadcast_depth=48)
@pytest.mark.parametrize("op", [op for op in Op if op not in (Op.NOP, Op.MAC)], ids=lambda op: op.name)
def test_operation_on_special_values(op):
    """All pairs of corner values."""
    corners = np.array([*SPECIAL, 2, 31, 0x4EFFFFFF, 0x4F000000, 0xCF000000, 0x3F7FFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000,
                        0x00FFFFFF, 0x01000001, 0x3F808000, 0x3F818000, 0xBF7FFFFF], dtype=np.uint32)
    a, b = (grid.ravel() for grid in np.meshgrid(corners, corners))
    a, b = (np.resize(values, (72, 8)) for values in (a, b))
    program = SimdProgram(loops=(72,), vectors={0: Input(), 1: Input()}, constants=(1,),
                          stages=(integer(op, vector(0), vector(1), vector(1)),))
    check(program, CONFIG, {0: a, 1: b})


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("packed", [False, True])
def test_sums_over_time_by_lane(packed, stall):
    """Columns of x[13, 5 vectors] weighted by a row scalar, for two matrices: sequential in the rows."""
    random = np.random.default_rng(4)
    x, weights = random.normal(size=(2, 13, 5, 4)).astype(np.float32), random.normal(size=(2, 13)).astype(np.float32)
    program = SimdProgram(loops=(5, 13, 2), vectors={0: Input()}, scalars={0: Input(level=1)}, accumulate=1, produce=2,
                          stages=(Stage.accumulate(vector(0), scalar(0)),), packed_output=packed)
    out, _ = check(program, ODD, {0: x.reshape(-1, 4).view(np.uint32)}, {0: weights.ravel().view(np.uint32)}, stall=stall)
    sums = np.zeros((2, 5, 4), dtype=np.float32)
    for row in range(13):
        sums = sums + x[:, row] * weights[:, row, None, None]
    if packed:
        assert len(out.vector) == 2 * 3
    else:
        np.testing.assert_array_equal(as_float(out.vector).reshape(sums.shape), sums)


def test_one_vector_a_cycle():
    """Element-wise: n iterations take n cycles and the latency."""
    random = np.random.default_rng(2)
    program = library.residual_add(CONFIG, rows=40, n=64)
    _, cycles = check(program, CONFIG, {0: words(random, (320, 8)), 1: words(random, (320, 8))})
    assert cycles <= 320 + PCU(CONFIG).latency + 4


def test_known_bad_slot_is_caught():
    """A program whose result comes from a wrong slot differs: the comparison would see a misplaced result."""
    random = np.random.default_rng(9)
    data = {0: words(random, (4, 8)), 1: words(random, (4, 8))}
    good = SimdProgram(loops=(4,), vectors={0: Input(), 1: Input()}, stages=(Stage.add(vector(0), vector(1)),))
    bad = SimdProgram(loops=(4,), vectors={0: Input(), 1: Input()}, stages=(Stage.add(vector(0), vector(1)),), result=vector(1))
    assert (run(good.pack(CONFIG), CONFIG, data).vector != run(bad.pack(CONFIG), CONFIG, data).vector).any()


@pytest.mark.parametrize("change, message", [
    ({"loops": (1,) * 7}, "loops: 7 are used; the counter chain has 6"),
    ({"loops": (70000,)}, "loops[0]=70000"),
    ({"stages": (Stage.add(vector(1), vector(0)),)}, "stages[0].a=vector(1) is not available"),
    ({"stages": (Stage.add(stage(1), vector(0)), Stage.add(vector(0), vector(0)))}, "stages[0].a=stage(1) is not available"),
    ({"stages": (Stage.mul(vector(0), scalar(0)),)}, "stages[0].b=scalar(0) is not an input"),
    ({"stages": (Stage.mul(vector(0), constant(0)),)}, "constant(0): the program has 0 constants"),
    ({"stages": (Stage.mul(vector(0), vector(0)),) * 5}, "stages: 5 are used, the body has 4"),
    ({"vectors": {4: Input()}}, "vectors[4]: the unit has 4"),
    ({"scalars": {0: Input(packed=True)}}, "scalars[0].packed=True"),
    ({"vectors": {0: Input(level=6)}}, "level=6 must be from 0 to 5"),
    ({"produce": 6}, "produce=6"),
    ({"mask": Mask(bound=1 << 16)}, "mask.bound=65536"),
    ({"accumulate": 0}, "accumulate=0: none of the stages"),
    ({"stages": (Stage.accumulate(vector(0)),), "accumulate": 0, "produce": 1}, "MAC latency needs at least 3"),
    ({"stages": (Stage.accumulate(vector(0)),), "accumulate": 1, "produce": 1}, "must be from 0 and below produce=1"),
    ({"to_vector": False, "to_scalar": True, "packed_output": True}, "packed_output=True needs to_vector"),
])
def test_refused(change, message):
    with pytest.raises(ProgramError) as error:
        SimdProgram(**{"loops": (4,), "vectors": {0: Input()}} | change).pack(CONFIG)
    assert message in str(error.value)


def test_slots_run_out():
    """Four inputs that a later stage reads leave no place for a result."""
    with pytest.raises(ProgramError, match=f"all {SLOTS} slots"):
        SimdProgram(loops=(4,), vectors={i: Input() for i in range(4)}, stages=(
            Stage.add(vector(0), vector(1)), Stage.add(vector(2), vector(3)), Stage.add(vector(0), vector(1)),
            Stage.mac(stage(0), vector(2), vector(3)))).pack(CONFIG)
