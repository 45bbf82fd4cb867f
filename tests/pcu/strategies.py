"""Hypothesis strategies: legal programs of a PCU with their input streams."""

import dataclasses

import numpy as np
from hypothesis import strategies as st

from hw.config import PCUConfig
from hw.fp.function import TailFunction
from hw.pcu.layout import Initial, Op, Reduce, Source
from hw.pcu.model import pack_bytes, pack_rows
from hw.pcu.program import (
    Input,
    Mask,
    ProgramError,
    SimdProgram,
    Stage,
    SystolicProgram,
    constant,
    counter,
    element,
    integer,
    lane,
    scalar,
    stage,
    vector,
)

__all__ = ["random_words", "simd_programs", "systolic_programs"]

SPECIAL = np.array([0, 1 << 31, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00001, 1, 0x80000001, 0x3F800000, 0x7F7FFFFF], np.uint32)
SEEDS = st.integers(0, 2 ** 32 - 1)
FUNCTIONS = st.one_of(st.just(TailFunction.BYPASS), st.sampled_from(TailFunction))


def random_words(random: np.random.Generator, shape) -> np.ndarray:
    """FP32 patterns of middle size, with some specials and small integers."""
    bits = random.normal(size=shape).astype(np.float32).view(np.uint32)
    kind = random.random(size=shape)
    bits = np.where(kind < 0.1, random.choice(SPECIAL, size=shape), bits)
    return np.where(kind > 0.8, random.integers(-40, 40, size=shape).astype(np.int32).view(np.uint32), bits).astype(np.uint32)


def _legal(program: SimdProgram, config: PCUConfig) -> SimdProgram:
    """Without its last stages where their operands found no slot any more."""
    while True:
        try:
            program.pack(config)
            return program
        except ProgramError as error:
            if not program.stages or not any(text in str(error) for text in ("slots hold values", "not available")):
                raise
            stages = program.stages[:-1]
            program = dataclasses.replace(program, stages=stages, result=None if stages else vector(min(program.vectors)))


@st.composite
def _outputs(draw) -> dict:
    to_scalar = draw(st.booleans())
    to_vector = not to_scalar or draw(st.booleans())
    packed = to_vector and not to_scalar and draw(st.booleans())
    return {"to_scalar": to_scalar, "to_vector": to_vector, "packed_output": packed, "function": draw(FUNCTIONS),
            "rounding_seed": draw(st.one_of(st.none(), SEEDS)) if packed else None}


@st.composite
def _stages(draw, config: PCUConfig, inputs: list, depth: int) -> tuple[Stage, ...]:
    stages = []
    for number in range(draw(st.integers(0, config.stages))):
        pool = st.sampled_from([*inputs, constant(0), constant(1), lane(), element(), Source.ONE,
                                *(counter(level) for level in range(depth)), *map(stage, range(number))])
        op = draw(st.sampled_from([op for op in Op if op != Op.NOP]))
        operands = draw(pool), draw(pool), draw(pool)
        stages.append(Stage.mac(*operands) if op == Op.MAC else integer(op, *operands))
    return tuple(stages)


@st.composite
def simd_programs(draw, config: PCUConfig):
    """(program, vectors, scalars)."""
    loops = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    depth = len(loops)
    ports = draw(st.lists(st.integers(0, config.vector_inputs - 1), min_size=1, max_size=3, unique=True))
    storage = st.sampled_from([{}, {"packed": True}, {"int8": True}])
    vectors = {port: Input(level=draw(st.integers(0, depth - 1)), **draw(storage)) for port in ports}
    scalars = {port: Input(level=draw(st.integers(0, depth))) for port in range(config.scalar_inputs) if draw(st.booleans())}
    random = np.random.default_rng(draw(SEEDS))
    inputs = [*map(vector, vectors), *map(scalar, scalars)]
    mask = draw(st.one_of(st.none(), st.builds(Mask, level=st.integers(0, depth - 1), bound=st.integers(0, 3 * config.lanes))))
    stages = draw(_stages(config, inputs, depth))
    fields = {"stages": stages, "result": None if stages else vector(min(vectors)), "produce": draw(st.integers(0, depth)),
              "reduce": draw(st.sampled_from(Reduce))} | draw(_outputs())
    if depth >= 2 and 3 <= loops[0] <= config.accumulators and draw(st.booleans()):
        accumulator = Stage.accumulate(draw(st.sampled_from(inputs)), draw(st.sampled_from([*inputs, Source.ONE])))
        fields |= {"stages": (*stages[:config.stages - 1], accumulator), "result": None, "reduce": Reduce.NONE, "accumulate": 1,
                   "produce": draw(st.integers(2, depth))}
    program = _accumulating(SimdProgram(loops=loops, vectors=vectors, scalars=scalars, mask=mask,
                                        constants=tuple(int(word) for word in random_words(random, 2)), **fields), config)
    count = int(np.prod(loops))
    return (program, {port: random_words(random, (count, config.lanes)) for port in program.vectors},
            {port: random_words(random, count) for port in program.scalars})


