"""Memory images of an expert: every weight matrix in the order in which the decoder's kernels read it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from hw.config import RDUConfig
from hw.fp import model as fp

from .decoder import Expert, hidden_order, rotary_rows
from .shape import CONTEXT, DIM, HEAD_DIM, HEADS, LAYERS, QKV

__all__ = ["CACHE_MARGIN", "CHUNK", "GRANULE", "KV_ROW_BYTES", "OUT_FEATURES", "OUT_SHARES", "PAIRS", "QKV_TILES", "RECORD_BYTES",
           "ROTATED", "ImageLayout", "cache_image", "expert_image", "limit_table", "query_rows", "rotary_table", "woven_first",
           "woven_loops"]

GRANULE = 16             # vectors that a stage buffer sends to one of its two readers before it turns to the other
QKV_TILES = 2            # column tiles of the projection to queries, keys and values
ROTATED = 6              # blocks of queries, keys and values that are rotated together
OUT_FEATURES = 48        # of the output product for its first unit; the rest for the other
OUT_SHARES = 48, 16      # vectors of its weights that go to the one, then to the other
KV_ROW_BYTES = 4 * HEAD_DIM + 32         # a position of the cache: key, value, and the vector that makes the sum of weights
RECORD_BYTES = 4 * (DIM + QKV)           # a token on its way through a layer: residual row, then projections, FP32
CHUNK = 128              # beats that lie in one HBM channel before the next one's (the TLN's granularity after reset)
# Streams that are read at the same time take turns by chunks: each has a channel to itself, and two load a beat each in every cycle.
PAIRS = (("gate", "up"), ("left", "right"))
CACHE_MARGIN = HEAD_DIM  # positions of zeros before the first, weightless: decode reads whole tiles that end with its own


def _tiles(matrix: np.ndarray, width: int) -> np.ndarray:
    """[k, n] cut into columns of ``width``, each row-major: the order of a systolic unit's weights."""
    return np.concatenate([matrix[:, start:start + width].reshape(-1) for start in range(0, matrix.shape[1], width)])


def _shared(first: np.ndarray, second: np.ndarray, lanes: int, shares: tuple[int, int] = (GRANULE, GRANULE)) -> np.ndarray:
    """Two streams dealt in turn, ``shares`` vectors at a time: first, second, first, ..."""
    parts = (part.reshape(-1, share * 2 * lanes) for part, share in zip((first, second), shares, strict=True))
    return np.concatenate(list(parts), axis=1).reshape(-1)


def _halves(matrix: np.ndarray, width: int, lanes: int) -> np.ndarray:
    """The left and the right half of the columns, each in tiles of ``width``, dealt to two units."""
    left, right = np.split(matrix, 2, axis=1)
    return _shared(_tiles(left, width), _tiles(right, width), lanes)


def _woven(lanes: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two streams of equal length, chunk by chunk in turn."""
    return np.stack([part.reshape(-1, CHUNK * 2 * lanes) for part in (first, second)], axis=1).reshape(-1)


def _streams(expert: Expert, lanes: int) -> dict[str, np.ndarray]:
    def tensor(name: str) -> np.ndarray:
        return fp.fp32_to_bf16(expert.device_tensor(name))          # exact: the factor is a power of two

    def out(layer: int) -> np.ndarray:
        whole = tensor(f"out{layer}")
        return _shared(*np.split(np.concatenate([whole[DIM:][order], whole[:DIM]]), [OUT_FEATURES], axis=1), lanes, OUT_SHARES)

    order, streams, layers = hidden_order(lanes), {"embedding": tensor("embedding").reshape(-1)}, range(LAYERS)
    for layer in layers:
        streams[f"in{layer}"] = _woven(
            lanes, _halves(tensor(f"gate{layer}"), 6 * lanes, lanes), _halves(tensor(f"up{layer}"), 6 * lanes, lanes))
    left, right = np.split(tensor("head"), 2, axis=1)
    streams["head"] = _woven(lanes, _halves(left, 8 * lanes, lanes), _halves(right, 8 * lanes, lanes))
    streams |= {f"qkv{layer}": _tiles(tensor(f"qkv{layer}"), QKV // QKV_TILES) for layer in layers}
    return streams | {f"out{layer}": out(layer) for layer in layers}


@dataclass(frozen=True)
class ImageLayout:
    """Byte offset of each stream in an expert's image, and the image's size."""

    offsets: dict[str, int]
    size: int


def woven_first(name: str) -> int:
    """Beats from the beginning of a pair of streams to the first of ``name``."""
    return CHUNK * next(pair.index(name) for pair in PAIRS if name in pair)


def woven_loops(total_beats: int) -> tuple[int, tuple[int, int]]:
    """The loops, in beats, that read the ``total_beats`` of one stream of a pair."""
    return CHUNK, (total_beats // CHUNK, 2 * CHUNK)


def expert_image(expert: Expert, config: RDUConfig) -> tuple[np.ndarray, ImageLayout]:
    """The expert as it lies in device memory, uint8, and where its streams are."""
    streams = {name: value.view(np.uint8) for name, value in _streams(expert, config.lanes).items()}
    offsets = dict(zip(streams, accumulate((value.size for value in streams.values()), initial=0), strict=False))
    image = np.concatenate(list(streams.values()))
    return image, ImageLayout(offsets, image.size)


def rotary_table(lanes: int) -> np.ndarray:
    """float32 [CONTEXT, 2 QKV]: for each position the cosines of ROTATED blocks, then their sines, and so on."""
    return np.stack([table.reshape(CONTEXT, -1, ROTATED * lanes) for table in rotary_rows()], axis=2).reshape(CONTEXT, -1)


def limit_table() -> np.ndarray:
    """int32: entry i is i + HEAD_DIM - CONTEXT: the last element that a query may see of a tile, for any position and tile."""
    return np.arange(HEAD_DIM - CONTEXT, CONTEXT, dtype=np.int32)


def cache_image() -> np.ndarray:
    """An empty key-value cache of one layer, uint8: zeros, and, behind CACHE_MARGIN positions, the one beside each value."""
    rows = np.zeros((CACHE_MARGIN + CONTEXT, KV_ROW_BYTES // 2), dtype=np.uint16)
    rows[CACHE_MARGIN:, 2 * HEAD_DIM] = 0x3F80
    return rows.view(np.uint8).reshape(-1)


def query_rows(tokens: int) -> int:
    """Rows of the attention for ``tokens`` tokens: a row for every head."""
    return tokens * HEADS
