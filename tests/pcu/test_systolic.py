"""The systolic mode: both interleavings, ragged rows, all initial values, chunks of k, and its utilisation."""

import math

import numpy as np
import pytest

from hw.config import PCUConfig
from hw.fp.model import as_float
from hw.pcu.layout import Initial
from hw.pcu.model import pack_rows
from hw.pcu.program import ProgramError, SystolicProgram

from .harness import bench, check
from .test_workload import bf16, matmul

CONFIG = PCUConfig()
ODD = PCUConfig(lanes=4, stages=3, accumulators=8, broadcast_depth=48)


def streams(config, program, random):
    """Random operands as (x, w, initial) tiles and as input streams."""
    lanes, p = config.lanes, program
    n = p.feature_blocks * lanes
    vectors, tiles = {0: [], 1: [], 2: []}, []
    for row_tile in range(p.row_tiles):
        rows = p.rows if p.last_rows is None or row_tile < p.row_tiles - 1 else p.last_rows
        for column in range(p.column_tiles):
            if column == 0 or not p.reuse:
                x = bf16(random.normal(size=(rows, p.k * p.chunks)))
                vectors[1] += [pack_rows(x[:, c * p.k:(c + 1) * p.k], lanes, p.packed_rows) for c in range(p.chunks)]
            w = bf16(random.normal(size=(p.k * p.chunks, n)))
            vectors[0].append(pack_rows(w, lanes, p.packed_weights))
            initial = np.zeros((rows, n), dtype=np.float32)
            if p.initial == Initial.BIAS:
                initial[:] = random.normal(size=n)
                vectors[2].append(pack_rows(initial[:1], lanes, packed=False))
            elif p.initial == Initial.PARTIAL:
                initial[:] = random.normal(size=(rows, n))
                vectors[2].append(pack_rows(initial, lanes, packed=False))
            tiles.append((x, w, initial))
    return tiles, {port: np.concatenate(parts) for port, parts in vectors.items() if parts}


CASES = {
    "decode": {"k": 20, "rows": 2, "feature_blocks": 4, "column_tiles": 3, "reuse": True},
    "prefill": {"k": 7, "rows": 10, "last_rows": 5, "feature_blocks": 2, "groups": 4, "row_tiles": 2, "column_tiles": 2},
    "chunks": {"k": 8, "rows": 6, "feature_blocks": 3, "groups": 2, "chunks": 3, "row_tiles": 2, "column_tiles": 2,
               "last_rows": 1},
    "FP32": {"k": 12, "rows": 3, "feature_blocks": 5, "packed_weights": False, "packed_rows": False, "row_tiles": 3},
    "one step": {"k": 1, "rows": 1, "feature_blocks": 1, "column_tiles": 9},
    "pairs": {"k": 20, "rows": 1, "feature_blocks": 8, "column_tiles": 3, "reuse": True, "stages_per_row": 2},
    "pairs, groups": {"k": 9, "rows": 3, "last_rows": 2, "feature_blocks": 4, "groups": 3, "chunks": 2, "column_tiles": 2,
                      "row_tiles": 2, "stages_per_row": 2},
}


@pytest.mark.parametrize("stall", [0.0, 0.3])
@pytest.mark.parametrize("initial", Initial)
@pytest.mark.parametrize("case", CASES)
def test_tiles(case, initial, stall):
    random = np.random.default_rng(len(case) + initial.value)
    program = SystolicProgram(**CASES[case], initial=initial, packed_output=case == "prefill")
    tiles, vectors = streams(ODD, program, random)
    out, _ = check(program, ODD, vectors, stall=stall, seed=initial.value)
    if not program.packed_output:
        expected = np.concatenate([matmul(*tile).ravel() for tile in tiles])
        np.testing.assert_array_equal(as_float(out.vector).ravel(), expected)


def utilisation(program, random):
    """(MACs a cycle of lanes x stages while steps are issued, and over the whole run)."""
    tiles, vectors = streams(CONFIG, program, random)
    _, cycles = check(program, CONFIG, vectors)
    steps = program.row_tiles * program.column_tiles * program.chunks * program.k * program.groups * program.feature_blocks
    macs = sum(x.shape[0] * w.size for x, w, _ in tiles)
    return macs / (steps * CONFIG.macs_per_cycle), macs / (cycles * CONFIG.macs_per_cycle)


