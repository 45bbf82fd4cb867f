"""Typed programs of the SIMD mode: operands, stages, inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hw.config import PCUConfig
from hw.fp.function import TailFunction

from .layout import CONSTANTS, SLOTS, Mode, Op, Reduce, Source, levels, pcu_layout
from .program_fields import bounds, output_fields, require
from .stage import BodyStage

FIXED = Source.ZERO, Source.ONE, Source.MINUS_ONE, Source.NEGATIVE_ZERO       # sources that a program may name itself

__all__ = [
    "Input", "Mask", "Operand", "SimdProgram", "Stage", "constant", "counter", "element", "integer", "lane", "scalar", "stage", "vector",
]


@dataclass(frozen=True)
class Operand:
    """What an ALU stage reads; made by :func:`vector`, :func:`scalar`, :func:`constant` and so on."""

    kind: str
    value: int = 0


def vector(index: int) -> Operand:
    """Vector input ``index``, unpacked to FP32 if it is packed BF16."""
    return Operand("vector", index)


def scalar(index: int) -> Operand:
    """Scalar input ``index`` in all lanes."""
    return Operand("scalar", index)


def constant(index: int) -> Operand:
    """Word ``index`` of the program's ``constants``, an argument."""
    return Operand("constant", index)


def counter(level: int) -> Operand:
    """The counter of loop ``level`` (INT32)."""
    return Operand("counter", level)


def lane() -> Operand:
    """The lane's number (INT32)."""
    return Operand("lane")


def element() -> Operand:
    """Counter of the mask's level x lanes + lane number (INT32)."""
    return Operand("element")


def stage(index: int) -> Operand:
    """The result of stage ``index``."""
    return Operand("stage", index)


@dataclass(frozen=True)
class Stage:
    """One ALU stage. Use the class methods for FP32 arithmetic, ``Stage(Op.X, a, b, c)`` for the rest."""

    op: Op
    a: Operand | Source = Source.ZERO
    b: Operand | Source = Source.ZERO
    c: Operand | Source = Source.ZERO

    @classmethod
    def mac(cls, x, y, z) -> Stage:
        """fp32(fp32(x * y) + z)"""
        return cls(Op.MAC, x, y, z)

    @classmethod
    def mul(cls, x, y) -> Stage:
        """fp32(x * y)"""
        return cls(Op.MAC, x, y, Source.NEGATIVE_ZERO)

    @classmethod
    def add(cls, x, y) -> Stage:
        """fp32(x + y)"""
        return cls(Op.MAC, x, Source.ONE, y)

    @classmethod
    def sub(cls, x, y) -> Stage:
        """fp32(x - y)"""
        return cls(Op.MAC, y, Source.MINUS_ONE, x)

    @classmethod
    def accumulate(cls, x, y=Source.ONE) -> Stage:
        """sum = fp32(sum + fp32(x * y)) over the loops from the program's ``accumulate`` to ``produce``; from zero."""
        return cls(Op.MAC, x, y, Source.ACCUMULATOR)


def integer(op: Op, a, b=Source.ZERO, c=Source.ZERO) -> Stage:
    """A one-cycle operation: any :class:`~hw.pcu.layout.Op` but NOP and MAC."""
    require(op not in (Op.NOP, Op.MAC), f"op={op.name} is not an integer operation")
    return Stage(op, a, b, c)


