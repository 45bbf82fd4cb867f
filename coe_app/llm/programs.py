"""The programs of the decoder's units, fused or one operator a kernel. Bounds that are arguments of a kernel have their greatest values."""

from __future__ import annotations

import numpy as np

from hw.config import PMUConfig, RDUConfig
from hw.fp.function import TailFunction
from hw.pcu.layout import Initial, Op, Reduce, Source
from hw.pcu.library.row_loops import float_word
from hw.pcu.program import (
    Input,
    Mask,
    SimdProgram,
    Stage,
    SystolicProgram,
    constant,
    counter,
    element,
    integer,
    scalar,
    stage,
    vector,
)
from hw.pmu import program as pmu

from .decoder import SCORE_LIMIT
from .shape import CONTEXT, DIM, EPSILON, HEAD_DIM, HEADS, HIDDEN, QKV
from .streams import GRANULE, QKV_TILES, RECORD_BYTES

__all__ = ["ATTEND_ROWS", "CHUNKS", "ENTER_ROWS", "HIDDEN_TILES", "QUERIES", "TILE", "attended_sums", "attention_scores", "divider",
           "gated", "inverse_norm", "inverse_of_last", "leaving", "projected_rows", "projection", "rotation", "rows_of", "scaled",
           "share_of_hidden", "splitter", "weighted"]

ENTER_ROWS = 4           # tokens of a pass: the stages of a PCU
ATTEND_ROWS = 2          # tokens of a pass: sums of weights x values are groups x 3 blocks, at most 8
TILE = HEAD_DIM          # positions of a tile of scores
HIDDEN_TILES = 3         # column tiles of a unit's share of the hidden features
CHUNKS = HIDDEN // DIM   # of the hidden features, on their way out of a layer
QUERIES = ATTEND_ROWS * HEADS


def rows_of(config: PMUConfig, *loops: int | tuple[int, int]) -> tuple[pmu.Loop, ...]:
    """PMU loops from (bound, stride in vectors) pairs; a plain number is (bound, 1)."""
    pairs = [(loop, 1) if isinstance(loop, int) else loop for loop in loops]
    return tuple(pmu.Loop(bound, stride * config.lanes) for bound, stride in pairs)