def test_prefill_utilisation():
    """Every step does lanes x stages MACs, and there is a step in nearly every cycle."""
    program = SystolicProgram(k=64, rows=16, groups=4, feature_blocks=2, chunks=2, column_tiles=4, row_tiles=2,
                              initial=Initial.BIAS)
    full, total = utilisation(program, np.random.default_rng(3))
    assert full == 1 and total >= 0.98


def test_decode_takes_a_weight_vector_a_cycle():
    """One row: two stages work on it, every step takes a whole packed vector, and nearly every cycle has a step."""
    program = SystolicProgram(k=200, rows=1, feature_blocks=8, stages_per_row=2)
    tiles, vectors = streams(CONFIG, program, np.random.default_rng(4))
    out, cycles = check(program, CONFIG, vectors)
    assert len(vectors[0]) == math.prod(program.loops()) and len(vectors[0]) / cycles >= 0.91
    np.testing.assert_array_equal(as_float(out.vector).ravel(), matmul(*tiles[0]).ravel())


def test_known_bad_order_is_caught():
    """The comparison sees a sum taken in another order of k."""
    random = np.random.default_rng(5)
    program = SystolicProgram(k=20, rows=2, feature_blocks=4)
    ((x, w, initial),), vectors = streams(ODD, program, random)
    out, _ = check(program, ODD, vectors)
    assert (as_float(out.vector).ravel() != matmul(x[:, ::-1], w[::-1], initial).ravel()).any()


@pytest.mark.parametrize("change, message", [
    ({"feature_blocks": 2}, "MAC latency needs at least 3"),
    ({"groups": 3}, "exceeds accumulators=8"),
    ({"rows": 4}, "rows=4 must be from 1 to groups x stages = 3"),
    ({"rows": 2, "last_rows": 3}, "last_rows=3"),
    ({"k": 49}, "broadcast_depth=48"),
    ({"reuse": True, "chunks": 2}, "reuse=True with chunks=2"),
    ({"column_tiles": 0}, "column_tiles=0"),
    ({"to_vector": False}, "to_vector and to_scalar"),
    ({"stages_per_row": 3}, "stages_per_row=3 must be 1 or 2"),
    ({"stages_per_row": 2}, "groups=1 x feature_blocks=4 / stages_per_row=2 = 2 with k=8, chunks=1: a sum would be used again"),
    ({"stages_per_row": 2, "feature_blocks": 8}, "rows=2 must be from 1 to groups x stages / stages_per_row=2 = 1"),
    ({"stages_per_row": 2, "feature_blocks": 5}, "stages_per_row=2 with feature_blocks=5"),
    ({"stages_per_row": 2, "packed_weights": False}, "stages_per_row=2 with packed_weights=False"),
    ({"stages_per_row": 2, "int8_weights": True}, "stages_per_row=2 with int8_weights=True"),
])
def test_refused(change, message):
    values = {"k": 8, "rows": 2, "feature_blocks": 4} | change
    with pytest.raises(ProgramError) as error:
        SystolicProgram(**values).pack(ODD)
    assert message in str(error.value)


def test_one_stage_shares_no_row():
    with pytest.raises(ProgramError, match="stages_per_row=2 exceeds stages=1"):
        SystolicProgram(k=4, rows=1, feature_blocks=8, stages_per_row=2).pack(PCUConfig(stages=1))


def test_mac_cycles_are_counted():
    """The event is on once for each step, and only then."""
    program = SystolicProgram(k=20, rows=2, feature_blocks=4)
    _, vectors = streams(ODD, program, np.random.default_rng(6))
    unit = bench(ODD)
    unit.reset()
    unit.set("program", program.pack(ODD))
    for port, words in vectors.items():
        unit.feed(f"vector_in[{port}]", [{"data": list(map(int, row)), "sequence": 0} for row in words], stall=0.5, seed=port)
    unit.collect("vector_out[0]")
    unit.pulse("execute")
    counted = 0
    for _ in range(400):
        counted += unit.fields("events").mac_cycles
        unit.tick(1)
    assert unit.get("busy") == 0 and counted == 20 * 4
