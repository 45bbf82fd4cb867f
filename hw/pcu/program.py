"""Typed programs of a PCU: what a person or the compiler fills in, checked against the hardware and packed into bits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hw.common.program import field_position
from hw.config import PCUConfig
from hw.fp.function import TailFunction

from .bundle import broadcast_vectors
from .layout import CONSTANTS, SCALE_INPUT, SLOTS, Initial, Mode, Op, Reduce, Source, levels, pcu_layout
from .stage import BodyStage

__all__ = [
    "Input", "Mask", "Operand", "ProgramError", "SimdProgram", "Stage", "SystolicProgram", "argument", "constant", "counter",
    "element", "integer", "lane", "scalar", "stage", "vector",
]


class ProgramError(ValueError):
    """A program that the hardware cannot run; the message names the field, its value and the limit."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ProgramError(message)


def _bounds(loops: tuple[int, ...], config: PCUConfig, name: str) -> list[int]:
    available = levels(config)
    _require(len(loops) <= available, f"{name} has {len(loops)} loops; the counter chain has {available}")
    for level, bound in enumerate(loops):
        limit = (1 << config.counter_bits) - 1
        _require(0 < bound <= limit, f"{name}[{level}]={bound} must be from 1 to {limit}")
    return [*loops, *[1] * (available - len(loops))]


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
    _require(op not in (Op.NOP, Op.MAC), f"op={op.name} is not an integer operation")
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
    _require(0 <= port.level < available, f"{name}.level={port.level} must be from 0 to {available - 1}")
    _require(not (port.packed and port.int8), f"{name}.packed=True with int8=True: one storage type only")
    return {"used": 1, "packed": int(port.packed), "int8": int(port.int8), "level": port.level}


def _output_fields(program, config: PCUConfig) -> dict:
    _require(program.to_vector or program.to_scalar, "to_vector and to_scalar are both off: the results go nowhere")
    _require(not (program.to_scalar and not program.to_vector and program.packed_output),
             "packed_output=True needs to_vector: a scalar is one FP32 or INT32 word")
    seed = program.rounding_seed
    _require(seed is None or program.packed_output, f"rounding_seed={seed} needs packed_output=True: an FP32 result is not rounded again")
    _require(seed is None or 0 <= seed < 1 << 32, f"rounding_seed={seed} must be from 0 to 2**32 - 1")
    return {"function": program.function, "to_vector": int(program.to_vector), "to_scalar": int(program.to_scalar),
            "output_packed": int(program.packed_output), "stochastic": int(seed is not None), "seed": seed or 0}


