"""The programs of the decoder's units, fused or one operator a kernel. Bounds that are arguments of a kernel have their greatest values."""

from __future__ import annotations

from dataclasses import replace

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
    lane,
    scalar,
    stage,
    vector,
)
from hw.pmu import program as pmu
from hw.pmu.address import Base, Factor, Operation, index_times
from hw.pmu.address import Stage as AddressStage
from hw.pmu.geometry import BankMap

from .decoder import SCORE_LIMIT
from .shape import CONTEXT, DIM, EPSILON, HEAD_DIM, HEADS, HIDDEN, QKV, VOCABULARY
from .streams import GRANULE, QKV_TILES, RECORD_BYTES, ROTATED

__all__ = ["ATTEND_ROWS", "CHUNKS", "ENTER_ROWS", "HIDDEN_BLOCKS", "HIDDEN_TILES", "OUT_BLOCKS", "OWN", "PROJECTED", "QUERIES",
           "ROTATED", "TILE", "attended_sums", "attention_scores", "cache_tiles", "capped", "chunks_in_order",
           "divider", "entered", "gated", "head_share", "inverse_norm", "inverse_of_last", "kept_one", "kept_projections",
           "kept_row", "key_value_tiles", "keys_apart", "leaving", "mixed_rows", "one", "projected_rows", "projection",
           "rotary_rows", "rotation", "rotation_of_one",
           "rows_of", "scaled", "share_of_hidden", "splitter", "weighted"]

ENTER_ROWS = 4           # tokens of a pass: the stages of a PCU
ATTEND_ROWS = 2          # tokens of a pass: sums of weights x values are groups x 3 blocks, at most 8
TILE = HEAD_DIM          # positions of a tile of scores
HIDDEN_TILES = 2         # column tiles of a unit's share of the hidden features,
HIDDEN_BLOCKS = 6        # of so many blocks each
OUT_BLOCKS = 6, 2        # of the output product, by unit: both then take three steps for a k, the time until a sum can be used again
CHUNKS = HIDDEN // DIM   # of the hidden features, on their way out of a layer
QUERIES = ATTEND_ROWS * HEADS
OWN = 3 * (TILE - 1)      # sequence ID of the first vector of a tile's last position
PROJECTED = 16           # sequence ID of the first vector of a token's projections


def rows_of(config: PMUConfig, *loops: int | tuple[int, int]) -> tuple[pmu.Loop, ...]:
    """PMU loops from (bound, stride in vectors) pairs; a plain number is (bound, 1)."""
    pairs = [(loop, 1) if isinstance(loop, int) else loop for loop in loops]
    return tuple(pmu.Loop(bound, stride * config.lanes) for bound, stride in pairs)


