"""Ways to make a legal program illegal, field by field, as hypothesis strategies.

A mutation is ``(field, change)``: ``change(draw, program, config)`` gives the fields to replace, so that the program breaks exactly a rule
of ``field``, or None where that program has no such rule to break.
"""

import dataclasses

from hypothesis import strategies as st

from hw.config import PCUConfig
from hw.pcu.layout import CONSTANTS, Op, Reduce, Source, levels
from hw.pcu.program import Input, Mask, Operand, SimdProgram, Stage, SystolicProgram, constant, counter, scalar, stage, vector

__all__ = ["MUTATIONS", "unrestricted"]

FURTHEST = 1 << 16        # the first loop bound that does not fit


def _outside(low: int, high: int):
    """A number beyond ``low``..``high``, more often near to it."""
    return st.one_of(st.integers(low - 3, low - 1), st.integers(high + 1, high + 3), st.integers(high + 1, 4 * high + 99))


# Systolic ---------------------------------------------------------------------------------------------------------------------
def _height(program: SystolicProgram, config: PCUConfig) -> int:
    return config.stages // program.stages_per_row


def _k(draw, program: SystolicProgram, config: PCUConfig):
    vectors = config.broadcast_depth // (2 * config.lanes) // -(-program.rows // _height(program, config))
    return {"k": draw(_outside(1, vectors * config.lanes * (2 if program.packed_rows else 1)))}


def _rows(draw, program: SystolicProgram, config: PCUConfig):
    rows = draw(_outside(1, program.groups * _height(program, config)))
    return {"rows": rows, "last_rows": min(rows, program.last_rows)}


def _sums(name: str, other: str):
    """Sums beyond the accumulators, or none."""
    def change(draw, program: SystolicProgram, config: PCUConfig):
        limit = config.accumulators * program.stages_per_row // getattr(program, other)
        value = draw(_outside(1, limit))
        return {name: value * program.stages_per_row if name == "feature_blocks" else value}
    return change


def _too_few_sums(draw, program: SystolicProgram, config: PCUConfig):
    return {"groups": 1, "feature_blocks": draw(st.sampled_from([1, 2])) * program.stages_per_row, "rows": 1, "last_rows": 1, "k": 2}


def _stages_per_row(draw, program: SystolicProgram, config: PCUConfig):
    illegal = [-1, 0, 3, 4]
    if config.stages == 1 or program.int8_weights or not program.packed_weights or program.feature_blocks % 2:
        illegal.append(2)
    return {"stages_per_row": draw(st.sampled_from(illegal))}


def _half_a_pair(draw, program: SystolicProgram, config: PCUConfig):
    return {"feature_blocks": program.feature_blocks + 1} if program.stages_per_row == 2 else None


def _whole_weights(draw, program: SystolicProgram, config: PCUConfig):
    return draw(st.sampled_from([{"packed_weights": False}, {"int8_weights": True}])) if program.stages_per_row == 2 else None


SYSTOLIC = [
    ("k", _k), ("rows", _rows), ("groups", _sums("groups", "feature_blocks")), ("feature_blocks", _sums("feature_blocks", "groups")),
    ("groups", _too_few_sums), ("k", _too_few_sums), ("stages_per_row", _stages_per_row), ("feature_blocks", _half_a_pair),
    ("stages_per_row", _whole_weights),
    ("last_rows", lambda draw, program, config: {"last_rows": draw(_outside(1, program.rows))}),
    ("chunks", lambda draw, program, config: {"chunks": draw(_outside(1, FURTHEST - 1)), "reuse": False} if _many_sums(program) else None),
    ("reuse", lambda draw, program, config: {"chunks": draw(st.integers(2, 9)), "reuse": True} if _many_sums(program) else None),
    ("column_tiles", lambda draw, program, config: {"column_tiles": draw(_outside(1, FURTHEST - 1))}),
    ("row_tiles", lambda draw, program, config: {"row_tiles": draw(_outside(1, FURTHEST - 1))}),
]


def _many_sums(program: SystolicProgram) -> bool:
    return program.groups * program.feature_blocks // program.stages_per_row >= 3


# SIMD -------------------------------------------------------------------------------------------------------------------------
def _loops(draw, program: SimdProgram, config: PCUConfig):
    if draw(st.booleans()):
        return {"loops": (*program.loops, *[1] * (levels(config) + 1 - len(program.loops)))}
    level = draw(st.integers(program.accumulate or 0, len(program.loops) - 1))
    bound = draw(_outside(1, FURTHEST - 1))
    return {"loops": (*program.loops[:level], bound, *program.loops[level + 1:])}


def _ports(name: str, illegal: list[Input]):
    """An input that does not exist, or one with a level or a storage type (``illegal``) that is not to be had."""
    def change(draw, program: SimdProgram, config: PCUConfig):
        ports, count = getattr(program, name), {"vectors": config.vector_inputs, "scalars": config.scalar_inputs}[name]
        kind = draw(st.sampled_from(["unknown", "level", "storage"]))
        if kind == "unknown":
            return {name: ports | {draw(_outside(0, count - 1)): Input()}}
        port = draw(st.sampled_from(sorted(ports))) if ports else 0
        port_input = Input(level=draw(_outside(0, levels(config) - 1))) if kind == "level" else draw(st.sampled_from(illegal))
        return {name: ports | {port: port_input}}
    return change