@dataclass(frozen=True, kw_only=True)
class SystolicProgram:
    """GEMM: out[rows, features] = initial + x[rows, k] @ w[k, features], a tile at a time.

    A tile has ``rows`` rows and ``feature_blocks`` x lanes features. For each row tile, for each of its ``column_tiles``:
    vector input 0 brings, for each k, the ``feature_blocks`` blocks of w in order (packed BF16: two blocks a vector, the last one
    of an odd number padded); vector input 1 the rows of x, one after the other, ``k`` values each, padded to whole vectors,
    for each of ``chunks`` chunks of k; vector input 2 the initial values (FP32): BIAS: ``feature_blocks`` vectors, PARTIAL: for
    each row its blocks. The output is, for each row, its feature blocks in order.

    ``int8_weights``: vector input 0 brings INT8, four blocks a vector (the last one of a k padded), vector input 3, for each tile, the
    FP32 scales of its features, ``feature_blocks`` vectors; a weight is then fp32(scale * q). ``packed_weights`` is not used.

    ``reuse``: x is brought once for all column tiles of its rows (then ``chunks`` must be 1). ``groups``: sets of ``stages`` rows
    that share a weight vector (prefill); ``last_rows``: rows of the last row tile (default: ``rows``).

    ``stages_per_row=2`` (packed weights, an even number of ``feature_blocks``): two neighbouring stages share a row, one takes the even
    feature blocks, the other the odd ones, so that a step takes a whole weight vector: for few rows, at most ``groups`` x (``stages`` div
    2). A stage then holds ``groups`` x ``feature_blocks`` / 2 sums. Streams, results and the order of every sum are the same.
    """

    k: int
    rows: int
    feature_blocks: int
    groups: int = 1
    chunks: int = 1
    column_tiles: int = 1
    row_tiles: int = 1
    last_rows: int | None = None
    stages_per_row: int = 1
    reuse: bool = False
    initial: Initial = Initial.ZERO
    packed_weights: bool = True
    int8_weights: bool = False
    packed_rows: bool = True
    packed_output: bool = False
    rounding_seed: int | None = None
    function: TailFunction = TailFunction.BYPASS
    to_vector: bool = True
    to_scalar: bool = False

    def loops(self) -> tuple[int, ...]:
        """The loops of the systolic steps, innermost first; their product is the number of steps."""
        return self.groups, self.feature_blocks // self.stages_per_row, self.k, self.chunks, self.column_tiles, self.row_tiles

    def row_vectors(self, config: PCUConfig) -> int:
        """Vectors of one row of x of one chunk."""
        return -(-self.k // (config.lanes * (2 if self.packed_rows else 1)))

    def check(self, config: PCUConfig) -> None:
        """Raises :class:`ProgramError` for what the hardware cannot do."""
        self._check_stages_per_row(config)
        sums = self.groups * self.feature_blocks // self.stages_per_row
        shared = f" / stages_per_row={self.stages_per_row}" if self.stages_per_row > 1 else ""
        product = f"groups={self.groups} x feature_blocks={self.feature_blocks}{shared} = {sums}"
        _require(sums <= config.accumulators, f"{product} exceeds accumulators={config.accumulators}")
        distance = BodyStage.reuse_distance
        _require(sums >= distance or self.k * self.chunks == 1,
                 f"{product}: a sum would be used again before it is written; the MAC latency needs at least {distance}")
        height = config.stages // self.stages_per_row
        limit = self.groups * height
        last = self.rows if self.last_rows is None else self.last_rows
        _require(0 < self.rows <= limit, f"rows={self.rows} must be from 1 to groups x stages{shared} = {limit}")
        _require(0 < last <= self.rows, f"last_rows={last} must be from 1 to rows={self.rows}")
        # Groups beyond the last valid row are computed but hold nothing.
        groups, room = -(-self.rows // height), broadcast_vectors(config)
        _require(groups * self.row_vectors(config) <= room,
                 f"k={self.k}: {groups} row groups x {self.row_vectors(config)} vectors of a row exceed the {room} vectors of a "
                 f"half of the broadcast buffer (broadcast_depth={config.broadcast_depth})")
        _require(not self.int8_weights or config.vector_inputs > SCALE_INPUT,
                 f"int8_weights=True: the scales come on vector input {SCALE_INPUT}, the unit has {config.vector_inputs} vector inputs")
        _require(not self.reuse or self.chunks == 1, f"reuse=True with chunks={self.chunks}: only one chunk of k can be held")

    def _check_stages_per_row(self, config: PCUConfig) -> None:
        name = f"stages_per_row={self.stages_per_row}"
        _require(self.stages_per_row in (1, 2), f"{name} must be 1 or 2")
        if self.stages_per_row == 1:
            return
        _require(config.stages >= 2, f"{name} exceeds stages={config.stages}")
        weights = "int8_weights=True" if self.int8_weights else f"packed_weights={self.packed_weights}"
        _require(self.packed_weights and not self.int8_weights,
                 f"{name} with {weights}: only the halves of a packed BF16 vector go to two stages; use stages_per_row=1")
        _require(self.feature_blocks % 2 == 0,
                 f"{name} with feature_blocks={self.feature_blocks}: a vector holds two blocks; pad the features to an even number")

    def _stages(self, config: PCUConfig) -> list[dict]:
        """The words of the stages: all alike, or even and odd ones by turns; the last one of an odd number then has nothing to do."""
        mac = {"op": Op.MAC, "b": Source.BROADCAST, "c": Source.ACCUMULATOR}
        weights = (Source.WEIGHT,) if self.stages_per_row == 1 else (Source.WEIGHT_LOW, Source.WEIGHT_HIGH)
        words = [mac | {"a": weight} for weight in weights] * (config.stages // self.stages_per_row)
        return words + [{}] * (config.stages - len(words))

    def pack(self, config: PCUConfig) -> int:
        """The program as bits of ``pcu_layout(config)``."""
        self.check(config)
        # With two stages for a row the header hands a packed vector on as it is.
        weights = {"int8": 1} if self.int8_weights else {"packed": int(self.packed_weights and self.stages_per_row == 1)}
        inputs = [{"used": 1, "level": 1} | weights, {"used": 1, "packed": int(self.packed_rows)},
                  {"used": int(self.initial != Initial.ZERO)}, {"used": int(self.int8_weights)}][:config.vector_inputs]
        return pcu_layout(config).const({
            "mode": Mode.SYSTOLIC, "initial": self.initial, "reuse": int(self.reuse),
            "bounds": _bounds(self.loops(), config, "loops"),
            "rows": self.rows, "last_rows": self.rows if self.last_rows is None else self.last_rows,
            "row_vectors": self.row_vectors(config), "vector_input": inputs, "stages": self._stages(config),
            "stage_pairs": int(self.stages_per_row == 2),
        } | _output_fields(self, config)).as_value().value


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
            _require(bool(free), f"stages[{number}]: all {SLOTS} slots hold values that later stages read")
            slots = {value: slot for value, slot in slots.items() if slot != free[0]} | {stage(number): free[0]}
            words.append(word | {"slot": free[0]})
        source = self._source(self._result(), slots, "result", config)
        _require(source.value < SLOTS, f"result={self._result()} must be a vector input or the result of a stage")
        return words, source.value

    def _source(self, operand: Operand | Source, slots: dict, name: str, config: PCUConfig) -> Source:
        if isinstance(operand, Source):
            return operand
        kind, value = operand.kind, operand.value
        if kind in ("vector", "stage"):
            _require(operand in slots, f"{name}={kind}({value}) is not available here: it is not an input of this program, is "
                                       f"computed later, or has been overwritten")
            return Source(slots[operand])
        if kind == "scalar":
            _require(value in self.scalars, f"{name}=scalar({value}) is not an input of this program: {sorted(self.scalars)}")
            return Source(Source.SCALAR0.value + value)
        if kind == "constant":
            known = len(self.constants)
            _require(0 <= value < known, f"{name}=constant({value}): the program has {known} constants")
            return Source(Source.CONSTANT0.value + value)
        if kind == "counter":
            _require(0 <= value < levels(config), f"{name}=counter({value}): the counter chain has {levels(config)} levels")
            return Source(Source.COUNTER0.value + value)
        return {"lane": Source.LANE, "element": Source.ELEMENT}[kind]

    def check(self, config: PCUConfig) -> None:
        """Raises :class:`ProgramError` for what the hardware cannot do."""
        _require(len(self.stages) <= config.stages, f"stages: {len(self.stages)} are used, the body has {config.stages}")
        _require(len(self.constants) <= CONSTANTS, f"constants: {len(self.constants)} are used, a program has {CONSTANTS}")
        for name, used, limit in (("vectors", self.vectors, config.vector_inputs),
                                  ("scalars", self.scalars, config.scalar_inputs)):
            for index in used:
                _require(0 <= index < limit, f"{name}[{index}]: the unit has {limit} such inputs")
        for index, port in self.scalars.items():
            _require(not port.packed, f"scalars[{index}].packed=True: only vectors can be packed")
            _require(not port.int8, f"scalars[{index}].int8=True: only vectors can be of INT8")
        _require(0 <= self.produce < levels(config), f"produce={self.produce} must be from 0 to {levels(config) - 1}")
        self._check_accumulation(config)
        if self.mask is not None:
            top = levels(config) - 1
            _require(0 <= self.mask.level <= top, f"mask.level={self.mask.level} must be from 0 to {top}")
            _require(0 <= self.mask.bound < 1 << 16, f"mask.bound={self.mask.bound} must be from 0 to 65535")

    def _check_accumulation(self, config: PCUConfig) -> None:
        used = any(Source.ACCUMULATOR in (step.a, step.b, step.c) for step in self.stages)
        name = f"accumulate={self.accumulate}"
        _require(used == (self.accumulate is not None), f"{name}: a level is needed for Stage.accumulate only")
        if self.accumulate is None:
            return
        _require(self.reduce == Reduce.NONE, f"reduce={self.reduce.name} with {name}: one of them only")
        _require(self.accumulate < self.produce <= len(self.loops),
                 f"{name} must be below produce={self.produce}, and that at most {len(self.loops)} loops")
        inner, distance = math.prod(self.loops[:self.accumulate]), BodyStage.reuse_distance
        _require(inner <= config.accumulators, f"{name}: {inner} sums exceed accumulators={config.accumulators}")
        _require(inner >= distance, f"{name}: {inner} sums; a sum would be used again before it is written; "
                                    f"the MAC latency needs at least {distance}")

    def pack(self, config: PCUConfig) -> int:
        """The program as bits of ``pcu_layout(config)``."""
        self.check(config)
        words, result = self._place(config)
        inputs = {}
        for name, used, count in (("vector_input", self.vectors, config.vector_inputs),
                                  ("scalar_input", self.scalars, config.scalar_inputs)):
            inputs[name] = [_input_fields(used.get(i), levels(config), f"{name}[{i}]") for i in range(count)]
        mask = {} if self.mask is None else {"mask_used": 1, "mask_level": self.mask.level, "mask_bound": self.mask.bound}
        if self.accumulate is not None:
            mask |= {"accumulate_used": 1, "accumulate": self.accumulate}
        return pcu_layout(config).const({
            "mode": Mode.SIMD, "reduce": self.reduce, "result": result, "produce": self.produce,
            "bounds": _bounds(self.loops, config, "loops"),
            "constants": [*self.constants, *[0] * (CONSTANTS - len(self.constants))],
            "stages": [*words, *[{}] * (config.stages - len(words))],
        } | mask | inputs | _output_fields(self, config)).as_value().value


def argument(config: PCUConfig, path: str) -> tuple[int, int, int]:
    """(word index within the core's program, shift, width) of an argument, say ``"bounds[2]"`` or ``"constants[0]"``."""
    bit, width = field_position(pcu_layout(config), path)
    return bit // 32, bit % 32, width
