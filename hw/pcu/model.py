"""Bit-exact numpy interpreter of packed PCU programs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.config import PCUConfig
from hw.fp.model import (
    as_float,
    canonical,
    counter_random,
    fp32_add,
    fp32_mul,
    fp32_to_bf16,
    fp32_to_bf16_stochastic,
    mac,
)
from hw.fp.tail_model import tail

from .layout import CONSTANTS, SCALE_INPUT, SLOTS, Initial, Mode, Op, Reduce, Source, levels, pcu_layout
from .operations import PARTIALS, evaluate

__all__ = ["Streams", "pack_bytes", "pack_rows", "run"]

FP_CONSTANTS = {Source.ONE: 0x3F800000, Source.MINUS_ONE: 0xBF800000, Source.NEGATIVE_ZERO: 0x80000000}
NEGATIVE_ZERO = np.uint32(0x80000000)


@dataclass
class Streams:
    """What a program put out, and how many packets of each input it took."""

    vector: np.ndarray
    scalar: np.ndarray
    taken_vectors: list[int]
    taken_scalars: list[int]


def unpack(vectors: np.ndarray) -> np.ndarray:
    """(n, lanes) words of BF16 pairs as (2n, lanes) FP32 patterns, in element order."""
    lanes = vectors.shape[1]
    halves = np.ascontiguousarray(vectors).view("<u2")
    return (halves.astype(np.uint32) << np.uint32(16)).reshape(-1, lanes)


def pack_rows(values: np.ndarray, lanes: int, packed: bool = True) -> np.ndarray:
    """float32 ``values`` [rows, n] as the vectors (m, lanes) of a row-major stream, rows padded with zeros."""
    values = np.atleast_2d(np.asarray(values, dtype=np.float32))
    width = lanes * (2 if packed else 1)
    padded = np.zeros((values.shape[0], -(-values.shape[1] // width) * width), dtype=np.float32)
    padded[:, :values.shape[1]] = values
    words = fp32_to_bf16(padded).view("<u4") if packed else padded.view(np.uint32)
    return words.reshape(-1, lanes)


def unpack_bytes(vectors: np.ndarray) -> np.ndarray:
    """(n, lanes) words of four INT8 as (4n, lanes) FP32 patterns, in element order."""
    numbers = np.ascontiguousarray(vectors, dtype="<u4").view(np.int8).astype(np.float32)
    return numbers.view(np.uint32).reshape(-1, vectors.shape[1])


def pack_bytes(values: np.ndarray, lanes: int) -> np.ndarray:
    """INT8 ``values`` [rows, n] as the vectors (m, lanes) of a row-major stream, rows padded with zeros to whole vectors."""
    values = np.atleast_2d(np.asarray(values, dtype=np.int8))
    padded = np.zeros((values.shape[0], -(-values.shape[1] // (4 * lanes)) * 4 * lanes), dtype=np.int8)
    padded[:, :values.shape[1]] = values
    return padded.view("<u4").astype(np.uint32).reshape(-1, lanes)


def run(program: int, config: PCUConfig, vectors: dict[int, np.ndarray], scalars: dict[int, np.ndarray] | None = None) -> Streams:
    """Runs the packed ``program`` (bits of ``pcu_layout``) on streams: ``vectors[i]`` (n, lanes), ``scalars[i]`` (n,) words."""
    fields = pcu_layout(config).from_bits(program)
    vectors = {port: np.asarray(words, dtype=np.uint32).reshape(-1, config.lanes) for port, words in vectors.items()}
    scalars = {port: np.asarray(words, dtype=np.uint32).ravel() for port, words in (scalars or {}).items()}
    if fields.mode == Mode.SYSTOLIC:
        results, half, flush, taken = _systolic(fields, config, vectors)
        taken_scalars = [0] * config.scalar_inputs
    else:
        results, half, flush, taken, taken_scalars = _simd(fields, config, vectors, scalars)
    results = tail(fields.function, results[0]), results[1]
    out = np.where(results[1], results[0], 0).astype(np.uint32)
    if fields.output_packed:
        out = _pack_output(fields, out, half, flush)
    empty = np.zeros((0, config.lanes), dtype=np.uint32)
    return Streams(out if fields.to_vector else empty, out[:, 0] if fields.to_scalar else empty[:, 0], taken, taken_scalars)


def _pack_output(fields, out, half, flush):
    narrow = fp32_to_bf16(out)
    if fields.stochastic:
        number, lane = np.arange(len(out))[:, None], np.arange(out.shape[1])
        random = counter_random(fields.seed, np.broadcast_to(lane // 2, out.shape), np.broadcast_to(number, out.shape))
        narrow = fp32_to_bf16_stochastic(out, random >> (16 * (lane % 2)).astype(np.uint32))
    packed, lower = [], np.zeros_like(narrow[:1])[0]
    for row, upper, complete in zip(narrow, half, flush, strict=True):
        if not upper:
            lower = row
        if complete:
            packed.append(np.concatenate([lower, row]) if upper else np.concatenate([row, np.zeros_like(row)]))
    return np.array(packed, dtype=np.uint16).reshape(-1, 2 * out.shape[1]).view("<u4").astype(np.uint32)


# Systolic mode ------------------------------------------------------------------------------------------------------------
def _systolic(fields, config, vectors):
    _groups, blocks, k, chunks, columns, row_tiles = (fields.bounds[level] for level in range(6))
    lanes, ports = config.lanes, fields.vector_input
    pairs, int8 = bool(fields.stage_pairs), bool(ports[0].int8)
    blocks, packed = (2 * blocks, True) if pairs else (blocks, ports[0].packed and not int8)
    block_vectors = -(-blocks // (4 if int8 else 2)) if int8 or packed else blocks
    row_vectors = fields.row_vectors
    taken, out = [0] * config.vector_inputs, []

    def take(port, count, packed):
        words = vectors[port][taken[port]:taken[port] + count]
        taken[port] += count
        return unpack(words) if packed else words

    for row_tile in range(row_tiles):
        rows = fields.last_rows if row_tile == row_tiles - 1 else fields.rows
        x = None
        for _ in range(columns):
            sums = np.zeros((rows, blocks, lanes), dtype=np.uint32)
            if fields.initial == Initial.BIAS:
                sums[:] = take(2, blocks, False)
            elif fields.initial == Initial.PARTIAL:
                sums[:] = take(2, rows * blocks, False).reshape(sums.shape)
            scales = take(SCALE_INPUT, blocks, False) if int8 else None
            for _ in range(chunks):
                if x is None or not fields.reuse:
                    x = take(1, rows * row_vectors, ports[1].packed).reshape(rows, -1)
                w = take(0, k * block_vectors, packed)
                w = (unpack_bytes(w) if int8 else w).reshape(k, -1, lanes)[:, :blocks]
                if int8:
                    w = fp32_mul(np.broadcast_to(scales, w.shape), w)
                for step in range(k):
                    sums = mac(sums, w[step][None], x[:, step, None, None])
            out.append(sums.reshape(-1, lanes))
    out = np.concatenate(out)
    block = np.arange(len(out)) % blocks
    return (out, np.ones_like(out, dtype=bool)), block % 2 == 1, (block % 2 == 1) | (block == blocks - 1), taken


# SIMD mode ----------------------------------------------------------------------------------------------------------------
def _simd(fields, config, vectors, scalars):
    bounds = [fields.bounds[level] for level in range(levels(config))]
    count, lanes = int(np.prod(bounds, dtype=np.int64)), config.lanes
    index, rest = [], np.arange(count)
    for bound in bounds:
        index.append(rest % bound)
        rest = rest // bound
    at_end = [counter == bound - 1 for counter, bound in zip(index, bounds, strict=True)]

    def below(conditions, level):
        return np.logical_and.reduce([np.ones(count, dtype=bool), *conditions[:level]])

    def read(port, words):
        """What each iteration sees of an input, and how many packets are popped."""
        parts = 4 if port.int8 else 2 if port.packed else 1
        part = index[port.level] % parts
        pop = below(at_end, port.level) & ((part == parts - 1) | at_end[port.level])
        place = np.cumsum(pop) - pop
        elements = unpack_bytes(words) if port.int8 else unpack(words) if port.packed else words
        return elements[parts * place + part], int(pop.sum())

    slots, taken, taken_scalars = [np.zeros((count, lanes), dtype=np.uint32)] * SLOTS, [], []
    held = [np.zeros(count, dtype=np.uint32)] * config.scalar_inputs
    for number in range(config.vector_inputs):
        port, popped = fields.vector_input[number], 0
        if port.used:
            slots[number], popped = read(port, vectors[number])
        taken.append(popped)
    for number in range(config.scalar_inputs):
        port, popped = fields.scalar_input[number], 0
        if port.used:
            held[number], popped = read(port, scalars[number])
        taken_scalars.append(popped)

    element = index[fields.mask_level][:, None] * lanes + np.arange(lanes)
    uniform = {Source(Source.SCALAR0.value + i): words for i, words in enumerate(held)}
    uniform |= {Source(Source.COUNTER0.value + i): words for i, words in enumerate(index)}
    uniform |= {Source(Source.CONSTANT0.value + i): np.full(count, fields.constants[i]) for i in range(CONSTANTS)}
    uniform |= {name: np.full(count, bits) for name, bits in FP_CONSTANTS.items()} | {Source.ZERO: np.zeros(count)}

    def operand(source):
        if source.value < SLOTS:
            return slots[source.value]
        if source == Source.LANE:
            return np.broadcast_to(np.arange(lanes, dtype=np.uint32), (count, lanes))
        if source == Source.ELEMENT:
            return element.astype(np.uint32)
        return np.broadcast_to(uniform[source].astype(np.uint32)[:, None], (count, lanes))

    for number in range(config.stages):
        stage = fields.stages[number]
        if stage.op != Op.NOP:
            slots = list(slots)
            if stage.c == Source.ACCUMULATOR:
                slots[stage.slot] = _accumulate(fields, bounds, operand(stage.a), operand(stage.b))
            else:
                slots[stage.slot] = evaluate(stage.op, operand(stage.a), operand(stage.b), operand(stage.c))

    mask = element < fields.mask_bound if fields.mask_used else np.ones((count, lanes), dtype=bool)
    first_loop = fields.accumulate if fields.accumulate_used else 0
    last = np.logical_and.reduce([np.ones(count, dtype=bool), *at_end[first_loop:fields.produce]])
    pairs = 0 if fields.accumulate_used else fields.produce
    half, flush = index[pairs] % 2 == 1, at_end[pairs]
    result = slots[fields.result]
    if fields.reduce == Reduce.NONE:
        result, mask = result[last], mask[last]
    else:
        groups = int(np.prod(bounds[:fields.produce], dtype=np.int64))
        words = _reduce(fields.reduce, result.reshape(-1, groups, lanes), mask.reshape(-1, groups, lanes))
        result = np.repeat(words[:, None], lanes, axis=1)
        mask = np.ones_like(result, dtype=bool)
    return (result, mask), half[last], (half | flush)[last], taken, taken_scalars


def _accumulate(fields, bounds, a, b):
    """Running sums of a * b over the accumulating loops, one for each iteration of the loops below and above."""
    inner = int(np.prod(bounds[:fields.accumulate], dtype=np.int64))
    steps = int(np.prod(bounds[fields.accumulate:fields.produce], dtype=np.int64))
    a, b = (np.broadcast_to(words, (len(words), words.shape[1])).reshape(-1, steps, inner, words.shape[1]) for words in (a, b))
    sums = np.zeros(a.shape, dtype=np.uint32)
    total = np.zeros_like(sums[:, 0])
    for step in range(steps):
        sums[:, step] = total = mac(total, a[:, step], b[:, step])
    return sums.reshape(-1, a.shape[-1])


def _pairwise(values: np.ndarray) -> np.ndarray:
    """Neighbours added level by level along the last axis; an odd one passes."""
    while values.shape[-1] > 1:
        even = values.shape[-1] // 2 * 2
        sums = fp32_add(values[..., 0:even:2], values[..., 1:even:2])
        values = np.concatenate([sums, values[..., even:]], axis=-1)
    return values[..., 0]


def _reduce(kind, values, mask):
    """``values`` (outputs, iterations, lanes): tree over lanes, then over the iterations of each output."""
    if kind == Reduce.SUM:
        words = _pairwise(np.where(mask, values, NEGATIVE_ZERO))
        partial = [fp32_add(words[:, j], NEGATIVE_ZERO) for j in range(min(PARTIALS, words.shape[1]))]
        for i in range(PARTIALS, words.shape[1]):
            partial[i % PARTIALS] = fp32_add(words[:, i], partial[i % PARTIALS])
        return canonical(_pairwise(np.stack(partial, axis=-1)))
    signed = values.astype(np.int32).astype(np.int64)
    key = np.where(signed < 0, signed ^ 0x7FFFFFFF, signed)
    if kind == Reduce.MIN:
        key = ~key
    magnitude = values & np.uint32(0x7FFFFFFF)
    if kind == Reduce.ARGMAX:
        key = np.where(magnitude == 0, 0, key)
    key = np.where(np.isnan(as_float(values)), 0x7FFFFFFF, key)
    # The key of -inf (for MIN: of +inf).
    key = np.where(mask, key, np.int64(0x807FFFFF) - (1 << 32)).reshape(len(values), -1)
    best = np.argmax(key, axis=1)
    if kind == Reduce.ARGMAX:
        return best.astype(np.uint32)
    flat = np.where(mask, values, np.uint32(0xFF800000 if kind == Reduce.MAX else 0x7F800000)).reshape(len(values), -1)
    return canonical(flat[np.arange(len(flat)), best])