def _accumulating(program: SimdProgram, config: PCUConfig) -> SimdProgram:
    """``program``, legal; its accumulating stage stays the last one."""
    if program.accumulate is None:
        return _legal(program, config)
    try:
        program.pack(config)
    except ProgramError:
        program = dataclasses.replace(program, stages=program.stages[-1:])
    return program


@st.composite
def systolic_programs(draw, config: PCUConfig):
    """(program, vectors, {})."""
    blocks = draw(st.integers(1, config.accumulators))          # of a stage
    groups = draw(st.integers(1, max(1, config.accumulators // blocks)))
    chunks = draw(st.integers(1, 3))
    pairs = [{"stages_per_row": 2}] if config.stages > 1 else []
    weights = draw(st.sampled_from([{"packed_weights": False}, {}, {"int8_weights": True}, *pairs]))
    packed_rows = draw(st.booleans())
    shared = weights.get("stages_per_row", 1)
    height, vectors = config.stages // shared, config.broadcast_depth // (2 * config.lanes)
    rows = draw(st.integers(1, min(groups, vectors) * height))
    room = vectors // -(-rows // height) * config.lanes * (2 if packed_rows else 1)
    k = draw(st.integers(1, min(20, room))) if groups * blocks >= 3 else 1
    program = SystolicProgram(
        k=k, rows=rows, last_rows=draw(st.integers(1, rows)), feature_blocks=blocks * shared, groups=groups,
        chunks=chunks if groups * blocks >= 3 else 1, column_tiles=draw(st.integers(1, 3)), row_tiles=draw(st.integers(1, 3)),
        initial=draw(st.sampled_from(Initial)), packed_rows=packed_rows, **weights, **draw(_outputs()))
    if program.chunks == 1:
        program = dataclasses.replace(program, reuse=draw(st.booleans()))
    return program, systolic_streams(program, config, np.random.default_rng(draw(SEEDS))), {}


def systolic_streams(p: SystolicProgram, config: PCUConfig, random: np.random.Generator) -> dict[int, np.ndarray]:
    """Random input streams of a program."""
    lanes, width = config.lanes, p.feature_blocks * config.lanes
    streams: dict[int, list] = {0: [], 1: [], 2: [], 3: []}
    for row_tile in range(p.row_tiles):
        rows = p.rows if p.last_rows is None or row_tile < p.row_tiles - 1 else p.last_rows
        for column in range(p.column_tiles):
            if column == 0 or not p.reuse:
                streams[1] += [pack_rows(random.normal(size=(rows, p.k)), lanes, p.packed_rows) for _ in range(p.chunks)]
            w = random.normal(size=(p.k * p.chunks, width))
            if p.int8_weights:
                streams[0].append(pack_bytes(np.clip(w * 50, -128, 127), lanes))
                streams[3].append(pack_rows(random.uniform(0.01, 0.02, width), lanes, packed=False))
            else:
                streams[0].append(pack_rows(w, lanes, p.packed_weights))
            if p.initial != Initial.ZERO:
                values = random.normal(size=(1 if p.initial == Initial.BIAS else rows, width))
                streams[2].append(pack_rows(values, lanes, packed=False))
    return {port: np.concatenate(parts) for port, parts in streams.items() if parts}