@dataclass(frozen=True, kw_only=True)
class Input:
    """How an input is consumed: popped when all counters below ``level`` are on their last iteration (0: every iteration).

    ``packed`` (vectors only): BF16 pairs; one vector serves two iterations of loop ``level``. ``int8`` (vectors only): four INT8 a
    word, read as their FP32 values; one vector serves four iterations of loop ``level``.
    """

    level: int = 0
    packed: bool = False
    int8: bool = False


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Lanes with counter[``level``] x lanes + lane number < ``bound`` count; the others are zero in a vector output and hold the
    identity in a reduction. ``bound`` is an argument."""

    level: int = 0
    bound: int


def _input_fields(port: Input | None, available: int, name: str) -> dict:
    if port is None:
        return {}
    require(0 <= port.level < available, f"{name}.level={port.level} must be from 0 to {available - 1}")
    require(not (port.packed and port.int8), f"{name}.packed=True with int8=True: one storage type only")
    return {"used": 1, "packed": int(port.packed), "int8": int(port.int8), "level": port.level}


@dataclass(frozen=True, kw_only=True)
class SimdProgram:
    """Vector code: for each iteration of ``loops`` (innermost first) the ``stages`` run on the inputs.

    ``result``: what goes on (default: the last stage; or ``vector(0)`` without stages), reduced over the lanes and over all
    iterations below ``produce`` if ``reduce`` is not NONE. An output is made by the iterations in which all counters below
    ``produce`` are on their last iteration; it passes the tail ``function``. ``packed_output`` joins two outputs of loop
    ``produce``. ``rounding_seed``: packed results are rounded stochastically, from this seed (an argument, ``seed``), not to nearest.

    ``accumulate``: level of the innermost loop over which ``Stage.accumulate`` sums, lane by lane, in order; the loops below it
    choose the sum. An output is then made by every iteration in which the counters from ``accumulate`` to ``produce`` are on
    their last iteration, and ``packed_output`` joins two outputs of loop 0.
    """

    loops: tuple[int, ...]
    vectors: dict[int, Input] = field(default_factory=dict)
    scalars: dict[int, Input] = field(default_factory=dict)
    constants: tuple[int, ...] = ()
    stages: tuple[Stage, ...] = ()
    result: Operand | None = None
    reduce: Reduce = Reduce.NONE
    produce: int = 0
    accumulate: int | None = None
    mask: Mask | None = None
    function: TailFunction = TailFunction.BYPASS
    packed_output: bool = False
    rounding_seed: int | None = None
    to_vector: bool = True
    to_scalar: bool = False

    def _last_uses(self) -> dict[Operand, int]:
        """The last stage that reads each vector or result; ``len(stages)`` for the program's result."""
        uses = {}
        for number, step in enumerate(self.stages):
            for operand in (step.a, step.b, step.c):
                uses[operand] = number
        uses[self._result()] = len(self.stages)
        return uses

    def _result(self) -> Operand:
        if self.result is not None:
            return self.result
        return stage(len(self.stages) - 1) if self.stages else vector(0)

    def _place(self, config: PCUConfig) -> tuple[list[dict], int]:
        """Gives every stage result a slot; returns the stages' words and the slot of the result."""
        slots = {vector(i): i for i in self.vectors}
        uses, words = self._last_uses(), []
        for number, step in enumerate(self.stages):
            word = {"op": step.op}
            for name in "abc":
                word[name] = self._source(getattr(step, name), slots, f"stages[{number}].{name}", config)
            live = {slot for value, slot in slots.items() if uses.get(value, -1) > number}
            free = [slot for slot in range(SLOTS) if slot not in live]
            require(bool(free), f"stages[{number}]: all {SLOTS} slots hold values that later stages read")
            slots = {value: slot for value, slot in slots.items() if slot != free[0]} | {stage(number): free[0]}
            words.append(word | {"slot": free[0]})
        source = self._source(self._result(), slots, "result", config)
        require(source.value < SLOTS, f"result={self._result()} must be a vector input or the result of a stage")
        return words, source.value

    def _source(self, operand: Operand | Source, slots: dict, name: str, config: PCUConfig) -> Source:
        if isinstance(operand, Source):
            require(operand in FIXED or (name.startswith("stages") and operand == Source.ACCUMULATOR),
                    f"{name}={operand.name} is not an operand of a SIMD program")
            return operand
        kind, value = operand.kind, operand.value
        if kind in ("vector", "stage"):
            require(operand in slots, f"{name}={kind}({value}) is not available here: it is not an input of this program, is "
                                      f"computed later, or has been overwritten")
            return Source(slots[operand])
        if kind == "scalar":
            require(value in self.scalars, f"{name}=scalar({value}) is not an input of this program: {sorted(self.scalars)}")
            return Source(Source.SCALAR0.value + value)
        if kind == "constant":
            known = len(self.constants)
            require(0 <= value < known, f"{name}=constant({value}): the program has {known} constants")
            return Source(Source.CONSTANT0.value + value)
        if kind == "counter":
            require(0 <= value < levels(config), f"{name}=counter({value}): the counter chain has {levels(config)} levels")
            return Source(Source.COUNTER0.value + value)
        return {"lane": Source.LANE, "element": Source.ELEMENT}[kind]

    def check(self, config: PCUConfig) -> None:
        """Raises :class:`ProgramError` for what the hardware cannot do."""
        require(len(self.stages) <= config.stages, f"stages: {len(self.stages)} are used, the body has {config.stages}")
        for number, step in enumerate(self.stages):
            require(step.op != Op.NOP, f"stages[{number}].op=NOP has no result")
            misplaced = Source.ACCUMULATOR in (step.a, step.b) or (step.c == Source.ACCUMULATOR and step.op != Op.MAC)
            require(not misplaced, f"stages[{number}]: ACCUMULATOR can only be operand c of a MAC; use Stage.accumulate")
        require(len(self.constants) <= CONSTANTS, f"constants: {len(self.constants)} are used, a program has {CONSTANTS}")
        for number, word in enumerate(self.constants):
            require(-1 << 31 <= word < 1 << 32, f"constants[{number}]={word} does not fit in 32 bits")
        for name, used, limit in (("vectors", self.vectors, config.vector_inputs),
                                  ("scalars", self.scalars, config.scalar_inputs)):
            for index in used:
                require(0 <= index < limit, f"{name}[{index}]: the unit has {limit} such inputs")
        for index, port in self.scalars.items():
            require(not port.packed, f"scalars[{index}].packed=True: only vectors can be packed")
            require(not port.int8, f"scalars[{index}].int8=True: only vectors can be of INT8")
        require(0 <= self.produce < levels(config), f"produce={self.produce} must be from 0 to {levels(config) - 1}")
        self._check_accumulation(config)
        if self.mask is not None:
            top = levels(config) - 1
            require(0 <= self.mask.level <= top, f"mask.level={self.mask.level} must be from 0 to {top}")
            require(0 <= self.mask.bound < 1 << 16, f"mask.bound={self.mask.bound} must be from 0 to 65535")

    def _check_accumulation(self, config: PCUConfig) -> None:
        used = any(Source.ACCUMULATOR in (step.a, step.b, step.c) for step in self.stages)
        name = f"accumulate={self.accumulate}"
        require(not used or self.accumulate is not None, f"{name}: it must be a level, as one of the stages is a Stage.accumulate")
        require(used or self.accumulate is None, f"{name}: none of the stages is a Stage.accumulate")
        if self.accumulate is None:
            return
        require(self.reduce == Reduce.NONE, f"reduce={self.reduce.name} with {name}: one of them only")
        require(0 <= self.accumulate < self.produce <= len(self.loops),
                f"{name} must be from 0 and below produce={self.produce}, and that at most {len(self.loops)} loops")
        inner, distance = math.prod(self.loops[:self.accumulate]), BodyStage.reuse_distance
        require(inner <= config.accumulators, f"{name}: {inner} sums exceed accumulators={config.accumulators}")
        require(inner >= distance, f"{name}: {inner} sums; a sum would be used again before it is written; "
                                   f"the MAC latency needs at least {distance}")

    def pack(self, config: PCUConfig) -> int:
        """The program as bits of ``pcu_layout(config)``."""
        self.check(config)
        words, result = self._place(config)
        inputs = {}
        for name, ports, count in (("vector", self.vectors, config.vector_inputs), ("scalar", self.scalars, config.scalar_inputs)):
            inputs[f"{name}_input"] = [_input_fields(ports.get(i), levels(config), f"{name}s[{i}]") for i in range(count)]
        mask = {} if self.mask is None else {"mask_used": 1, "mask_level": self.mask.level, "mask_bound": self.mask.bound}
        if self.accumulate is not None:
            mask |= {"accumulate_used": 1, "accumulate": self.accumulate}
        return pcu_layout(config).const({
            "mode": Mode.SIMD, "reduce": self.reduce, "result": result, "produce": self.produce,
            "bounds": bounds({f"loops[{level}]": bound for level, bound in enumerate(self.loops)}, config),
            "constants": [*self.constants, *[0] * (CONSTANTS - len(self.constants))],
            "stages": [*words, *[{}] * (config.stages - len(words))],
        } | mask | inputs | output_fields(self)).as_value().value