def divider(config: PMUConfig, beats: int, times: int = 1, *, shares: tuple[int, ...] = (GRANULE, GRANULE)) -> pmu.PMUProgram:
    """``times`` a stream of ``beats`` vectors, dealt to its readers in turn, ``shares`` at a time, as far ahead as the scratchpad holds:
    the weights' prefetch."""
    both, vectors = sum(shares), config.banks * config.bank_rows
    loops = [rows_of(config, number, (beats // both, 0), (times, 0)) for number in (both, *shares)]
    return pmu.PMUProgram(
        write=pmu.Write(loops=loops[0], handover=1, vectors=(0,)),
        reads=tuple(pmu.Read(loops=own, handover=1, base=sum(shares[:number]) * config.lanes) for number, own in enumerate(loops[1:])),
        buffers=vectors // both, buffer_stride=both * config.lanes)


def kept_row(config: PMUConfig, *parts: tuple[int, int], sources: int = 0) -> pmu.PMUProgram:
    """A row of DIM that stays in the scratchpad for the kernels after this one, which have the same bank bits. Reader i gets ``parts[i]`` =
    (first, number) vectors of the row that is there; a new one comes from ``sources`` units, its vectors placed by their sequence IDs."""
    write = pmu.Write(loops=rows_of(config, (DIM // config.lanes, 0)), vectors=tuple(range(sources)), index=pmu.Sequence(),
                      stages=(index_times(2 * config.lanes),)) if sources else None
    return pmu.PMUProgram(
        write=write, bank_map=BankMap.low(config),
        reads=tuple(pmu.Read(loops=rows_of(config, number), base=first * config.lanes, synchronised=False) for first, number in parts))


def entered(config: PMUConfig) -> pmu.PMUProgram:
    """Hidden features (vector 0) and projections (vector 1) stay in the scratchpad, placed by their sequence IDs: those of the projections
    are from PROJECTED on. For each chunk of hidden features it sends itself a token, which waits for :func:`chunks_in_order`."""
    number = CHUNKS * HEADS + QKV // config.lanes
    return pmu.PMUProgram(
        write=pmu.Write(loops=rows_of(config, (number // CHUNKS, 0), (CHUNKS, 0)), handover=1, vectors=(0, 1), index=pmu.Sequence(),
                        stages=(index_times(2 * config.lanes),), send_tokens=(0,)),
        bank_map=BankMap.low(config))


def chunks_in_order(config: PMUConfig) -> pmu.PMUProgram:
    """Engine 0: the chunks of hidden features that are there, then the attended ones when they have been written: a token for each. Engine
    1: the projections, ROTATED of them twice, then the others twice."""
    return pmu.PMUProgram(
        write=pmu.Write(loops=rows_of(config, HEADS), base=CHUNKS * HEADS * config.lanes, vectors=(0,), send_tokens=(0,)),
        reads=(pmu.Read(loops=rows_of(config, HEADS, (CHUNKS + 1, HEADS)), handover=1, wait_tokens=(0,), synchronised=False),
               pmu.Read(loops=rows_of(config, ROTATED, (2, 0), (QKV // config.lanes // ROTATED, ROTATED)), base=PROJECTED * config.lanes,
                        synchronised=False)),
        bank_map=BankMap.low(config))


def kept_projections(config: PMUConfig) -> pmu.PMUProgram:
    """Projections (vector 0) stay in the scratchpad for :func:`mixed_rows`, placed by their sequence IDs."""
    return pmu.PMUProgram(write=pmu.Write(loops=rows_of(config, (QKV // config.lanes, 0)), vectors=(0,), index=pmu.Sequence(),
                                          stages=(index_times(2 * config.lanes),), base=2 * PROJECTED * config.lanes),
                          bank_map=BankMap.low(config))


def mixed_rows(config: PMUConfig) -> pmu.PMUProgram:
    """Engine 0: the first two vectors of each row that comes, of three; 1: the projections that are there with the halves of each head
    exchanged, ROTATED of them twice, then the others twice."""
    rows = splitter(config, 3, ((0, 2),), HEADS, buffers=8)
    exchanged = pmu.Read(loops=rows_of(config, (2, -1), (ROTATED // 2, 2), (2, 0), (QKV // config.lanes // ROTATED, ROTATED)),
                         base=(3 * PROJECTED + 1) * config.lanes, synchronised=False)
    return replace(rows, reads=(*rows.reads, exchanged), bank_map=BankMap.low(config))


def splitter(config: PMUConfig, vectors: int, parts: tuple[tuple[int, int], ...], count: int, *, buffers: int = 4) -> pmu.PMUProgram:
    """``count`` rows of ``vectors``; reader i gets the ``parts[i]`` = (first, number) vectors of each row."""
    return pmu.PMUProgram(
        write=pmu.Write(loops=rows_of(config, vectors, (count, 0)), handover=1, vectors=(0,)),
        reads=tuple(pmu.Read(loops=rows_of(config, number, (count, 0)), handover=1, base=first * config.lanes)
                    for first, number in parts),
        buffers=buffers, buffer_stride=vectors * config.lanes)


def inverse_norm(vectors: int, rows: int, port: int = 0) -> SimdProgram:
    """Vector ``port``: x[rows] -> scalar: 1 / sqrt(sum(x^2 + eps)) of each row."""
    return SimdProgram(loops=(vectors, rows), vectors={port: Input()}, constants=(float_word(EPSILON),),
                       stages=(Stage.mac(vector(port), vector(port), constant(0)),), reduce=Reduce.SUM, produce=1,
                       function=TailFunction.RSQRT, to_vector=False, to_scalar=True)


def scaled(vectors: int, rows: int, port: int = 0) -> SimdProgram:
    """Vector ``port``: x[rows], scalar 0: one per row -> vector: x * s, packed."""
    return SimdProgram(loops=(vectors, rows), vectors={port: Input()}, scalars={0: Input(level=1)},
                       stages=(Stage.mul(vector(port), scalar(0)),), packed_output=True)


def rotation(vectors: int, rows: int) -> SimdProgram:
    """Vectors 0: x, 1: the partners, 2: cosines, 3: sines -> vector: x cos + partner sin, packed."""
    return SimdProgram(loops=(vectors, rows), vectors={port: Input() for port in range(4)},
                       stages=(Stage.mul(vector(1), vector(3)), Stage.mac(vector(0), vector(2), stage(0))), packed_output=True)


def rotation_of_one() -> SimdProgram:
    """Vectors 1: ROTATED blocks of x, twice, 3: their partners, twice, 2: their cosines, then sines -> vector: x cos + partner sin, packed.
    One row."""
    return SimdProgram(loops=(ROTATED, 2, QKV // 8 // ROTATED), vectors={port: Input() for port in (1, 2, 3)}, accumulate=1, produce=2,
                       stages=(integer(Op.SELECT, vector(3), vector(1), counter(1)), Stage.accumulate(stage(0), vector(2))),
                       packed_output=True)


def capped(rows: int, tiles: int, port: int, vectors: int = 2) -> SimdProgram:
    """Vector ``port``: scores, tile by tile [rows, 2 vectors], all of which count -> exp(score), packed. See :func:`weighted`."""
    return SimdProgram(loops=(vectors, rows, tiles), vectors={port: Input()}, constants=(float_word(SCORE_LIMIT), float_word(-SCORE_LIMIT)),
                       stages=(integer(Op.FMIN, vector(port), constant(0)), integer(Op.FMAX, stage(0), constant(1))),
                       function=TailFunction.EXP, packed_output=True)


def weighted(rows: int, tiles: int, vectors: int = 2) -> SimdProgram:
    """Vector 0: scores, tile by tile [rows, 2 vectors], scalar 0: last element that counts of each row -> exp(score), packed.

    Scores are cut to +-SCORE_LIMIT, so no maximum is needed: the sum is neither zero nor infinite.
    """
    return SimdProgram(loops=(vectors, rows, tiles), vectors={0: Input()}, scalars={0: Input(level=1)},
                       constants=(float_word(SCORE_LIMIT), float_word(-SCORE_LIMIT), float_word(-np.inf)), mask=Mask(level=0, bound=0xFFFF),
                       stages=(integer(Op.FMIN, vector(0), constant(0)), integer(Op.FMAX, stage(0), constant(1)),
                               integer(Op.LE, element(), scalar(0)), integer(Op.SELECT, stage(1), constant(2), stage(2))),
                       function=TailFunction.EXP, packed_output=True)


def inverse_of_last(vectors: int, rows: int, port: int = 0) -> SimdProgram:
    """Vector ``port``: x[rows] -> scalar: 1 / sum of the last vector of each row."""
    return SimdProgram(loops=(vectors, rows), vectors={port: Input()}, constants=(vectors - 1,),
                       stages=(integer(Op.EQ, counter(0), constant(0)), integer(Op.SELECT, vector(port), Source.ZERO, stage(0))),
                       reduce=Reduce.SUM, produce=1, function=TailFunction.RECIPROCAL, to_vector=False, to_scalar=True)


def gated(blocks: int, rows: int, tiles: int) -> SimdProgram:
    """Vectors 0, 1: gate and value of one unit, 2, 3: of another -> vector: products, block by block of both, packed in pairs."""
    return SimdProgram(loops=(2, blocks, rows, tiles), vectors={port: Input(level=1) for port in range(4)},
                       stages=(Stage.mul(vector(0), vector(1)), Stage.mul(vector(2), vector(3)),
                               integer(Op.SELECT, stage(1), stage(0), counter(0))), packed_output=True)


def stages_per_row(rows: int) -> int:
    """Two for few rows: a unit then takes a whole vector of weights in a step."""
    return 2 if rows <= ATTEND_ROWS else 1


def projection(config: RDUConfig, rows: int = ENTER_ROWS) -> SystolicProgram:
    """Vector 0: weights, 1: rows of norm(x) -> queries, keys and values, in QKV_TILES tiles."""
    return SystolicProgram(k=DIM, rows=rows, feature_blocks=QKV // config.lanes // QKV_TILES, column_tiles=QKV_TILES, reuse=True,
                           stages_per_row=stages_per_row(rows))


def share_of_hidden(function: TailFunction = TailFunction.BYPASS, rows: int = ENTER_ROWS) -> SystolicProgram:
    """Vector 0: weights, 1: rows of norm(x) -> half of the hidden features."""
    return SystolicProgram(k=DIM, rows=rows, feature_blocks=HIDDEN_BLOCKS, column_tiles=HIDDEN_TILES, reuse=True, function=function,
                           stages_per_row=stages_per_row(rows))


def attention_scores(tokens: int = ATTEND_ROWS) -> SystolicProgram:
    """Vector 0: keys, transposed, 1: a row of each query -> scores, tile by tile."""
    return SystolicProgram(k=HEAD_DIM, rows=tokens * HEADS, groups=2, feature_blocks=2, column_tiles=CONTEXT // TILE, reuse=True)


def attended_sums(tokens: int = ATTEND_ROWS) -> SystolicProgram:
    """Vector 0: values and ones, 1: weights of each query -> sums of weights x values, and of the weights."""
    return SystolicProgram(k=TILE, rows=tokens * HEADS, groups=tokens, feature_blocks=3, chunks=CONTEXT // TILE)


def leaving(blocks: int, rows: int = ATTEND_ROWS) -> SystolicProgram:
    """Vector 0: weights, 1: rows of hidden, then attended features, 2: rows of x -> ``blocks`` of a layer's result."""
    return SystolicProgram(k=DIM, rows=rows, groups=max(OUT_BLOCKS) // blocks, feature_blocks=blocks, chunks=CHUNKS + 1,
                           initial=Initial.PARTIAL, stages_per_row=stages_per_row(rows))


def head_share(config: RDUConfig) -> SystolicProgram:
    """Vector 0: weights, 1: norm(x) -> a quarter of the logits."""
    return SystolicProgram(k=DIM, rows=1, feature_blocks=VOCABULARY // 4 // config.lanes, stages_per_row=stages_per_row(1))


def rotary_rows(config: RDUConfig, rows: int) -> pmu.PMUProgram:
    """Rows of the rotary table -> engine 0: cosines, 1: sines."""
    blocks, turns = QKV // config.lanes, QKV // config.lanes // ROTATED
    return pmu.PMUProgram(
        write=pmu.Write(loops=rows_of(config.pmu, 2 * blocks, (rows, 0)), handover=1, vectors=(0,)),
        reads=tuple(pmu.Read(loops=rows_of(config.pmu, ROTATED, (turns, 2 * ROTATED), (rows, 0)), handover=2,
                             base=first * ROTATED * config.lanes) for first in range(2)),
        buffers=2, buffer_stride=2 * blocks * config.lanes)


def key_value_tiles(tiles: int) -> pmu.PMUProgram:
    """Tiles of the cache, of TILE positions each -> engine 0: keys, transposed, 1: values and ones; 16 rows each, a bank for each."""
    part = TILE * HEAD_DIM
    return pmu.PMUProgram(
        write=pmu.Write(loops=(pmu.Loop(3, part), pmu.Loop(TILE, HEAD_DIM), pmu.Loop(tiles)), handover=2, vectors=(0,)),
        reads=(pmu.Read(loops=(pmu.Loop(HEAD_DIM, 1), pmu.Loop(tiles)), handover=1, transposed=True),
               pmu.Read(loops=(pmu.Loop(2, part), pmu.Loop(TILE, HEAD_DIM), pmu.Loop(tiles)), handover=2, base=part)),
        buffers=8, buffer_stride=4 * part, element=pmu.Element.HALF, pitch=HEAD_DIM, bank_map=BankMap((4, 5, 6), (0, 0, 0)))


def cache_tiles(tiles: int) -> pmu.PMUProgram:
    """:func:`key_value_tiles` from two sources, a position's three vectors placed in its tile by their sequence IDs: the positions in
    order, from 0 on in each tile (vector 0), and the last one (vector 1), from OWN on, when the others have been sent."""
    whole = key_value_tiles(tiles)
    third = pmu.Write(loops=(pmu.Loop(3 * TILE), pmu.Loop(tiles)), handover=1, vectors=(0, 1), index=pmu.Sequence(), stages=(
        AddressStage(operation=Operation.MAC, factor=Factor.Y, a=-(-256 // 3), b=8),                          # x = ID // 3, the position
        AddressStage(operation=Operation.MAC, base=Base.Y, factor=Factor.X, a=-3, to_y=True),                 # y = ID % 3, the part
        AddressStage(operation=Operation.MAC, base=Base.X, factor=Factor.Y, a=TILE),
        AddressStage(operation=Operation.MAC, factor=Factor.X, a=HEAD_DIM)))
    return replace(whole, write=third)


def keys_apart(config: PMUConfig) -> pmu.PMUProgram:
    """Engine 0: the queries of a rotated row, 1: its key and value, then the vector that :func:`kept_one` left; for a token."""
    rows = splitter(config, HEADS + 2, ((0, HEADS), (HEADS, 3)), 1, buffers=1)
    return replace(rows, reads=(rows.reads[0], replace(rows.reads[1], wait_tokens=(0,))), bank_map=BankMap.low(config))


def kept_one(config: PMUConfig) -> pmu.PMUProgram:
    """The vector that makes the sum of weights to its place for :func:`keys_apart`."""
    return pmu.PMUProgram(write=pmu.Write(loops=rows_of(config, 1), base=(HEADS + 2) * config.lanes, vectors=(0,)),
                          bank_map=BankMap.low(config))


def one() -> SimdProgram:
    """The vector that makes the sum of weights: BF16, a one and zeros."""
    return SimdProgram(loops=(1,), constants=(0, 0x3F80),
                       stages=(integer(Op.EQ, lane(), constant(0)), integer(Op.SELECT, constant(1), Source.ZERO, stage(0))))


def projected_rows(config: RDUConfig) -> pmu.PMUProgram:
    """Records -> engine 0: their queries, keys and values, 1: the same with the halves of each head exchanged."""
    record, blocks, rows = RECORD_BYTES // config.beat_bytes, QKV // config.lanes, ATTEND_ROWS
    return pmu.PMUProgram(
        write=pmu.Write(loops=rows_of(config.pmu, record, (rows, record)), vectors=(0,)),
        reads=(pmu.Read(loops=rows_of(config.pmu, blocks, (rows, record)), base=DIM),
               pmu.Read(loops=rows_of(config.pmu, (2, -1), (blocks // 2, 2), (rows, record)), base=DIM + config.lanes)))
