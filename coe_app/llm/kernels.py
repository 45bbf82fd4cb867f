"""The decoder's kernels, placed by hand: the products that enter a layer, attention with those that leave it, head, embedding.

All sizes that vary are arguments, so each kernel serves every layer, position and expert, one token (decode) or several (prefill).
``resident`` and changed places (:data:`LOOK_AHEAD`) let a copy between the tiers run beside them.
"""

from __future__ import annotations

from compiler.fabric.senders import Sequence as Numbers
from hw.agcu.program import Access, Index, Loop
from hw.config import RDUConfig
from hw.fp.function import TailFunction
from hw.pcu import library
from hw.pcu.layout import Reduce
from hw.pcu.program import Input, SimdProgram
from hw.pmu.address import index_times
from hw.pmu.program import PMUProgram, Read, Sequence, Write
from sw_driver.kernel import Kernel

from . import programs
from .builder import DecoderKernel, Levers, beats
from .programs import ATTEND_ROWS, CHUNKS, ENTER_ROWS, HIDDEN_BLOCKS, HIDDEN_TILES, OUT_BLOCKS, QUERIES, TILE
from .shape import CONTEXT, DIM, HEADS, HIDDEN, QKV, VOCABULARY
from .streams import GRANULE, KV_ROW_BYTES, OUT_SHARES, PAIRS, QKV_TILES, RECORD_BYTES, woven_loops

__all__ = ["ATTEND_ROWS", "ENTER_ROWS", "HIDDEN_BEATS", "TILE", "attend_kernel", "embedding_kernel", "enter_kernel", "head_kernel"]

HIDDEN_BEATS = HIDDEN // 16              # of a row of hidden features

ENTER_PLACES = {
    "norm": (0, 0), "scale": (1, 1), "project": (0, 2), "gate_a": (1, 3), "gate_b": (2, 0), "up_a": (3, 1), "up_b": (2, 2),
    "product": (3, 3), "x": (1, 0), "gate_weights": (0, 1), "up_weights": (3, 0), "qkv_weights": (0, 3),
    "gate": "west0", "up": "west1", "qkv": "east0", "records": "east1", "projected": "west1", "hidden": "east0"}
ATTEND_PLACES = {
    "rotate": (1, 1), "scores": (0, 2), "weights": (1, 3), "mix": (2, 2), "inverse": (3, 1), "scale": (3, 3), "out_a": (0, 0),
    "out_b": (2, 0), "projected": (1, 0), "tables": (2, 1), "split": (0, 1), "cache": (0, 3), "mixed": (3, 2), "residual": (3, 0),
    "inputs": (1, 2), "out_weights": (2, 3), "records": "west0", "hidden": "west0", "y": "west0", "rotary": "west1",
    "limits": "west1", "y_right": "west1", "keys_values": "east0", "append": "east0", "out": "east1"}
HEAD_PLACES = {
    "norm": (0, 0), "scale": (1, 1), "head_0": (0, 2), "head_1": (1, 3), "head_2": (2, 0), "head_3": (3, 1), "argmax": (2, 2),
    "widen": (3, 3), "x": (1, 0), "weights_left": (0, 1), "weights_right": (3, 0), "gathered": (2, 1), "left": "west0",
    "right": "west1", "row": "east1", "logits": "west1", "embedding": "east0", "best": "east0", "next": "east1"}
# With these, AGCU east1 stays free for a copy between the tiers that runs beside; the streams share what memory requests there are.
LOOK_AHEAD = {"enter": {"records": "east0"}, "attend": {"out": "east0"},
              "head": {"row": "west0", "next": "east0"}}