def divider(config: PMUConfig, granules: int, *, depth: int = 64) -> pmu.PMUProgram:
    """A stream dealt to two readers in granules of GRANULE vectors, up to ``depth`` of both ahead: the weights' prefetch."""
    both, one = rows_of(config, 2 * GRANULE, (granules, 0)), rows_of(config, GRANULE, (granules, 0))
    return pmu.PMUProgram(
        write=pmu.Write(loops=both, handover=1, vectors=(0,)),
        reads=tuple(pmu.Read(loops=one, handover=1, base=number * GRANULE * config.lanes) for number in range(2)),
        buffers=min(depth, config.banks * config.bank_rows // (2 * GRANULE)), buffer_stride=2 * GRANULE * config.lanes)


def splitter(config: PMUConfig, vectors: int, parts: tuple[tuple[int, int], ...], count: int, *, buffers: int = 4) -> pmu.PMUProgram:
    """``count`` rows of ``vectors``; reader i gets the ``parts[i]`` = (first, number) vectors of each row."""
    return pmu.PMUProgram(
        write=pmu.Write(loops=rows_of(config, vectors, (count, 0)), handover=1, vectors=(0,)),
        reads=tuple(pmu.Read(loops=rows_of(config, number, (count, 0)), handover=1, base=first * config.lanes)
                    for first, number in parts),
        buffers=buffers, buffer_stride=vectors * config.lanes)


def inverse_norm(vectors: int, rows: int) -> SimdProgram:
    """Vector 0: x[rows] -> scalar: 1 / sqrt(sum(x^2 + eps)) of each row."""
    return SimdProgram(loops=(vectors, rows), vectors={0: Input()}, constants=(float_word(EPSILON),),
                       stages=(Stage.mac(vector(0), vector(0), constant(0)),), reduce=Reduce.SUM, produce=1,
                       function=TailFunction.RSQRT, to_vector=False, to_scalar=True)


def scaled(vectors: int, rows: int) -> SimdProgram:
    """Vector 0: x[rows], scalar 0: one per row -> vector: x * s, packed."""
    return SimdProgram(loops=(vectors, rows), vectors={0: Input()}, scalars={0: Input(level=1)},
                       stages=(Stage.mul(vector(0), scalar(0)),), packed_output=True)


def rotation(vectors: int, rows: int) -> SimdProgram:
    """Vectors 0: x, 1: the partners, 2: cosines, 3: sines -> vector: x cos + partner sin, packed."""
    return SimdProgram(loops=(vectors, rows), vectors={port: Input() for port in range(4)},
                       stages=(Stage.mul(vector(1), vector(3)), Stage.mac(vector(0), vector(2), stage(0))), packed_output=True)


def weighted(rows: int, tiles: int, vectors: int = 2) -> SimdProgram:
    """Vector 0: scores, tile by tile [rows, 2 vectors], scalar 0: last element that counts of each row -> exp(score), packed.

    Scores are cut to +-SCORE_LIMIT, so no maximum is needed: the sum is neither zero nor infinite.
    """
    return SimdProgram(loops=(vectors, rows, tiles), vectors={0: Input()}, scalars={0: Input(level=1)},
                       constants=(float_word(SCORE_LIMIT), float_word(-SCORE_LIMIT), float_word(-np.inf)), mask=Mask(level=0, bound=0xFFFF),
                       stages=(integer(Op.FMIN, vector(0), constant(0)), integer(Op.FMAX, stage(0), constant(1)),
                               integer(Op.LE, element(), scalar(0)), integer(Op.SELECT, stage(1), constant(2), stage(2))),
                       function=TailFunction.EXP, packed_output=True)


def inverse_of_last(vectors: int, rows: int) -> SimdProgram:
    """Vector 0: x[rows] -> scalar: 1 / sum of the last vector of each row."""
    return SimdProgram(loops=(vectors, rows), vectors={0: Input()}, constants=(vectors - 1,),
                       stages=(integer(Op.EQ, counter(0), constant(0)), integer(Op.SELECT, vector(0), Source.ZERO, stage(0))),
                       reduce=Reduce.SUM, produce=1, function=TailFunction.RECIPROCAL, to_vector=False, to_scalar=True)


def gated(blocks: int, rows: int, tiles: int) -> SimdProgram:
    """Vectors 0, 1: gate and value of one unit, 2, 3: of another -> vector: products, block by block of both, packed in pairs."""
    return SimdProgram(loops=(2, blocks, rows, tiles), vectors={port: Input(level=1) for port in range(4)},
                       stages=(Stage.mul(vector(0), vector(1)), Stage.mul(vector(2), vector(3)),
                               integer(Op.SELECT, stage(1), stage(0), counter(0))), packed_output=True)


def projection(config: RDUConfig) -> SystolicProgram:
    """Vector 0: weights, 1: rows of norm(x) -> queries, keys and values, in QKV_TILES tiles."""
    return SystolicProgram(k=DIM, rows=ENTER_ROWS, feature_blocks=QKV // config.lanes // QKV_TILES, column_tiles=QKV_TILES, reuse=True)


def share_of_hidden(function: TailFunction = TailFunction.BYPASS) -> SystolicProgram:
    """Vector 0: weights, 1: rows of norm(x) -> half of the hidden features."""
    return SystolicProgram(k=DIM, rows=ENTER_ROWS, feature_blocks=4, column_tiles=HIDDEN_TILES, reuse=True, function=function)


def attention_scores() -> SystolicProgram:
    """Vector 0: keys, transposed, 1: a row of each query -> scores, tile by tile."""
    return SystolicProgram(k=HEAD_DIM, rows=QUERIES, groups=2, feature_blocks=2, column_tiles=CONTEXT // TILE, reuse=True)


def attended_sums() -> SystolicProgram:
    """Vector 0: values and ones, 1: weights of each query -> sums of weights x values, and of the weights."""
    return SystolicProgram(k=TILE, rows=QUERIES, groups=ATTEND_ROWS, feature_blocks=3, chunks=CONTEXT // TILE)


def leaving(config: RDUConfig) -> SystolicProgram:
    """Vector 0: weights, 1: rows of hidden, then attended features, 2: rows of x -> half of a layer's result."""
    return SystolicProgram(k=DIM, rows=ATTEND_ROWS, feature_blocks=DIM // config.lanes // 2, chunks=CHUNKS + 1, initial=Initial.PARTIAL)


def projected_rows(config: RDUConfig) -> pmu.PMUProgram:
    """Records -> engine 0: their queries, keys and values, 1: the same with the halves of each head exchanged."""
    record, blocks, rows = RECORD_BYTES // config.beat_bytes, QKV // config.lanes, ATTEND_ROWS
    return pmu.PMUProgram(
        write=pmu.Write(loops=rows_of(config.pmu, record, (rows, record)), vectors=(0,)),
        reads=(pmu.Read(loops=rows_of(config.pmu, blocks, (rows, record)), base=DIM),
               pmu.Read(loops=rows_of(config.pmu, (2, -1), (blocks // 2, 2), (rows, record)), base=DIM + config.lanes)))
