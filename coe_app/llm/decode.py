"""Decode's kernels: the weights of all steps as one stream that does not pause, and beside it the kernels that use them.

``supply`` (launch group 1) runs through a whole decode. It brings an expert's weights from HBM, in the order of their use, into stage
buffers and on to vector input 0 of six PCUs. ``enter`` and ``attend`` for each layer and ``head`` (group 0) follow one another on all
eight PCUs and find their weights waiting: in the time that norms, attention and stores take, the stage buffers run ahead. The six
keep that input in every kernel, so programs there that take no weights use other inputs.

One token a pass. Its row x stays in the scratchpad of PMU ``x`` (X_PLACES, by turns), hidden features in that of PMU ``inputs``: no kernel
waits for a store to be answered or for another's results to come back from HBM, but for the queries, keys and values.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.fabric.senders import Sequence as Numbers
from compiler.fabric.senders import Throttle
from hw.config import RDUConfig
from hw.fp.function import TailFunction
from sw_driver.kernel import Kernel

from . import programs
from .builder import DecoderKernel, Levers, beats
from .kernels import head_kernel
from .programs import HIDDEN_BLOCKS, HIDDEN_TILES, OUT_BLOCKS, TILE
from .shape import CONTEXT, DIM, HEADS, HIDDEN, LAYERS, QKV, VOCABULARY
from .streams import GRANULE, KV_ROW_BYTES, OUT_SHARES, QKV_TILES, ROTATED, woven_loops

__all__ = ["VALUE_BEATS", "X_PLACES", "DecodeKernels"]

SUPPLY_GROUP = 1
SUPPLY_RATES = {"first": 0.5, "second": 0.6, "out_first": 0.33}       # vectors a cycle: other requests find gaps
X_PLACES = 0, 2 * DIM                   # half-words, of x in its PMU before even and odd layers
VALUE_BEATS = 2 * QKV // 8               # of a token: ROTATED blocks of queries, keys, values, then their rotary partners, and so on
FIRST, SECOND, OUTS = ((0, 0), (0, 2)), ((2, 0), (2, 2)), ((3, 1), (1, 1))
SUPPLY_PLACES = {
    "first_a": FIRST[0], "first_b": FIRST[1], "second_a": SECOND[0], "second_b": SECOND[1], "out_a": OUTS[0], "out_b": OUTS[1],
    "first_ahead": (0, 1), "second_ahead": (2, 1), "out_ahead": (3, 0),
    "first": "west0", "second": "west1", "out_first": "west1", "out_second": "west0"}
ENTER_PLACES = {
    "gate_a": FIRST[0], "gate_b": FIRST[1], "up_a": SECOND[0], "up_b": SECOND[1], "scale": OUTS[0], "norm": OUTS[1], "project": (1, 3),
    "product": (3, 3), "x": (1, 2), "inputs": (1, 0), "qkv_weights": (0, 3), "qkv": "east0", "values": "east0", "partners": "east0"}
ATTEND_PLACES = {
    "scale": FIRST[0], "rotate": FIRST[1], "inverse": SECOND[0], "weights": SECOND[1], "out_a": OUTS[0], "out_b": OUTS[1],
    "scores": (1, 3), "mix": (3, 3), "x": (1, 2), "split": (0, 3), "cache": (2, 3), "mixed": (3, 2), "inputs": (1, 0),
    "values": "east0", "rotary": "east0", "append": "east0", "keys_values": "east1"}
HEAD_PLACES = {
    "head_0": FIRST[0], "head_1": FIRST[1], "head_2": SECOND[0], "head_3": SECOND[1], "scale": OUTS[0], "norm": OUTS[1], "argmax": (1, 3),
    "widen": (3, 3), "x": (1, 2), "gathered": (2, 3), "row": "east1", "logits": "east1", "embedding": "east0", "best": "east0",
    "next": "east1"}


def _supply(config: RDUConfig, levers: Levers | None) -> DecoderKernel:
    """Arguments: ``steps``, HBM addresses ``first`` (gates of all layers, left half of the head), ``second`` (ups, right half; the two
    are woven), ``out_first``, ``out_second`` (both units' shares of the output products)."""
    kernel = DecoderKernel(config, "supply", SUPPLY_PLACES, (), levers, SUPPLY_GROUP)
    pair, out = DIM * (LAYERS * HIDDEN + VOCABULARY // 2) // 16, LAYERS * (DIM + HIDDEN) * DIM // 16
    for name in ("first", "second"):
        stream = kernel.load(name, loops=beats(config, *woven_loops(pair), (CONTEXT, 0)))
        ahead = kernel.unit(f"{name}_ahead", programs.divider(config.pmu, pair, CONTEXT))
        kernel.vector(stream.port, ahead.input(0), rate=0.7)
        for engine, half in enumerate("ab"):
            kernel.vector(ahead.out(engine), kernel.end(f"{name}_{half}", 0), rate=0.5)
    out_first, out_second = (kernel.load(name, loops=beats(config, share, (out // sum(OUT_SHARES), sum(OUT_SHARES)), (CONTEXT, 0)))
                             for name, share in zip(("out_first", "out_second"), OUT_SHARES, strict=True))
    ahead = kernel.unit("out_ahead", programs.divider(config.pmu, out * OUT_SHARES[0] // sum(OUT_SHARES), CONTEXT, shares=(GRANULE,)))
    kernel.vector(out_first.port, ahead.input(0), rate=0.5)
    kernel.vector(ahead.out(0), kernel.end("out_a", 0), rate=0.7)
    kernel.vector(out_second.port, kernel.end("out_b", 0), rate=0.3)
    for name, rate in SUPPLY_RATES.items():
        kernel.throttled(kernel.units[name].port, Throttle(rate))
    ahead = ("write.bounds[2]", "read0.bounds[2]")
    kernel.fields("steps", **dict.fromkeys(("first", "second", "out_first", "out_second"), "bounds[2]"), out_ahead=ahead,
                  **dict.fromkeys(("first_ahead", "second_ahead"), (*ahead, "read1.bounds[2]")))
    kernel.bases("first", "second", "out_first", "out_second")
    return kernel


def _enter(config: RDUConfig, supply: DecoderKernel, levers: Levers | None) -> Kernel:
    """x -> queries, keys, values and their rotary partners (FP32, to HBM); silu(gate) * up. Arguments: ``x`` and ``x_again``, where x is
    in its PMU; HBM addresses ``qkv`` (weights), ``values``, ``partners`` (the partner of the first value)."""
    kernel = DecoderKernel(config, "decode enter", ENTER_PLACES, (supply,), levers)
    vectors, qkv_beats = DIM // config.lanes, DIM * QKV // 16
    entering = kernel.load("qkv", loops=beats(config, qkv_beats))
    values = kernel.store("values", loops=beats(config, ROTATED, (QKV_TILES, 2 * ROTATED)))
    partners = kernel.store("partners", loops=beats(config, (2, -1), (ROTATED // 2, 2), (QKV_TILES, 2 * ROTATED)))

    norm = kernel.unit("norm", programs.inverse_norm(vectors, 1, port=1))
    scale = kernel.unit("scale", programs.scaled(vectors, 1, port=1))
    qkv = kernel.unit("project", programs.projection(config, rows=1))
    gates = [kernel.unit(name, programs.share_of_hidden(TailFunction.SILU, rows=1)) for name in ("gate_a", "gate_b")]
    ups = [kernel.unit(name, programs.share_of_hidden(rows=1)) for name in ("up_a", "up_b")]
    product = kernel.unit("product", programs.gated(HIDDEN_BLOCKS, 1, HIDDEN_TILES))
    x = kernel.unit("x", programs.kept_row(config.pmu, (0, vectors), (0, vectors)))
    inputs = kernel.unit("inputs", programs.hidden_chunks(config.pmu))
    qkv_weights = kernel.unit("qkv_weights", programs.divider(config.pmu, qkv_beats, shares=(GRANULE,)))

    kernel.vector(x.out(0), norm.input(1), rate=0.1)
    kernel.vector(x.out(1), scale.input(1), rate=0.1)
    kernel.scalar(norm.out(0), scale.input(0))
    kernel.vector(scale.out(0), *(unit.input(1) for unit in (qkv, *gates, *ups)), rate=0.1)
    kernel.vector(entering.port, qkv_weights.input(0), rate=0.5)
    kernel.vector(qkv_weights.out(0), qkv.input(0), rate=1.0)
    kernel.vector(qkv.out(0), values.port, partners.port, rate=0.1)
    for number, unit in enumerate((gates[0], ups[0], gates[1], ups[1])):
        kernel.vector(unit.out(0), product.input(number), rate=0.1)
    kernel.vector(product.out(0), inputs.input(0), rate=0.1)
    kernel.wire(inputs, 0)
    kernel.fields("x", x="read0.base")
    kernel.fields("x_again", x="read1.base")
    kernel.bases("qkv", "values", "partners")
    return kernel.build()


def _attend(config: RDUConfig, supply: DecoderKernel, levers: Levers | None) -> Kernel:
    """Values and hidden features -> the next x: x + [attention, hidden] @ out; the token's key and value join the cache first.

    Whole tiles of positions are read that end with the token's own, so none needs a mask: before the first lie CACHE_MARGIN that have
    no weight. Arguments: ``tiles``, ``x``, ``x_right``, ``y``: where x, its feature OUT_FEATURES and the next x are in their PMU; HBM
    addresses ``values`` (as enter left them), ``rotary`` (the position's row of the table), ``append`` (its place in the cache),
    ``keys_values`` (the first of the tiles).
    """
    kernel = DecoderKernel(config, "decode attend", ATTEND_PLACES, (supply,), levers)
    tiles, kv, pmu, (left, right) = CONTEXT // TILE, KV_ROW_BYTES // config.beat_bytes, config.pmu, OUT_BLOCKS
    values, rotary = (kernel.load(name, loops=beats(config, VALUE_BEATS)) for name in ("values", "rotary"))
    keys_values = kernel.load("keys_values", loops=beats(config, kv, (TILE, kv), (tiles, TILE * kv)), wait_tokens=(1,))
    append = kernel.store("append", loops=beats(config, 2), send_tokens=(1,))

    rotate = kernel.unit("rotate", programs.rotation_of_one())
    scores = kernel.unit("scores", programs.attention_scores(1))
    weights = kernel.unit("weights", programs.capped(HEADS, tiles, port=1))
    mix = kernel.unit("mix", programs.attended_sums(1))
    inverse = kernel.unit("inverse", programs.inverse_of_last(3, HEADS, port=1))
    scale = kernel.unit("scale", programs.scaled(2, HEADS, port=1))
    outs = [kernel.unit(name, programs.leaving(number, rows=1)) for name, number in (("out_a", left), ("out_b", right))]
    x = kernel.unit("x", programs.kept_row(pmu, (0, left), (left, right), sources=2))
    split = kernel.unit("split", programs.splitter(pmu, HEADS + 2, ((0, HEADS), (HEADS, 2)), 1, buffers=1))
    cache = kernel.unit("cache", programs.key_value_tiles(tiles))
    mixed = kernel.unit("mixed", programs.splitter(pmu, 3, ((0, 2),), HEADS, buffers=8))
    inputs = kernel.unit("inputs", programs.chunks_in_order(pmu))

    kernel.vector(values.port, rotate.input(1), rate=0.1)
    kernel.vector(rotary.port, rotate.input(2), rate=0.1)
    kernel.vector(rotate.out(0), split.input(0), rate=0.1)
    kernel.vector(split.out(0), scores.input(1), rate=0.1)
    kernel.vector(split.out(1), append.port, rate=0.1)
    kernel.token(append, 1, keys_values)
    kernel.wire(inputs, 0)
    kernel.vector(keys_values.port, cache.input(0), rate=0.6)
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
    kernel.fields("tiles", scores="bounds[4]", weights="bounds[2]", mix="bounds[3]", keys_values="bounds[2]",
                  cache=("write.bounds[2]", "read0.bounds[1]", "read1.bounds[2]"))
    kernel.bases("values", "rotary", "keys_values", "append")
    return kernel.build()


def _begin(config: RDUConfig, supply: DecoderKernel, levers: Levers | None) -> Kernel:
    """x of the first step from HBM address ``row`` to its PMU."""
    kernel = DecoderKernel(config, "decode begin", {"x": HEAD_PLACES["x"], "row": HEAD_PLACES["row"]}, (supply,), levers)
    row = kernel.load("row", loops=beats(config, DIM // config.lanes))
    kernel.vector(row.port, kernel.unit("x", programs.kept_row(config.pmu, sources=1)).input(0), rate=0.1)
    kernel.numbered(row.port, Numbers())
    kernel.bases("row")
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