def _stage(draw, program: SimdProgram, config: PCUConfig):
    """A stage too many, one without a result, or one with an operand that is not there."""
    number = draw(st.integers(0, max(len(program.stages) - 1, 0)))
    missing = [stage(number), stage(config.stages), constant(len(program.constants)), constant(-1), counter(levels(config)), counter(-1),
               scalar(config.scalar_inputs), vector(config.vector_inputs), Source.WEIGHT, Source.BROADCAST, Source.WEIGHT_HIGH,
               *(vector(port) for port in range(config.vector_inputs) if port not in program.vectors),
               *(scalar(port) for port in range(config.scalar_inputs) if port not in program.scalars)]
    kind = draw(st.sampled_from(["many", "empty", "operand", "accumulator"]))
    if kind == "many":
        return {"stages": (*program.stages, *[Stage(Op.ADD, Source.ONE)] * (config.stages + 1 - len(program.stages)))}
    if kind == "empty":
        broken = Stage(Op.NOP)
    elif kind == "operand":
        broken = Stage(draw(st.sampled_from([Op.MAC, Op.SUB, Op.SELECT])), **{draw(st.sampled_from("abc")): draw(st.sampled_from(missing))})
    else:
        if program.accumulate is None:
            return None
        broken = draw(st.sampled_from([Stage(Op.MAC, a=Source.ACCUMULATOR), Stage(Op.ADD, c=Source.ACCUMULATOR)]))
    return {"stages": (*program.stages[:number], broken, *program.stages[number + 1:])}


def _result(draw, program: SimdProgram, config: PCUConfig):
    absent: list[Operand | Source] = [stage(len(program.stages)), vector(config.vector_inputs), Source.SLOT0, Source.ONE, counter(0)]
    return {"result": draw(st.sampled_from(absent))}


def _accumulate(draw, program: SimdProgram, config: PCUConfig):
    if program.accumulate is None:
        return {"accumulate": draw(st.integers(0, 2))}
    few = (draw(st.integers(1, 2)), *program.loops[1:])
    many = (config.accumulators + draw(st.integers(1, 9)), *program.loops[1:])
    return draw(st.sampled_from([{"accumulate": None}, {"accumulate": -1}, {"accumulate": program.produce}, {"loops": few}, {"loops": many},
                                 {"produce": len(program.loops) + 1}]))


def _mask(draw, program: SimdProgram, config: PCUConfig):
    mask = program.mask or Mask(bound=1)
    return {"mask": draw(st.one_of(st.builds(Mask, level=_outside(0, levels(config) - 1), bound=st.just(mask.bound)),
                                   st.builds(Mask, level=st.just(mask.level), bound=_outside(0, FURTHEST - 1))))}


def _constants(draw, program: SimdProgram, config: PCUConfig):
    if draw(st.booleans()):
        return {"constants": (*program.constants, *[0] * (CONSTANTS + 1 - len(program.constants)))}
    return {"constants": (*program.constants[1:], draw(st.sampled_from([1 << 32, -(1 << 31) - 1])))}


SIMD = [
    ("loops", _loops), ("vectors", _ports("vectors", [Input(packed=True, int8=True)])),
    ("scalars", _ports("scalars", [Input(packed=True), Input(int8=True)])), ("stages", _stage), ("result", _result),
    ("constants", _constants), ("accumulate", _accumulate), ("mask", _mask),
    ("produce", lambda draw, program, config: {"produce": draw(_outside(0, levels(config) - 1))}),
    ("reduce", lambda draw, program, config: None if program.accumulate is None else
        {"reduce": draw(st.sampled_from([kind for kind in Reduce if kind != Reduce.NONE]))}),
]

# Both ---------------------------------------------------------------------------------------------------------------------------
OUTPUTS = [
    ("to_vector", lambda draw, program, config: {"to_vector": False, "to_scalar": False}),
    ("to_scalar", lambda draw, program, config: {"to_vector": False, "to_scalar": False}),
    ("packed_output", lambda draw, program, config: {"to_vector": False, "to_scalar": True, "packed_output": True}),
    ("rounding_seed", lambda draw, program, config: {"packed_output": False, "rounding_seed": draw(st.integers(0, 9))}),
    ("rounding_seed", lambda draw, program, config: {"to_vector": True, "packed_output": True,
                                                     "rounding_seed": draw(_outside(0, (1 << 32) - 1))}),
]
MUTATIONS = {SystolicProgram: SYSTOLIC + OUTPUTS, SimdProgram: SIMD + OUTPUTS}


def unrestricted(kind: type) -> set[str]:
    """The fields of a program of which no mutation breaks a rule."""
    return {field.name for field in dataclasses.fields(kind)} - {field for field, _ in MUTATIONS[kind]}
