"""One expert's passes over tokens on a device: which kernels are launched with which arguments."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from coe_app.kernels import _copy
from sw_driver.device import HBM, Device
from sw_driver.kernel import Kernel
from sw_driver.memory import Buffer

from . import kernels
from .builder import Levers
from .decode import X_PLACES, DecodeKernels
from .shape import CONTEXT, DIM, HIDDEN, LAYERS, QKV, VOCABULARY
from .streams import (
    CACHE_MARGIN,
    CHUNK,
    KV_ROW_BYTES,
    OUT_FEATURES,
    PAIRS,
    RECORD_BYTES,
    ImageLayout,
    cache_image,
    limit_table,
    query_rows,
    rotary_table,
    woven_first,
)

__all__ = ["Engine"]

FP32 = 4
BIAS = int(-limit_table()[0])            # entry of the limit table that holds 0


class Engine:
    """Runs prefill and decode steps of whichever expert lies at an HBM address.

    Parameters
    ----------
    device: an open device.
    layout: of an expert's image.
    levers: for measurements of what they gain.
    look_ahead: leave an AGCU to the copy kernel, which can then run beside the others.
    launch: called with (kernel, arguments) for every launch; default: ``device.launch``.

    ``logits``, ``best``, ``tokens``, ``x``: HBM buffers of the results and inputs. ``position``: tokens in the cache.
    """

    def __init__(self, device: Device, layout: ImageLayout, launch: Callable | None = None, *,
                 look_ahead: bool = False, levers: Levers | None = None):
        self.device, self.layout, self._levers = device, layout, levers
        config = device.config
        copy = _copy(config)
        self.copy = copy.build()
        beside = (copy,) if look_ahead else ()
        self.enter, self.attend, self.head = (
            make(config, beside, levers, **(kernels.LOOK_AHEAD[name] if look_ahead else {})) for name, make in (
                ("enter", kernels.enter_kernel), ("attend", kernels.attend_kernel), ("head", kernels.head_kernel)))
        self.embedding = kernels.embedding_kernel(config, beside)
        self._launch = launch or (lambda kernel, **arguments: device.launch(kernel, **arguments))
        self._rotary = device.upload(HBM, rotary_table(config.lanes))
        self._limits = device.upload(HBM, limit_table())
        self._empty = cache_image()
        self.caches = [device.upload(HBM, self._empty) for _ in range(LAYERS)]
        self.tokens = device.allocate(HBM, 4 * CONTEXT)
        self.x = device.allocate(HBM, RECORD_BYTES * CONTEXT)                # records that enter the first layer
        self._y = [device.allocate(HBM, RECORD_BYTES * CONTEXT) for _ in range(2)]
        self._hidden = device.allocate(HBM, 2 * HIDDEN * CONTEXT)
        self.logits = device.allocate(HBM, FP32 * VOCABULARY)
        self.best = device.allocate(HBM, config.beat_bytes)
        self.position = 0

    def restart(self) -> None:
        """Forgets the conversation; what the caches hold is masked or overwritten, never read."""
        self.position = 0

    def prefill(self, weights: Buffer, tokens: np.ndarray) -> None:
        """Runs ``tokens`` at the positions that follow, and the head on the last of them."""
        count = len(tokens)
        self._check(count)
        self.device.write(self.tokens, np.asarray(tokens, dtype=np.int32))
        self.embed(weights, self.tokens.address, count)
        self._layers(weights.address, count)
        self._run(self.head_launches(weights.address, count - 1))

    def embed(self, weights: Buffer, tokens: int, count: int) -> None:
        """Embedding rows of ``count`` token words at HBM address ``tokens`` to the first layer's input."""
        self._launch(self.embedding, **self.embedding_arguments(weights.address, count))

    def step(self, weights: Buffer) -> None:
        """One decode step of the token whose embedding the head left in ``x``."""
        self._check(1)
        self._layers(weights.address, 1)
        self._run(self.head_launches(weights.address, 0))

    def _check(self, count: int) -> None:
        if count < 1 or self.position + count > CONTEXT:
            raise ValueError(f"{count} tokens after position {self.position}: the context holds {CONTEXT}")

    def _layers(self, weights: int, count: int) -> None:
        for layer in range(LAYERS):
            for first in range(0, count, kernels.ENTER_ROWS):        # one kernel for all rows, then the other: two program loads
                rows = min(kernels.ENTER_ROWS, count - first)
                self._run(self.enter_launches(weights, layer, first, rows))
            for first in range(0, count, kernels.ATTEND_ROWS):
                rows = min(kernels.ATTEND_ROWS, count - first)
                position = self.position + first
                tiles = (position + rows - 1) // kernels.TILE + 1
                self._run(self.attend_launches(weights, layer, first, rows, position, tiles))
        self.position += count

    def _run(self, launches: list[tuple[Kernel, dict]]) -> None:
        for kernel, arguments in launches:
            self._launch(kernel, **arguments)

    # What is launched for a pass; other ways to cut the decoder into kernels override these ------------------------------------
    def enter_launches(self, weights, layer: int, first, rows: int) -> list[tuple[Kernel, dict]]:
        """Kernels and arguments of the entering products of a pass."""
        return [(self.enter, self.enter_arguments(weights, layer, first, rows))]

    def attend_launches(self, weights, layer: int, first, rows: int, position, tiles) -> list[tuple[Kernel, dict]]:
        """Kernels and arguments of a pass from the projections to the layer's result."""
        return [(self.attend, self.attend_arguments(weights, layer, first, rows, position, tiles))]

    def head_launches(self, weights, row: int) -> list[tuple[Kernel, dict]]:
        """Kernels and arguments from the last layer's result to the next token."""
        return [(self.head, self.head_arguments(weights, row))]

    def supply_launches(self, weights, steps, position) -> list[tuple[Kernel, dict]]:
        """What runs beside all ``steps`` of a decode by schedule from ``position`` on, and what brings the first its x."""
        offsets = self.layout.offsets
        first = weights + offsets["in0"]
        return [(self.decode.supply, {"steps": steps, "first": first, "second": first + CHUNK * self.device.config.beat_bytes,
                                      "out": weights + offsets["out0"],
                                      "rotary": self._rotary_row(position)}),
                (self.decode.begin, {"tokens": self.best.address, "embedding": weights + offsets["embedding"]})]

    def step_launches(self, weights, position, tiles) -> list[tuple[Kernel, dict]]:
        """Kernels and arguments of a step of a decode by schedule."""
        built, x, row = self.decode, X_PLACES, KV_ROW_BYTES // self.device.config.beat_bytes
        launches = []
        for layer in range(LAYERS):
            here, there = x[layer % 2], x[(layer + 1) % 2]
            enter = {"x": here, "x_again": here, "qkv": weights + self.layout.offsets[f"qkv{layer}"]}
            given = self.attend_arguments(weights, layer, 0, 1, position, tiles) | {
                "x": here, "x_right": here + 2 * OUT_FEATURES, "y": there,
                "keys_values": self._cache(layer) + (position - tiles * kernels.TILE + 1) * KV_ROW_BYTES,
                "before": tiles * (kernels.TILE * row) - row}
            launches += [(built.enter, enter), (built.attend, {name: given[name] for name in built.attend.arguments})]
        given = self.head_arguments(weights, 0) | dict.fromkeys(("x", "x_again"), x[LAYERS % 2])
        return [*launches, (built.head, {name: given[name] for name in built.head.arguments})]

    @cached_property
    def decode(self) -> DecodeKernels:
        """The kernels of a decode by schedule, built when they are first asked for."""
        return DecodeKernels.of(self.device.config, self._levers)

    # Arguments: addresses, row numbers and positions may be values of a schedule ----------------------------------------------
    def embedding_arguments(self, weights, count: int) -> dict:
        """Arguments of the embedding kernel for the first ``count`` token words."""
        return {"rows": count, "tokens": self.tokens.address, "embedding": weights + self.layout.offsets["embedding"],
                "x": self.x.address}

    def _cache(self, layer: int) -> int:
        """Address of position 0."""
        return self.caches[layer].address + CACHE_MARGIN * KV_ROW_BYTES

    def _rotary_row(self, position):
        return self._rotary.address + position * (2 * QKV * FP32)

    def _source(self, layer: int) -> int:
        return self._y[(layer - 1) % 2].address if layer else self.x.address

    def enter_arguments(self, weights, layer: int, first, rows: int) -> dict:
        """Arguments of the enter kernel for rows ``first`` and following of the pass."""
        record, offsets = self._source(layer) + first * RECORD_BYTES, self.layout.offsets
        return {"rows": rows, "records": record, "projected": record + FP32 * DIM, "hidden": self._hidden.address + first * (2 * HIDDEN),
                "qkv": weights + offsets[f"qkv{layer}"], **{name: weights + self._woven(f"in{layer}", name) for name in PAIRS[0]}}

    def attend_arguments(self, weights, layer: int, first, rows: int, position, tiles) -> dict:
        """Arguments of the attend kernel for rows ``first`` and following of the pass, at ``position`` and following."""
        cache, target = self._cache(layer), self._y[layer % 2].address + first * RECORD_BYTES
        return {
            "rows": rows, "query_rows": query_rows(rows), "tiles": tiles,
            "records": self._source(layer) + first * RECORD_BYTES, "hidden": self._hidden.address + first * (2 * HIDDEN),
            "out": weights + self.layout.offsets[f"out{layer}"],
            "rotary": self._rotary_row(position), "limits": self._limits.address + FP32 * BIAS + position * FP32,
            "append": cache + position * KV_ROW_BYTES, "keys_values": cache, "y": target, "y_right": target + FP32 * OUT_FEATURES}

    def head_arguments(self, weights, row: int) -> dict:
        """Arguments of the head kernel on ``row`` of the last layer's result."""
        offsets = self.layout.offsets
        return {
            "row": self._y[(LAYERS - 1) % 2].address + row * RECORD_BYTES, "logits": self.logits.address,
            **{name: weights + self._woven("head", name) for name in PAIRS[1]},
            "embedding": weights + offsets["embedding"], "best": self.best.address, "next": self.x.address}

    def _woven(self, pair: str, name: str) -> int:
        return self.layout.offsets[pair] + woven_first(name) * self.device.config.beat_bytes

    def read_logits(self) -> np.ndarray:
        """float32 [VOCABULARY] of the last token."""
        return self.device.read(self.logits, np.float32, (VOCABULARY,))

    def read_best(self) -> int:
        """The token with the largest logit, as the device found it."""
        return int(self.device.read(self.best, np.int32, (self.device.config.lanes,))[0])
