"""Decode's kernels: the weights of all steps as one stream that does not pause, and beside it the kernels that use them.

``supply`` (launch group 1) runs through a whole decode. It brings an expert's weights from HBM, in the order of their use, into stage
buffers and on to vector input 0 of six PCUs. ``enter`` and ``attend`` for each layer and ``head`` (group 0) follow one another on all
eight PCUs and find their weights waiting: in the time that norms, attention and stores take, the stage buffers run ahead. The six
keep that input in every kernel, so programs there that take no weights use other inputs.

One token a pass. Its row x stays in the scratchpad of PMU ``x`` (X_PLACES, by turns), hidden features and projections in those of PMUs
``inputs`` and ``mixed``: no kernel waits for another's results to come back from HBM. What they load themselves, all through AGCU east0:
the weights of queries, keys and values, the cache, the next token's row. Each stream of the supply has an AGCU to itself (but for the
rotary rows, which are few): two engines of one AGCU hinder each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.fabric.senders import Sequence as Numbers
from hw.agcu.program import Access, Index, Loop
from hw.config import RDUConfig
from hw.fp.function import TailFunction
from hw.pcu import library
from sw_driver.kernel import Kernel

from . import programs
from .builder import DecoderKernel, Levers, beats
from .kernels import head_kernel
from .programs import HIDDEN_BLOCKS, HIDDEN_TILES, OUT_BLOCKS, OWN, PROJECTED, TILE
from .shape import CONTEXT, DIM, HEADS, HIDDEN, LAYERS, QKV, VOCABULARY
from .streams import KV_ROW_BYTES, OUT_SHARES, woven_loops

__all__ = ["X_PLACES", "DecodeKernels"]

SUPPLY_GROUP = 1
X_PLACES = 0, 2 * DIM                   # half-words, of x in its PMU before even and odd layers
ROTARY_BEATS = 2 * QKV // 8              # of a position: cosines of ROTATED blocks, their sines, and so on
FIRST, SECOND, OUTS = ((0, 0), (0, 2)), ((2, 0), (2, 2)), ((3, 1), (1, 1))
SUPPLY_PLACES = {
    "first_a": FIRST[0], "first_b": FIRST[1], "second_a": SECOND[0], "second_b": SECOND[1], "out_a": OUTS[0], "out_b": OUTS[1],
    "rotate": FIRST[1], "first_ahead": (0, 1), "second_ahead": (2, 1), "out_ahead": (3, 0),
    "first": "west0", "second": "west1", "out": "east1", "rotary": "west1"}
ENTER_PLACES = {
    "gate_a": FIRST[0], "gate_b": FIRST[1], "up_a": SECOND[0], "up_b": SECOND[1], "scale": OUTS[0], "norm": OUTS[1], "project": (1, 3),
    "product": (3, 3), "x": (1, 2), "inputs": (1, 0), "mixed": (3, 2), "qkv": "east0"}
ATTEND_PLACES = {
    "scale": FIRST[0], "rotate": FIRST[1], "inverse": SECOND[0], "weights": SECOND[1], "out_a": OUTS[0], "out_b": OUTS[1],
    "scores": (1, 3), "mix": (3, 3), "x": (1, 2), "split": (0, 3), "cache": (2, 3), "mixed": (3, 2), "inputs": (1, 0),
    "append": "east0", "keys_values": "east0"}
HEAD_PLACES = {
    "head_0": FIRST[0], "head_1": FIRST[1], "head_2": SECOND[0], "head_3": SECOND[1], "scale": OUTS[0], "norm": OUTS[1], "argmax": (1, 3),
    "widen": (3, 3), "x": (1, 2), "gathered": (2, 3), "logits": "east0", "embedding": "east0", "best": "east0"}
BEGIN_PLACES = {"x": (1, 2), "widen": (3, 3), "one": (1, 3), "split": (0, 3), "tokens": "east0", "embedding": "east0"}


def _supply(config: RDUConfig, levers: Levers | None) -> DecoderKernel:
    """Arguments: ``steps``, HBM addresses ``first`` (gates of all layers, left half of the head), ``second`` (ups, right half; the two
    are woven), ``out`` (output products of all layers), ``rotary`` (the first position's row of the table)."""
    kernel = DecoderKernel(config, "supply", SUPPLY_PLACES, (), levers, SUPPLY_GROUP)
    pair, out = DIM * (LAYERS * HIDDEN + VOCABULARY // 2) // 16, LAYERS * (DIM + HIDDEN) * DIM // 16
    for name in ("first", "second"):
        stream = kernel.load(name, loops=beats(config, *woven_loops(pair), (CONTEXT, 0)))
        ahead = kernel.unit(f"{name}_ahead", programs.divider(config.pmu, pair, CONTEXT))
        kernel.vector(stream.port, ahead.input(0), rate=0.7)
        for engine, half in enumerate("ab"):
            kernel.vector(ahead.out(engine), kernel.end(f"{name}_{half}", 0), rate=0.5)
    leaving = kernel.load("out", loops=beats(config, out, (CONTEXT, 0)))
    rotary = kernel.load("rotary", loops=beats(config, ROTARY_BEATS, (LAYERS, 0), (CONTEXT, ROTARY_BEATS)))
    ahead = kernel.unit("out_ahead", programs.divider(config.pmu, out, CONTEXT, shares=OUT_SHARES))
    kernel.vector(leaving.port, ahead.input(0), rate=0.7)
    for engine, half in enumerate("ab"):
        kernel.vector(ahead.out(engine), kernel.end(f"out_{half}", 0), rate=0.7)
    kernel.vector(rotary.port, kernel.end("rotate", 2), rate=0.1)
    kernel.fields("steps", **dict.fromkeys(("first", "second", "rotary"), "bounds[2]"), out="bounds[1]",
                  **dict.fromkeys(("first_ahead", "second_ahead", "out_ahead"), ("write.bounds[2]", "read0.bounds[2]", "read1.bounds[2]")))
    kernel.bases("first", "second", "out", "rotary")
    return kernel


def _enter(config: RDUConfig, supply: DecoderKernel, levers: Levers | None) -> Kernel:
    """x -> queries, keys and values (FP32, in PMUs ``inputs`` and ``mixed``); silu(gate) * up. Arguments: ``x`` and ``x_again``, where x is
    in its PMU; HBM address ``qkv`` (weights)."""
    kernel = DecoderKernel(config, "decode enter", ENTER_PLACES, (supply,), levers)
    vectors = DIM // config.lanes
    entering = kernel.load("qkv", loops=beats(config, DIM * QKV // 16))
    norm = kernel.unit("norm", programs.inverse_norm(vectors, 1, port=1))
    scale = kernel.unit("scale", programs.scaled(vectors, 1, port=1))
    qkv = kernel.unit("project", programs.projection(config, rows=1))
    gates = [kernel.unit(name, programs.share_of_hidden(TailFunction.SILU, rows=1)) for name in ("gate_a", "gate_b")]
    ups = [kernel.unit(name, programs.share_of_hidden(rows=1)) for name in ("up_a", "up_b")]
    product = kernel.unit("product", programs.gated(HIDDEN_BLOCKS, 1, HIDDEN_TILES))
    x = kernel.unit("x", programs.kept_row(config.pmu, (0, vectors), (0, vectors)), kept=True)
    inputs = kernel.unit("inputs", programs.entered(config.pmu), kept=True)
    mixed = kernel.unit("mixed", programs.kept_projections(config.pmu), kept=True)

    kernel.vector(x.out(0), norm.input(1), rate=0.1)
    kernel.vector(x.out(1), scale.input(1), rate=0.1)
    kernel.scalar(norm.out(0), scale.input(0))
    kernel.vector(scale.out(0), *(unit.input(1) for unit in (qkv, *gates, *ups)), rate=0.1)
    kernel.vector(entering.port, qkv.input(0), rate=0.7)
    kernel.vector(qkv.out(0), inputs.input(1), mixed.input(0), rate=0.1)
    kernel.numbered(qkv.out(0), Numbers(base=PROJECTED))
    for number, unit in enumerate((gates[0], ups[0], gates[1], ups[1])):
        kernel.vector(unit.out(0), product.input(number), rate=0.1)
    kernel.vector(product.out(0), inputs.input(0), rate=0.1)
    kernel.numbered(product.out(0), Numbers())
    kernel.wire(inputs, 0)
    kernel.fields("x", x="read0.base")
    kernel.fields("x_again", x="read1.base")
    kernel.bases("qkv")
    return kernel.build()


def _attend(config: RDUConfig, supply: DecoderKernel, levers: Levers | None) -> Kernel:
    """Queries, keys, values and hidden features -> the next x: x + [attention, hidden] @ out; the token's key and value join the cache.

    Whole tiles of positions are read that end with the token's own, so none needs a mask: before the first lie CACHE_MARGIN that have
    no weight. Arguments: ``tiles``, ``before`` (beats of the positions before its own), ``x``, ``x_right``, ``y``: where x, its feature
    OUT_FEATURES and the next x are in their PMU; HBM addresses ``append`` (the position's place in the cache), ``keys_values`` (the
    first of the tiles). What the cache holds of the position itself does not come from there.
    """
    kernel = DecoderKernel(config, "decode attend", ATTEND_PLACES, (supply,), levers)
    tiles, kv, pmu, (left, right) = CONTEXT // TILE, KV_ROW_BYTES // config.beat_bytes, config.pmu, OUT_BLOCKS
    append = kernel.store("append", loops=beats(config, kv))
    keys_values = kernel.load("keys_values", loops=beats(config, kv * (CONTEXT - 1)), send_tokens=(0,))

    rotate = kernel.unit("rotate", programs.rotation_of_one())
    scores = kernel.unit("scores", programs.attention_scores(1))
    weights = kernel.unit("weights", programs.capped(HEADS, tiles, port=1))
    mix = kernel.unit("mix", programs.attended_sums(1))
    inverse = kernel.unit("inverse", programs.inverse_of_last(3, HEADS, port=1))
    scale = kernel.unit("scale", programs.scaled(2, HEADS, port=1))
    outs = [kernel.unit(name, programs.leaving(number, rows=1)) for name, number in (("out_a", left), ("out_b", right))]
    x = kernel.unit("x", programs.kept_row(pmu, (0, left), (left, right), sources=2), kept=True)
    split = kernel.unit("split", programs.keys_apart(pmu), kept=True)
    cache = kernel.unit("cache", programs.cache_tiles(tiles), kept=True)
    mixed = kernel.unit("mixed", programs.mixed_rows(pmu), kept=True)
    inputs = kernel.unit("inputs", programs.chunks_in_order(pmu), kept=True)

    kernel.vector(inputs.out(1), rotate.input(1), rate=0.1)
    kernel.vector(mixed.out(1), rotate.input(3), rate=0.1)
    kernel.vector(rotate.out(0), split.input(0), rate=0.1)
    kernel.vector(split.out(0), scores.input(1), rate=0.1)
    kernel.vector(split.out(1), append.port, cache.input(1), rate=0.1)
    kernel.token(keys_values, 0, split)
    kernel.wire(inputs, 0)
    kernel.vector(keys_values.port, cache.input(0), rate=0.6)
    kernel.numbered(keys_values.port, Numbers(modulo=kv * TILE))
    kernel.numbered(split.out(1), Numbers(base=OWN))
    kernel.vector(cache.out(0), scores.input(0), rate=0.3)
    kernel.vector(cache.out(1), mix.input(0), rate=0.6)
    kernel.vector(scores.out(0), weights.input(1), rate=0.3)
    kernel.vector(weights.out(0), mix.input(1), rate=0.1)
    kernel.vector(mix.out(0), inverse.input(1), mixed.input(0), rate=0.1)
    kernel.vector(mixed.out(0), scale.input(1), rate=0.1)
    kernel.scalar(inverse.out(0), scale.input(0))
    kernel.vector(scale.out(0), inputs.input(0), rate=0.1)
    kernel.vector(inputs.out(0), *(unit.input(1) for unit in outs), rate=0.1)
    for engine, unit in enumerate(outs):
        kernel.vector(x.out(engine), unit.input(2), rate=0.1)
        kernel.vector(unit.out(0), x.input(engine), rate=0.1)
        kernel.numbered(unit.out(0), Numbers(base=engine * left))
    for name, field in (("x", "read0"), ("x_right", "read1"), ("y", "write")):
        kernel.fields(name, x=f"{field}.base")
    kernel.fields("tiles", scores="bounds[4]", weights="bounds[2]", mix="bounds[3]",
                  cache=("write.bounds[1]", "read0.bounds[1]", "read1.bounds[2]"))
    kernel.fields("before", keys_values="bounds[0]")
    kernel.bases("append", "keys_values")
    return kernel.build()


def _begin(config: RDUConfig, supply: DecoderKernel, levers: Levers | None) -> Kernel:
    """The first step's token (the word at HBM address ``tokens``) -> x in its PMU; the vector that makes the sum of weights in that of
    ``split``. ``embedding``: address of the table."""
    kernel = DecoderKernel(config, "decode begin", BEGIN_PLACES, (supply,), levers)
    tokens = kernel.load("tokens", access=Access.WORD, loops=(Loop(1, 4),))
    embedding = kernel.load("embedding", loops=(*beats(config, DIM * 2 // config.beat_bytes), Loop(1)), index=Index(0, 2 * DIM, 1))
    widen = kernel.unit("widen", library.convert(config.pcu, rows=1, n=DIM, packed=True, packed_output=False))
    kernel.scalar(tokens.unit.out(0), embedding.unit.input(0))
    kernel.vector(embedding.port, widen.input(0), rate=0.1)
    kernel.vector(widen.out(0), kernel.unit("x", programs.kept_row(config.pmu, sources=1), kept=True).input(0), rate=0.1)
    kernel.numbered(widen.out(0), Numbers())
    split = kernel.unit("split", programs.kept_one(config.pmu), kept=True)
    kernel.vector(kernel.unit("one", programs.one()).out(0), split.input(0), rate=0.1)
    kernel.bases("tokens", "embedding")
    return kernel.build()


@dataclass(frozen=True)
class DecodeKernels:
    """The kernels of a decode, which fit together."""

    supply: Kernel
    begin: Kernel
    enter: Kernel
    attend: Kernel
    head: Kernel

    @classmethod
    def of(cls, config: RDUConfig, levers: Levers | None = None) -> DecodeKernels:
        supply = _supply(config, levers)
        built = supply.build()
        return cls(built, _begin(config, supply, levers), _enter(config, supply, levers), _attend(config, supply, levers),
                   head_kernel(config, (supply,), levers, supplied=True, **HEAD_PLACES))