def enter_kernel(config: RDUConfig, resident=(), levers: Levers | None = None, **places) -> Kernel:
    """x[rows] -> the layer's entering products of norm(x): queries, keys and values; silu(gate) * up.

    Eight PCUs: norm, five with 96 features each (the weights stream at what HBM gives), product. Arguments: ``rows`` (1 to
    ENTER_ROWS), HBM addresses ``x`` (the first record: RECORD_BYTES apart, FP32 [x, projections]), ``projected`` (the first record's
    projections), ``hidden`` (BF16, a row of HIDDEN features per token), ``gate``, ``up``, ``qkv``
    (their first beats; gate and up are a pair).
    """
    kernel = DecoderKernel(config, "enter", ENTER_PLACES | places, resident, levers)
    rows, lanes, vectors, record = ENTER_ROWS, config.lanes, DIM // config.lanes, RECORD_BYTES // config.beat_bytes
    blocks, hidden_beats, qkv_beats = QKV // lanes, DIM * HIDDEN // (2 * lanes), DIM * QKV // (2 * lanes)
    gate, up = (kernel.load(name, loops=beats(config, *woven_loops(hidden_beats))) for name in PAIRS[0])
    entering = kernel.load("qkv", loops=beats(config, qkv_beats))
    records = kernel.load("records", loops=beats(config, vectors, (rows, record)))
    projected = kernel.store("projected", loops=beats(config, blocks // QKV_TILES, (rows, record), (QKV_TILES, blocks // QKV_TILES)))
    hidden = kernel.store("hidden", loops=beats(config, HIDDEN_BLOCKS, (rows, HIDDEN_BEATS), (HIDDEN_TILES, HIDDEN_BLOCKS)))

    norm = kernel.unit("norm", programs.inverse_norm(vectors, rows))
    scale = kernel.unit("scale", programs.scaled(vectors, rows))
    qkv = kernel.unit("project", programs.projection(config))
    gates = [kernel.unit(name, programs.share_of_hidden(TailFunction.SILU)) for name in ("gate_a", "gate_b")]
    ups = [kernel.unit(name, programs.share_of_hidden()) for name in ("up_a", "up_b")]
    product = kernel.unit("product", programs.gated(HIDDEN_BLOCKS, rows, HIDDEN_TILES))
    x = kernel.unit("x", programs.splitter(config.pmu, vectors, ((0, vectors),), rows))
    gate_weights, up_weights = (kernel.unit(name, programs.divider(config.pmu, hidden_beats))
                                for name in ("gate_weights", "up_weights"))
    qkv_weights = kernel.unit("qkv_weights", programs.divider(config.pmu, qkv_beats, shares=(GRANULE,)))

    kernel.vector(records.port, norm.input(0), x.input(0), rate=0.1)
    kernel.scalar(norm.out(0), scale.input(0))
    kernel.vector(x.out(0), scale.input(0), rate=0.1)
    kernel.vector(scale.out(0), *(unit.input(1) for unit in (qkv, *gates, *ups)), rate=0.1)
    kernel.vector(entering.port, qkv_weights.input(0), rate=0.5)
    kernel.vector(qkv_weights.out(0), qkv.input(0), rate=0.5)
    for source, buffer, units in ((gate.port, gate_weights, gates), (up.port, up_weights, ups)):
        kernel.vector(source, buffer.input(0), rate=1.0)
        for engine, unit in enumerate(units):
            kernel.vector(buffer.out(engine), unit.input(0), rate=0.5)
    for number, unit in enumerate((gates[0], ups[0], gates[1], ups[1])):
        kernel.vector(unit.out(0), product.input(number), rate=0.05)
    kernel.vector(qkv.out(0), projected.port, rate=0.05)
    kernel.vector(product.out(0), hidden.port, rate=0.05)

    systolic = ("rows", "last_rows")
    kernel.fields("rows", norm="bounds[1]", scale="bounds[1]", project=systolic, gate_a=systolic, gate_b=systolic, up_a=systolic,
                  up_b=systolic, product="bounds[2]", x=("write.bounds[1]", "read0.bounds[1]"), records="bounds[1]",
                  projected="bounds[1]", hidden="bounds[1]")
    kernel.bases("records", "projected", "hidden", "gate", "up", "qkv")
    return kernel.build()


def attend_kernel(config: RDUConfig, resident=(), levers: Levers | None = None, **places) -> Kernel:
    """Projections and hidden features[rows] -> x + [attention, hidden] @ out; keys and values of these rows join the cache first.

    While attention runs, the two output units sum up the hidden features. Arguments: ``rows`` (1 to ATTEND_ROWS), ``query_rows`` (rows x
    heads), ``tiles`` (of TILE positions up to the last row's), and HBM addresses: ``records``, ``hidden`` (as the enter kernel left them),
    ``out`` (weights), ``rotary`` (the table's row of the first position), ``limits`` (entry of the first row and tile), ``append`` (the
    first row's place in the cache), ``keys_values`` (the cache), ``y`` and ``y_right`` (the first result, its feature OUT_FEATURES).

    Hidden and attended rows share the way to the output units and must not overtake: the limits, without which no score passes, are
    loaded when the last hidden row has left its AGCU.
    """
    kernel = DecoderKernel(config, "attend", ATTEND_PLACES | places, resident, levers)
    rows, tiles, lanes = ATTEND_ROWS, CONTEXT // TILE, config.lanes
    kv, record, blocks = KV_ROW_BYTES // config.beat_bytes, RECORD_BYTES // config.beat_bytes, QKV // lanes
    queries, chunks, pmu = QUERIES, CHUNKS, config.pmu
    left, right = OUT_BLOCKS
    out_beats = (DIM + HIDDEN) * DIM // (2 * lanes)
    records = kernel.load("records", loops=beats(config, record, (rows, record)))
    hidden = kernel.load("hidden", loops=beats(config, 4, (rows, HIDDEN_BEATS), (chunks, 4)), send_tokens=(0,))
    rotary = kernel.load("rotary", loops=beats(config, 2 * blocks, (rows, 2 * blocks)))
    limits = kernel.load("limits", access=Access.WORD, loops=(Loop(HEADS, 0), Loop(rows, 4), Loop(tiles, -4 * TILE)),
                         wait_tokens=(0,))
    keys_values = kernel.load("keys_values", loops=beats(config, kv, (TILE, kv), (tiles, TILE * kv)), wait_tokens=(1,))
    out = kernel.load("out", loops=beats(config, out_beats))
    append = kernel.store("append", loops=beats(config, 2, (rows, kv)), send_tokens=(1,))
    stores = [kernel.store(name, loops=beats(config, number, (rows, record))) for name, number in (("y", left), ("y_right", right))]

    rotate = kernel.unit("rotate", programs.rotation(blocks, rows))
    scores = kernel.unit("scores", programs.attention_scores())
    weights = kernel.unit("weights", programs.weighted(queries, tiles))
    mix = kernel.unit("mix", programs.attended_sums())
    inverse = kernel.unit("inverse", programs.inverse_of_last(3, queries))
    scale = kernel.unit("scale", programs.scaled(2, queries))
    outs = [kernel.unit(name, programs.leaving(number)) for name, number in (("out_a", left), ("out_b", right))]

    projected = kernel.unit("projected", programs.projected_rows(config))
    residual = kernel.unit("residual", programs.splitter(pmu, record, ((0, left), (left, right)), rows))
    tables = kernel.unit("tables", programs.rotary_rows(config, rows))
    split = kernel.unit("split", programs.splitter(pmu, HEADS + 2, ((0, HEADS), (HEADS, 2)), rows, buffers=2))
    inputs = kernel.unit("inputs", programs.splitter(pmu, 4, ((0, 4),), rows * (chunks + 1), buffers=8))
    out_weights = kernel.unit("out_weights", programs.divider(pmu, out_beats, shares=OUT_SHARES))
    mixed = kernel.unit("mixed", programs.splitter(pmu, 3, ((0, 2),), queries, buffers=8))
    cache = kernel.unit("cache", programs.key_value_tiles(tiles))

    kernel.vector(records.port, projected.input(0), residual.input(0), rate=0.1)
    kernel.vector(rotary.port, tables.input(0), rate=0.1)
    for unit, ports in ((projected, (0, 1)), (tables, (2, 3))):
        for engine, port in enumerate(ports):
            kernel.vector(unit.out(engine), rotate.input(port), rate=0.1)
    kernel.vector(rotate.out(0), split.input(0), rate=0.1)
    kernel.vector(split.out(0), scores.input(1), rate=0.1)
    kernel.vector(split.out(1), append.port, rate=0.1)
    kernel.token(append, 1, keys_values)
    kernel.token(hidden, 0, limits)
    kernel.vector(keys_values.port, cache.input(0), rate=0.6)
    kernel.vector(cache.out(0), scores.input(0), rate=0.3)
    kernel.vector(cache.out(1), mix.input(0), rate=0.6)
    kernel.vector(scores.out(0), weights.input(0), rate=0.3)
    kernel.scalar(limits.unit.out(0), weights.input(0))
    kernel.vector(weights.out(0), mix.input(1), rate=0.1)
    kernel.vector(mix.out(0), inverse.input(0), mixed.input(0), rate=0.1)
    kernel.vector(mixed.out(0), scale.input(0), rate=0.1)
    kernel.scalar(inverse.out(0), scale.input(0))
    kernel.merge(hidden.port, inputs.input(0))
    kernel.merge(scale.out(0), inputs.input(0))
    kernel.vector(inputs.out(0), *(unit.input(1) for unit in outs), rate=0.1)
    kernel.vector(out.port, out_weights.input(0), rate=1.0)
    for number, (unit, store) in enumerate(zip(outs, stores, strict=True)):
        kernel.vector(out_weights.out(number), unit.input(0), rate=OUT_SHARES[number] / sum(OUT_SHARES))
        kernel.vector(residual.out(number), unit.input(2), rate=0.05)
        kernel.vector(unit.out(0), store.port, rate=0.05)

    systolic = ("rows", "last_rows")
    kernel.fields("rows", rotate="bounds[1]", mix="bounds[0]", out_a=systolic, out_b=systolic,
                  projected=("write.bounds[1]", "read0.bounds[1]", "read1.bounds[2]"),
                  tables=("write.bounds[1]", "read0.bounds[2]", "read1.bounds[2]"),
                  **{name: ("write.bounds[1]", "read0.bounds[1]", "read1.bounds[1]") for name in ("residual", "split")},
                  **dict.fromkeys(("records", "hidden", "rotary", "limits", "append", "y", "y_right"), "bounds[1]"))
    kernel.fields("query_rows", scores=systolic, mix=systolic, weights="bounds[1]", inverse="bounds[1]", scale="bounds[1]",
                  mixed=("write.bounds[1]", "read0.bounds[1]"), inputs=("write.bounds[1]", "read0.bounds[1]"))
    kernel.fields("tiles", scores="bounds[4]", weights="bounds[2]", mix="bounds[3]", limits="bounds[2]", keys_values="bounds[2]",
                  cache=("write.bounds[2]", "read0.bounds[1]", "read1.bounds[2]"))
    kernel.bases("records", "hidden", "rotary", "limits", "keys_values", "out", "append", "y", "y_right")
    return kernel.build()


def head_kernel(config: RDUConfig, resident=(), levers: Levers | None = None, *, supplied: bool = False, **places) -> Kernel:
    """x[1] -> logits[VOCABULARY], their argmax, and the embedding of that token: the next step's input.

    Arguments: HBM addresses ``row``, ``left``, ``right`` (weights of both halves of the vocabulary), ``logits``, ``embedding``, ``best``
    (a vector, the token in each lane), ``next`` (an FP32 row). ``supplied``: a resident kernel brings the weights, x is in its PMU and so
    will be the next (arguments ``x`` and ``x_again`` instead of ``row`` and ``next``: where it is).
    """
    kernel = DecoderKernel(config, "head", HEAD_PLACES | places, resident, levers)
    vectors, lanes, quarter = DIM // config.lanes, config.lanes, VOCABULARY // 4 // config.lanes
    embedding = kernel.load("embedding", loops=(*beats(config, DIM * 2 // config.beat_bytes), Loop(1)), index=Index(0, 2 * DIM, 1))
    logits = kernel.store("logits", loops=beats(config, 4 * quarter))
    found = kernel.store("best", loops=beats(config, 1))

    port = 1                             # input 0 is for weights
    norm = kernel.unit("norm", programs.inverse_norm(vectors, 1, port))
    scale = kernel.unit("scale", programs.scaled(vectors, 1, port))
    heads = [kernel.unit(f"head_{number}", programs.head_share(config)) for number in range(4)]
    best = kernel.unit("argmax", SimdProgram(
        loops=(4 * quarter,), vectors={0: Input()}, reduce=Reduce.ARGMAX, produce=1, to_vector=True, to_scalar=True))
    widen = kernel.unit("widen", library.convert(config.pcu, rows=1, n=DIM, packed=True, packed_output=False))
    gathered = kernel.unit("gathered", PMUProgram(          # four quarters as they come -> all in order
        write=Write(loops=programs.rows_of(config.pmu, (4 * quarter, 0)), vectors=(0, 1, 2, 3), index=Sequence(),
                    stages=(index_times(2 * lanes),)),
        reads=(Read(loops=programs.rows_of(config.pmu, 4 * quarter)),)))

    if supplied:
        x = kernel.unit("x", programs.kept_row(config.pmu, (0, vectors), (0, vectors), sources=1), kept=True)
        kernel.vector(x.out(0), norm.input(port), rate=0.1)
        kernel.fields("x", x="read0.base")
        kernel.fields("x_again", x="read1.base")
    else:
        x = kernel.unit("x", programs.splitter(config.pmu, vectors, ((0, vectors),), 1, buffers=1))
        source = kernel.load("row", loops=beats(config, vectors))
        kernel.vector(source.port, norm.input(port), x.input(0), rate=0.1)
    kernel.vector(x.out(int(supplied)), scale.input(port), rate=0.1)
    kernel.scalar(norm.out(0), scale.input(0))
    kernel.vector(scale.out(0), *(unit.input(1) for unit in heads), rate=0.1)
    for name, pair in (("left", heads[:2]), ("right", heads[2:])) if not supplied else ():
        half_beats = DIM * VOCABULARY // (4 * lanes)
        stream, buffer = kernel.load(name, loops=beats(config, *woven_loops(half_beats))), kernel.unit(
            f"weights_{name}", programs.divider(config.pmu, half_beats))
        kernel.vector(stream.port, buffer.input(0), rate=1.0)
        for engine, unit in enumerate(pair):
            kernel.vector(buffer.out(engine), unit.input(0), rate=0.5)
    for number, unit in enumerate(heads):
        kernel.vector(unit.out(0), gathered.input(number), rate=0.05)
        kernel.numbered(unit.out(0), Numbers(base=number * quarter))
    kernel.vector(gathered.out(0), best.input(0), logits.port, rate=0.1)
    kernel.vector(best.out(0), found.port, rate=0.05)
    kernel.scalar(best.out(0), embedding.unit.input(0))
    kernel.vector(embedding.port, widen.input(0), rate=0.1)
    following = x.input(0) if supplied else kernel.store("next", loops=beats(config, vectors)).port
    kernel.vector(widen.out(0), following, rate=0.1)
    kernel.numbered(widen.out(0), Numbers())
    kernel.bases(*(() if supplied else ("row", "next", *PAIRS[1])), "logits", "embedding", "best")
    return kernel.build()


def embedding_kernel(config: RDUConfig, resident=()) -> Kernel:
    """tokens[rows] (INT32 words) -> x of rows records (FP32). Arguments: ``rows``, HBM addresses ``tokens``, ``embedding``, ``x``."""
    kernel = DecoderKernel(config, "embedding", {
        "widen": (0, 0), "tokens": "west0", "embedding": "west0", "x": "west0"}, resident)
    row, vectors, record = DIM * 2 // config.beat_bytes, DIM // config.lanes, RECORD_BYTES // config.beat_bytes
    tokens = kernel.load("tokens", access=Access.WORD, loops=(Loop(CONTEXT, 4),))
    embedding = kernel.load("embedding", loops=(*beats(config, row), Loop(CONTEXT)), index=Index(0, 2 * DIM, 1))
    x = kernel.store("x", loops=beats(config, vectors, (CONTEXT, record)))
    widen = kernel.unit("widen", library.convert(config.pcu, rows=CONTEXT, n=DIM, packed=True, packed_output=False))
    kernel.scalar(tokens.unit.out(0), embedding.unit.input(0))
    kernel.vector(embedding.port, widen.input(0))
    kernel.vector(widen.out(0), x.port)
    kernel.fields("rows", widen="bounds[1]", tokens="bounds[0]", embedding="bounds[1]", x="bounds[1]")
    kernel.bases("tokens", "embedding", "x")
    return kernel.build()
