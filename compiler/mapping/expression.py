"""From the steps of a MAP to PCU programs: clusters of steps that one PCU computes, each with one result.

A cluster is at most ``stages`` ALU steps and then one tail function. Values that several clusters need, and results of tail
functions, travel as streams.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from hw.config import PCUConfig
from hw.fp.function import TailFunction
from hw.pcu.layout import CONSTANTS, Op, Source
from hw.pcu.program import Input, Mask, ProgramError, SimdProgram, Stage, constant, counter, element, scalar, stage, vector

from ..errors import CompileError
from ..graph.ir import Argument, Function, Step

__all__ = ["Cluster", "Operands", "clusters"]

F = Function
_OPS = {F.FMIN: Op.FMIN, F.FMAX: Op.FMAX, F.FEQ: Op.FEQ, F.FLT: Op.FLT, F.FLE: Op.FLE, F.ADD: Op.ADD, F.SUB: Op.SUB, F.MUL: Op.MUL,
        F.MIN: Op.MIN, F.MAX: Op.MAX, F.AND: Op.AND, F.OR: Op.OR, F.XOR: Op.XOR, F.SHL: Op.SHL, F.SHR: Op.SHR, F.SAR: Op.SAR,
        F.EQ: Op.EQ, F.LT: Op.LT, F.LE: Op.LE, F.SELECT: Op.SELECT, F.TO_INT: Op.TO_INT, F.TO_FP: Op.TO_FP,
        F.TO_BF16: Op.TO_BF16}
_ARITHMETIC = {F.FADD: Stage.add, F.FSUB: Stage.sub, F.FMUL: Stage.mul, F.FMAC: Stage.mac}
_FIXED = {0x00000000: Source.ZERO, 0x3F800000: Source.ONE, 0xBF800000: Source.MINUS_ONE, 0x80000000: Source.NEGATIVE_ZERO}


def constant_bits(value: float | int) -> int:
    """The word of a constant: INT32 of an int, FP32 of a float."""
    if isinstance(value, int):
        return value & 0xFFFFFFFF
    import numpy as np
    with np.errstate(over="ignore"):
        return struct.unpack("<I", struct.pack("<f", np.float32(value)))[0]


@dataclass(frozen=True)
class Operands:
    """How the operands of a MAP arrive. ``scalars``: inputs that come as one word per row; ``levels``: for each input, below
    which counters it is held; ``packed``: inputs that come as BF16 pairs. ``index``: axis -> PCU loop of its counter, -1 for the
    elements of a row. ``all_scalar``: rows of one element, every value travels as words."""

    scalars: frozenset[int] = frozenset()
    packed: frozenset[int] = frozenset()
    levels: dict[int, int] = field(default_factory=dict)
    index: dict[int, int] = field(default_factory=dict)
    all_scalar: bool = False


@dataclass
class Cluster:
    """One PCU's part. ``root``: the step whose value it gives; ``vectors``, ``scalars``: its inputs in order of the ports, as
    ("input", i) or ("step", j)."""

    root: int
    steps: list[int]
    function: TailFunction
    vectors: list[Argument] = field(default_factory=list)
    scalars: list[Argument] = field(default_factory=list)
    constants: list[int] = field(default_factory=list)
    stages: tuple[Stage, ...] = ()
    result: object = None
    uses_element: bool = False

    def program(self, operands: Operands, loops: Sequence[int], n: int, *, packed_output: bool = False, **changes) -> SimdProgram:
        """The program for rows of ``n`` elements; ``loops``: innermost (vectors of a row) first."""
        def port(argument: Argument, scalar_input: bool) -> Input:
            given = argument.kind == "input"
            level = operands.levels.get(argument.value, 0) if given else 0
            return Input(level=level, packed=given and argument.value in operands.packed and not scalar_input)
        base = {
            "loops": tuple(loops), "vectors": {i: port(a, False) for i, a in enumerate(self.vectors)},
            "scalars": {i: port(a, True) for i, a in enumerate(self.scalars)}, "constants": tuple(self.constants),
            "stages": self.stages, "result": self.result, "function": self.function, "packed_output": packed_output,
            "mask": Mask(level=0, bound=n) if self.uses_element else None,
            "to_vector": not operands.all_scalar, "to_scalar": operands.all_scalar}
        return SimdProgram(**{**base, **changes})


def clusters(steps: Sequence[Step], operands: Operands, config: PCUConfig, node: str) -> list[Cluster]:
    """The PCUs that compute ``steps``, producers first. Raises :class:`CompileError` for a step that no PCU can do."""
    users: dict[int, set[int]] = defaultdict(set)
    for number, step in enumerate(steps):
        for argument in step.arguments:
            if argument.kind == "step":
                users[argument.value].add(number)
    roots, found = {len(steps) - 1}, []
    while roots:
        root = max(roots)
        roots.remove(root)
        cluster = _grow(root, steps, users, operands, config, node)
        found.append(cluster)
        roots |= {a.value for a in (*cluster.vectors, *cluster.scalars) if a.kind == "step"}
    return found[::-1]


def _grow(root: int, steps, users, operands: Operands, config: PCUConfig, node: str) -> Cluster:
    best = _cluster(root, [root], steps, operands, config)
    if isinstance(best, str):
        raise CompileError(f"node {node!r}: step {root} ({steps[root]}) does not fit a PCU: {best}",
                           way_out="split the expression")
    chosen = [root]
    tried = set(chosen)
    while True:
        candidates = {a.value for number in chosen for a in steps[number].arguments if a.kind == "step"} - tried
        candidates = sorted((c for c in candidates if not steps[c].function.is_tail and users[c] <= set(chosen)), reverse=True)
        if not candidates:
            return best
        tried.add(candidates[0])
        grown = _cluster(root, sorted([*chosen, candidates[0]]), steps, operands, config)
        if not isinstance(grown, str):
            best, chosen = grown, [*chosen, candidates[0]]


def _cluster(root: int, chosen: list[int], steps, operands: Operands, config: PCUConfig) -> Cluster | str:
    """The cluster of these steps, or why one PCU cannot hold it."""
    function = TailFunction.BYPASS
    body = [number for number in chosen if number != root or not steps[root].function.is_tail]
    if steps[root].function.is_tail:
        name = steps[root].function.name
        if name not in TailFunction.__members__:
            return f"the tail has no function {name.lower()}"
        function = TailFunction[name]
    cluster = Cluster(root, chosen, function)
    place = {number: index for index, number in enumerate(body)}

    def operand(argument: Argument):
        if argument.kind == "step" and argument.value in place:
            return stage(place[argument.value])
        if argument.kind == "constant":
            bits = constant_bits(argument.value)
            if bits in _FIXED:
                return _FIXED[bits]
            if bits not in cluster.constants:
                cluster.constants.append(bits)
            return constant(cluster.constants.index(bits))
        if argument.kind == "index":
            level = operands.index[argument.value]
            if level < 0:
                cluster.uses_element = True
                return element()
            return counter(level)
        is_scalar = operands.all_scalar or (argument.kind == "input" and argument.value in operands.scalars)
        ports = cluster.scalars if is_scalar else cluster.vectors
        if argument not in ports:
            ports.append(argument)
        return (scalar if is_scalar else vector)(ports.index(argument))

    made = []
    for number in body:
        step = steps[number]
        arguments = [operand(argument) for argument in step.arguments]
        make = _ARITHMETIC.get(step.function)
        made.append(make(*arguments) if make else Stage(_OPS[step.function], *arguments))
    if steps[root].function.is_tail:
        cluster.result = operand(steps[root].arguments[0])
    else:
        cluster.result = stage(place[root])
    if isinstance(cluster.result, Source) or cluster.result.kind not in ("vector", "stage"):
        made.append(Stage(Op.OR, cluster.result, Source.ZERO))        # a scalar, a constant or a counter becomes a vector
        cluster.result = stage(len(made) - 1)
    cluster.stages = tuple(made)
    if len(made) > config.stages:
        return f"{len(made)} ALU steps, the body has {config.stages} stages"
    if len(cluster.vectors) > config.vector_inputs or len(cluster.scalars) > config.scalar_inputs:
        return (f"{len(cluster.vectors)} vector and {len(cluster.scalars)} scalar inputs, a PCU has {config.vector_inputs} and "
                f"{config.scalar_inputs}")
    if len(cluster.constants) > CONSTANTS:
        return f"{len(cluster.constants)} constants, a program has {CONSTANTS}"
    try:
        program = cluster.program(operands, (1,), 1)
        program.check(config)
        program._place(config)
    except ProgramError as error:
        return str(error)
    return cluster
