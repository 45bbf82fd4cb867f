"""Typed programs of the systolic mode."""

from __future__ import annotations

from dataclasses import dataclass

from hw.config import PCUConfig
from hw.fp.function import TailFunction

from .bundle import broadcast_vectors
from .layout import SCALE_INPUT, Initial, Mode, Op, Source, pcu_layout
from .program_fields import bounds, output_fields, require
from .stage import BodyStage

__all__ = ["SystolicProgram"]

LOOPS = "groups", "feature_blocks", "k", "chunks", "column_tiles", "row_tiles"       # innermost first


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
        require(sums <= config.accumulators, f"{product} exceeds accumulators={config.accumulators}")
        distance = BodyStage.reuse_distance
        require(sums >= distance or self.k * self.chunks == 1,
                f"{product} with k={self.k}, chunks={self.chunks}: a sum would be used again before it is written; "
                f"the MAC latency needs at least {distance}")
        height = config.stages // self.stages_per_row
        limit = self.groups * height
        last = self.rows if self.last_rows is None else self.last_rows
        require(0 < self.rows <= limit, f"rows={self.rows} must be from 1 to groups x stages{shared} = {limit}")
        require(0 < last <= self.rows, f"last_rows={last} must be from 1 to rows={self.rows}")
        # Groups beyond the last valid row are computed but hold nothing.
        groups, room = -(-self.rows // height), broadcast_vectors(config)
        require(groups * self.row_vectors(config) <= room,
                f"k={self.k}: {groups} row groups x {self.row_vectors(config)} vectors of a row exceed the {room} vectors of a "
                f"half of the broadcast buffer (broadcast_depth={config.broadcast_depth})")
        require(not self.int8_weights or config.vector_inputs > SCALE_INPUT,
                f"int8_weights=True: the scales come on vector input {SCALE_INPUT}, the unit has {config.vector_inputs} vector inputs")
        require(not self.reuse or self.chunks == 1, f"reuse=True with chunks={self.chunks}: only one chunk of k can be held")

    def _check_stages_per_row(self, config: PCUConfig) -> None:
        name = f"stages_per_row={self.stages_per_row}"
        require(self.stages_per_row in (1, 2), f"{name} must be 1 or 2")
        if self.stages_per_row == 1:
            return
        require(config.stages >= 2, f"{name} exceeds stages={config.stages}")
        weights = "int8_weights=True" if self.int8_weights else f"packed_weights={self.packed_weights}"
        require(self.packed_weights and not self.int8_weights,
                f"{name} with {weights}: only the halves of a packed BF16 vector go to two stages; use stages_per_row=1")
        require(self.feature_blocks % 2 == 0,
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
            "bounds": bounds(dict(zip(LOOPS, self.loops(), strict=True)), config),
            "rows": self.rows, "last_rows": self.rows if self.last_rows is None else self.last_rows,
            "row_vectors": self.row_vectors(config), "vector_input": inputs, "stages": self._stages(config),
            "stage_pairs": int(self.stages_per_row == 2),
        } | output_fields(self)).as_value().value
