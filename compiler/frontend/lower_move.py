"""Operators that only move data: access patterns where possible, COPY where parts join, GATHER and UPDATE by index."""

from __future__ import annotations

from math import prod

import numpy as np

from ..graph.emit import Emitter
from .operators import Call, core_value, lowers

__all__: list[str] = []

MOST_PLACES = 1 << 16    # of a scatter that adds: rows of the target times rows of the values
FEW = 8          # rows of a gather with constant indices that are better copied one by one


@lowers("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(e: Emitter, call: Call) -> str:
    return e.reshape(call[0], call.output().shape)


@lowers("Transpose")
def _transpose(e: Emitter, call: Call) -> str:
    return e.transpose(call[0], call.get("perm", tuple(reversed(range(len(call.shape(0)))))))


@lowers("Expand")
def _expand(e: Emitter, call: Call) -> str:
    return e.expand(call[0], call.output().shape)


@lowers("Tile")
def _tile(e: Emitter, call: Call) -> str:
    x = call[0]
    for axis, repeats in enumerate(call.integers(1)):
        x = e.tile(x, axis, repeats) if repeats > 1 else x
    return x


@lowers("Slice")
def _slice(e: Emitter, call: Call) -> str:
    starts, ends = call.integers(1), call.integers(2)
    axes, steps = call.integers(3, list(range(len(starts)))), call.integers(4, [1] * len(starts))
    x = call[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        chosen = range(e.shape(x)[axis])[slice(start, end if end > -2**31 else None, step)]
        x = e.slice(x, axis, chosen.start, len(chosen), step)
    return x


@lowers("Split")
def _split(e: Emitter, call: Call) -> list[str]:
    axis, position, parts = call.axis(0), 0, []
    for number in range(len(call.node.outputs)):
        count = call.output(number).shape[axis]
        parts.append(e.slice(call[0], axis, position, count) if count else e.constant(core_value(call.output(number))))
        position += count
    return parts


@lowers("Concat")
def _concat(e: Emitter, call: Call) -> str:
    return e.concat(call.all, call.get("axis"))


@lowers("DepthToSpace", "SpaceToDepth")
def _depth(e: Emitter, call: Call) -> str:
    batch, channels, height, width = call.shape(0)
    size = call.get("blocksize")
    if call.node.op == "SpaceToDepth":
        x = e.reshape(call[0], (batch, channels, height // size, size, width // size, size))
        return e.reshape(e.transpose(x, (0, 3, 5, 1, 2, 4)), call.output().shape)
    depth = channels // size**2
    if call.get("mode", "DCR") == "DCR":
        x = e.transpose(e.reshape(call[0], (batch, size, size, depth, height, width)), (0, 3, 4, 1, 5, 2))
    else:
        x = e.transpose(e.reshape(call[0], (batch, depth, size, size, height, width)), (0, 1, 4, 2, 5, 3))
    return e.reshape(x, call.output().shape)


@lowers("Trilu")
def _trilu(e: Emitter, call: Call) -> str:
    diagonal = call.integers(1, [0])[0]
    rank = len(call.shape(0))

    def keep(x):
        row, column = x.index(rank - 2), x.index(rank - 1)
        inside = row + diagonal <= column if call.get("upper", 1) else column <= row + diagonal
        return inside.select(x, 0)

    return e.map(keep, call[0], dtype=call.output_dtype())


@lowers("OneHot")
def _one_hot(e: Emitter, call: Call) -> str:
    depth, (off, on) = call.integers(1)[0], call.constant(2)
    rank = len(call.shape(0)) + 1
    axis = call.axis(-1, rank)
    indices = e.reshape(call[0], (*call.shape(0)[:axis], 1, *call.shape(0)[axis:]))
    on, off = (float(on), float(off)) if call.output_dtype().is_float else (int(on), int(off))

    def chosen(index):
        hit = (index < 0).select(index + depth, index).equals(index.index(axis))
        return hit.select(hit.to_float() * 0.0 + on, off) if isinstance(on, float) else hit.select(hit * 0 + on, off)

    return e.map(chosen, indices, dtype=call.output_dtype(), shape=call.output().shape)


def _positive(e: Emitter, indices: str, size: int) -> str:
    """Indices that count from the end made to count from the start; those of graph inputs are taken as they are not known."""
    value = e.tensors[indices].value
    if value is not None:
        return e.constant(np.where(value < 0, value + size, value).astype(np.int32))
    return e.map(lambda index: (index < 0).select(index + size, index), indices)


@lowers("Gather")
def _gather(e: Emitter, call: Call) -> str:
    axis, rank = call.axis(0), len(call.shape(0))
    size, known = call.shape(0)[axis], call.tensor(1).value
    kept = (*call.shape(0)[:axis], *call.shape(1), *call.shape(0)[axis + 1:])
    if known is not None:
        rows = [int(index) % size for index in known.reshape(-1)]
        if not all(-size <= index < size for index in known.reshape(-1)):
            raise call.error(f"indices {known.min()} to {known.max()} into {size} rows")
        step = rows[1] - rows[0] if len(rows) > 1 else 1
        if rows == [rows[0] + step * number for number in range(len(rows))]:
            return e.reshape(e.slice(call[0], axis, rows[0], len(rows), step), kept)
        if len(rows) <= FEW:
            return e.reshape(e.concat([e.slice(call[0], axis, row, 1) for row in rows], axis), kept)
    table = e.transpose(call[0], (axis, *(other for other in range(rank) if other != axis)))
    found = e.gather(table, _positive(e, call[1], size))
    count = len(call.shape(1))
    order = (*range(count, count + axis), *range(count), *range(count + axis, count + rank - 1))
    return e.transpose(found, order)


def _flat_index(e: Emitter, call: Call, axis: int) -> str:
    """GatherElements, ScatterElements: position in the flattened tensor of each index."""
    shape, indices = call.shape(0), call[1]
    strides = [prod(shape[other + 1:]) for other in range(len(shape))]

    def flat(index):
        total = (index < 0).select(index + shape[axis], index) * strides[axis]
        for other, stride in enumerate(strides):
            if other != axis:
                total = total + index.index(other) * stride
        return total

    return e.map(flat, indices)


@lowers("GatherElements")
def _gather_elements(e: Emitter, call: Call) -> str:
    return e.gather(e.reshape(call[0], (prod(call.shape(0)),)), _flat_index(e, call, call.axis(0)))


@lowers("ScatterElements")
def _scatter_elements(e: Emitter, call: Call) -> str:
    count, size = prod(call.shape(1)), prod(call.shape(0))
    places = e.reshape(_flat_index(e, call, call.axis(0)), (count,))
    return _scattered(e, call, places, (size,), (count,))


def _scattered(e: Emitter, call: Call, places: str, target: tuple[int, ...], values: tuple[int, ...]) -> str:
    """Rows of input 2 (as ``values``) put at ``places`` of input 0 (as ``target``), or added: a product with a matrix that has a 1 where a
    row goes."""
    reduction = call.get("reduction", "none")
    rows, updates = e.reshape(call[0], target), e.reshape(call[2], values)
    if reduction == "none":
        return e.reshape(e.update(rows, updates, places), call.shape(0))
    if reduction != "add" or not e.dtype(rows).is_float or target[0] * values[0] > MOST_PLACES:
        raise call.error(f"reduction {reduction!r} of {values[0]} rows into {target[0]}, {e.dtype(rows).value}; replacing is there, and "
                         f"'add' of floats where the product of both is at most {MOST_PLACES}")
    chosen = e.map(lambda place: place.equals(place.index(0)).to_float(), e.reshape(places, (1, values[0])), shape=(target[0], values[0]),
                   dtype=e.dtype(rows))
    total = e.matmul(chosen, e.reshape(updates, (values[0], prod(values[1:]))))
    return e.reshape(e.map(lambda x, y: x + y, rows, e.reshape(total, target)), call.shape(0))


def _row_number(e: Emitter, call: Call) -> tuple[str, int, int]:
    """GatherND, ScatterND: row of each index tuple in the tensor whose first axes are one; how many rows, and tuples."""
    shape, width = call.shape(0), call.shape(1)[-1]
    leading, count = shape[:width], prod(call.shape(1)[:-1])
    tuples = e.reshape(call[1], (count, width))
    parts = [e.reshape(e.slice(tuples, 1, axis, 1), (count,)) for axis in range(width)]

    def row(*indices):
        total = None
        for axis, index in enumerate(indices):
            part = (index < 0).select(index + leading[axis], index) * prod(leading[axis + 1:])
            total = part if total is None else total + part
        return total

    return e.map(row, *parts), prod(leading), count


@lowers("GatherND")
def _gather_nd(e: Emitter, call: Call) -> str:
    if call.get("batch_dims", 0):
        raise call.error("batch_dims is not there")
    rows, size, _ = _row_number(e, call)
    table = e.reshape(call[0], (size, *call.shape(0)[call.shape(1)[-1]:]))
    return e.reshape(e.gather(table, rows), call.output().shape)


@lowers("ScatterND")
def _scatter_nd(e: Emitter, call: Call) -> str:
    rows, size, count = _row_number(e, call)
    inner = call.shape(0)[call.shape(1)[-1]:]
    return _scattered(e, call, rows, (size, *inner), (count, *inner))


@lowers("TensorScatter")
def _tensor_scatter(e: Emitter, call: Call) -> str:
    """The cache append: new[B, ..., M, ...] into past[B, ..., N, ...] from position write_indices[B] of ``axis`` on."""
    if call.get("mode", "linear") != "linear":
        raise call.error(f"mode {call.get('mode')!r}; only linear is there")
    shape, axis = call.shape(0), call.axis(-2)
    leading, size, count = shape[:axis], shape[axis], call.shape(1)[axis]
    start = e.reshape(call[2], (shape[0], *((1,) * axis))) if call.has(2) else e.constant(np.zeros((1,) * (axis + 1), np.int32))

    def row(first):
        total = first + first.index(axis)
        for other, stride in enumerate(prod(leading[other + 1:]) * size for other in range(axis)):
            total = total + first.index(other) * stride
        return total

    places = e.map(row, start, shape=(*leading, count))
    rows = prod(leading) * count
    updated = e.update(e.reshape(call[0], (prod(leading) * size, *shape[axis + 1:])),
                       e.reshape(call[1], (rows, *shape[axis + 1:])), e.reshape(places, (rows,)))
    return e.reshape(updated, shape)


