"""The decoder one operator a kernel, every intermediate result in HBM: the yardstick of what fusion gains. Same numbers, bit for bit."""

from __future__ import annotations

from hw.agcu.program import Access, Loop
from hw.config import RDUConfig
from hw.fp.function import TailFunction
from hw.pcu import library
from hw.pcu.program import Input, SimdProgram, SystolicProgram
from hw.pmu.geometry import BankMap
from hw.pmu.program import Element, PMUProgram, Read, Write
from hw.pmu.program import Loop as PmuLoop
from sw_driver.device import HBM
from sw_driver.kernel import Kernel

from . import programs
from .builder import DecoderKernel, Levers, beats
from .engine import FP32, Engine
from .kernels import HIDDEN_BEATS
from .programs import ATTEND_ROWS, CHUNKS, ENTER_ROWS, HIDDEN_BLOCKS, HIDDEN_TILES, OUT_BLOCKS, QUERIES, TILE
from .shape import CONTEXT, DIM, HEAD_DIM, HEADS, HIDDEN, LAYERS, QKV, VOCABULARY
from .streams import KV_ROW_BYTES, OUT_SHARES, PAIRS, QKV_TILES, RECORD_BYTES, woven_loops

__all__ = ["UnfusedEngine"]

PCUS = ((0, 0), (0, 2), (1, 1), (1, 3), (2, 0), (2, 2))
PMUS = ((0, 1), (1, 0), (1, 2), (0, 3))
AGCUS = ("west0", "west1", "east0", "east1")
TILE_BEATS = ENTER_ROWS * HIDDEN_BLOCKS  # of a tile of hidden features, FP32, all rows
SHARE_BEATS = TILE_BEATS * HIDDEN_TILES  # room of one unit's share of the hidden features


def _kernel(config: RDUConfig, levers: Levers | None, name: str, pcus: tuple = (), pmus: tuple = (), streams: tuple = ()) -> DecoderKernel:
    """A kernel whose units take the first places there are."""
    places = dict(zip(pcus, PCUS, strict=False)) | dict(zip(pmus, PMUS, strict=False))
    return DecoderKernel(config, name, places | dict(zip(streams, AGCUS * 2, strict=False)), (), levers)


class _Sizes:
    """Numbers of beats that several kernels use."""

    def __init__(self, config: RDUConfig):
        self.record, self.kv = RECORD_BYTES // config.beat_bytes, KV_ROW_BYTES // config.beat_bytes
        self.vectors, self.blocks = DIM // config.lanes, QKV // config.lanes
        self.hidden = DIM * HIDDEN // (2 * config.lanes)


def _row_kernels(config: RDUConfig, levers: Levers | None) -> dict[str, Kernel]:
    """Norm and scale: both of the layers and of the head."""
    z, rows = _Sizes(config), ENTER_ROWS
    norm = _kernel(config, levers, "norm", ("norm",), (), ("records", "factor"))
    norm.load("records", loops=beats(config, z.vectors, (rows, z.record)))
    norm.store("factor", access=Access.WORD, loops=(Loop(rows, 4),))
    norm.unit("norm", programs.inverse_norm(z.vectors, rows))
    norm.vector(norm.units["records"].port, norm.units["norm"].input(0))
    norm.scalar(norm.units["norm"].out(0), norm.units["factor"].unit.input(0))
    norm.fields("rows", norm="bounds[1]", records="bounds[1]", factor="bounds[0]")
    norm.bases("records", "factor")

    scale = _kernel(config, levers, "scale", ("scale",), (), ("records", "factor", "normed"))
    scale.load("records", loops=beats(config, z.vectors, (rows, z.record)))
    scale.load("factor", access=Access.WORD, loops=(Loop(rows, 4),))
    scale.store("normed", loops=beats(config, HEADS, (rows, HEADS)))
    scale.unit("scale", programs.scaled(z.vectors, rows))
    scale.vector(scale.units["records"].port, scale.units["scale"].input(0))
    scale.scalar(scale.units["factor"].unit.out(0), scale.units["scale"].input(0))
    scale.vector(scale.units["scale"].out(0), scale.units["normed"].port)
    scale.fields("rows", scale="bounds[1]", records="bounds[1]", factor="bounds[0]", normed="bounds[1]")
    scale.bases("records", "factor", "normed")
    return {"norm": norm.build(), "scale": scale.build()}


def _enter_kernels(config: RDUConfig, levers: Levers | None) -> dict[str, Kernel]:
    """Projection, gate and up products (one kernel for both), SiLU, product."""
    z, rows = _Sizes(config), ENTER_ROWS
    systolic, qkv_beats = ("rows", "last_rows"), DIM * QKV // (2 * config.lanes)
    share = beats(config, HIDDEN_BLOCKS, (rows, HIDDEN_BLOCKS), (HIDDEN_TILES, TILE_BEATS))

    project = _kernel(config, levers, "project", ("project",), (), ("normed", "weights", "projected"))
    project.load("normed", loops=beats(config, HEADS, (rows, HEADS)))
    project.load("weights", loops=beats(config, qkv_beats))
    project.store("projected", loops=beats(config, z.blocks // QKV_TILES, (rows, z.record), (QKV_TILES, z.blocks // QKV_TILES)))
    unit = project.unit("project", programs.projection(config))
    project.vector(project.units["weights"].port, unit.input(0))
    project.vector(project.units["normed"].port, unit.input(1))
    project.vector(unit.out(0), project.units["projected"].port)
    project.fields("rows", project=systolic, normed="bounds[1]", projected="bounds[1]")
    project.bases("normed", "weights", "projected")

    hidden = _kernel(config, levers, "hidden product", ("a", "b"), ("divider",), ("normed", "weights", "left", "right"))
    hidden.load("normed", loops=beats(config, HEADS, (rows, HEADS)))
    hidden.load("weights", loops=beats(config, *woven_loops(z.hidden)))
    units = [hidden.unit(name, programs.share_of_hidden()) for name in "ab"]
    dealt = hidden.unit("divider", programs.divider(config.pmu, z.hidden))
    hidden.vector(hidden.units["weights"].port, dealt.input(0))
    hidden.vector(hidden.units["normed"].port, *(unit.input(1) for unit in units))
    for number, name in enumerate(("left", "right")):
        hidden.store(name, loops=share)
        hidden.vector(dealt.out(number), units[number].input(0))
        hidden.vector(units[number].out(0), hidden.units[name].port)
    hidden.fields("rows", a=systolic, b=systolic, normed="bounds[1]", left="bounds[1]", right="bounds[1]")
    hidden.bases("normed", "weights", "left", "right")

    silu = _kernel(config, levers, "silu", ("silu",), (), ("gates", "results"))
    both = beats(config, HIDDEN_BLOCKS, (rows, HIDDEN_BLOCKS), (2 * HIDDEN_TILES, TILE_BEATS))
    silu.load("gates", loops=both)
    silu.store("results", loops=both)
    unit = silu.unit("silu", SimdProgram(loops=(HIDDEN_BLOCKS, rows, 2 * HIDDEN_TILES), vectors={0: Input()}, function=TailFunction.SILU))
    silu.vector(silu.units["gates"].port, unit.input(0))
    silu.vector(unit.out(0), silu.units["results"].port)
    silu.fields("rows", silu="bounds[1]", gates="bounds[1]", results="bounds[1]")
    silu.bases("gates", "results")

    names = ("gate_a", "up_a", "gate_b", "up_b")
    product = _kernel(config, levers, "product", ("product",), (), (*names, "hidden"))
    unit = product.unit("product", programs.gated(HIDDEN_BLOCKS, rows, HIDDEN_TILES))
    for port, name in enumerate(names):
        product.load(name, loops=share)
        product.vector(product.units[name].port, unit.input(port), rate=0.5)
    product.store("hidden", loops=beats(config, HIDDEN_BLOCKS, (rows, HIDDEN_BEATS), (HIDDEN_TILES, HIDDEN_BLOCKS)))
    product.vector(unit.out(0), product.units["hidden"].port)
    product.fields("rows", product="bounds[2]", hidden="bounds[1]", **dict.fromkeys(names, "bounds[1]"))
    product.bases(*names, "hidden")
    return {"project": project.build(), "hidden": hidden.build(), "silu": silu.build(), "product": product.build()}


def _attention_kernels(config: RDUConfig, levers: Levers | None) -> dict[str, Kernel]:
    """Rotation and append, scores, exponential, weights x values, inverse sums, division."""
    z, rows, tiles, systolic = _Sizes(config), ATTEND_ROWS, CONTEXT // TILE, ("rows", "last_rows")
    queries, pmu = QUERIES, config.pmu
    rotate = _kernel(config, levers, "rotate", ("rotate",), ("projected", "tables", "split"), ("records", "rotary", "queries", "append"))
    rotate.load("records", loops=beats(config, z.record, (rows, z.record)))
    rotate.load("rotary", loops=beats(config, 2 * z.blocks, (rows, 2 * z.blocks)))
    rotate.store("queries", loops=beats(config, HEADS, (rows, HEADS)))
    rotate.store("append", loops=beats(config, 2, (rows, z.kv)))
    unit = rotate.unit("rotate", programs.rotation(z.blocks, rows))
    projected = rotate.unit("projected", programs.projected_rows(config))
    tables = rotate.unit("tables", programs.rotary_rows(config, rows))
    split = rotate.unit("split", programs.splitter(pmu, HEADS + 2, ((0, HEADS), (HEADS, 2)), rows, buffers=2))
    rotate.vector(rotate.units["records"].port, projected.input(0))
    rotate.vector(rotate.units["rotary"].port, tables.input(0))
    for port, source in enumerate((projected.out(0), projected.out(1), tables.out(0), tables.out(1))):
        rotate.vector(source, unit.input(port), rate=0.5)
    rotate.vector(unit.out(0), split.input(0))
    rotate.vector(split.out(0), rotate.units["queries"].port)
    rotate.vector(split.out(1), rotate.units["append"].port)
    rotate.fields("rows", rotate="bounds[1]", projected=("write.bounds[1]", "read0.bounds[1]", "read1.bounds[2]"),
                  tables=("write.bounds[1]", "read0.bounds[2]", "read1.bounds[2]"),
                  split=("write.bounds[1]", "read0.bounds[1]", "read1.bounds[1]"),
                  **dict.fromkeys(("records", "rotary", "queries", "append"), "bounds[1]"))
    rotate.bases("records", "rotary", "queries", "append")

    scored = beats(config, 2, (queries, 2), (tiles, 2 * queries))
    scores = _kernel(config, levers, "scores", ("scores",), ("keys",), ("queries", "keys_in", "scored"))
    scores.load("queries", loops=beats(config, queries))
    scores.load("keys_in", loops=beats(config, (TILE, z.kv), (tiles, TILE * z.kv)))
    scores.store("scored", loops=scored)
    unit = scores.unit("scores", programs.attention_scores())
    keys = scores.unit("keys", PMUProgram(
        write=Write(loops=(PmuLoop(TILE, TILE), PmuLoop(tiles)), handover=1, vectors=(0,)),
        reads=(Read(loops=(PmuLoop(HEAD_DIM, 1), PmuLoop(tiles)), handover=1, transposed=True),),
        buffers=8, buffer_stride=TILE * HEAD_DIM, element=Element.HALF, pitch=HEAD_DIM, bank_map=BankMap((4, 5, 6), (0, 0, 0))))
    scores.vector(scores.units["keys_in"].port, keys.input(0))
    scores.vector(keys.out(0), unit.input(0))
    scores.vector(scores.units["queries"].port, unit.input(1))
    scores.vector(unit.out(0), scores.units["scored"].port)
    scores.fields("query_rows", scores=systolic, queries="bounds[0]", scored="bounds[1]")
    scores.fields("tiles", scores="bounds[4]", keys=("write.bounds[1]", "read0.bounds[1]"), keys_in="bounds[1]", scored="bounds[2]")
    scores.bases("queries", "keys_in", "scored")

    weights = _kernel(config, levers, "weights", ("weights",), (), ("scored", "limits", "weighted"))
    weights.load("scored", loops=scored)
    weights.load("limits", access=Access.WORD, loops=(Loop(HEADS, 0), Loop(rows, 4), Loop(tiles, -4 * TILE)))
    weights.store("weighted", loops=beats(config, queries, (tiles, queries)))
    unit = weights.unit("weights", programs.weighted(queries, tiles))
    weights.vector(weights.units["scored"].port, unit.input(0))
    weights.scalar(weights.units["limits"].unit.out(0), unit.input(0))
    weights.vector(unit.out(0), weights.units["weighted"].port)
    weights.fields("rows", limits="bounds[1]")
    weights.fields("query_rows", weights="bounds[1]", scored="bounds[1]", weighted="bounds[0]")
    weights.fields("tiles", weights="bounds[2]", scored="bounds[2]", limits="bounds[2]", weighted="bounds[1]")
    weights.bases("scored", "limits", "weighted")

    mix = _kernel(config, levers, "mix", ("mix",), (), ("weighted", "values", "sums"))
    mix.load("weighted", loops=beats(config, queries, (tiles, queries)))
    mix.load("values", loops=beats(config, 2, (TILE, z.kv), (tiles, TILE * z.kv)))
    mix.store("sums", loops=beats(config, 3, (queries, 3)))
    unit = mix.unit("mix", programs.attended_sums())
    mix.vector(mix.units["values"].port, unit.input(0))
    mix.vector(mix.units["weighted"].port, unit.input(1))
    mix.vector(unit.out(0), mix.units["sums"].port)
    mix.fields("rows", mix="bounds[0]")
    mix.fields("query_rows", mix=systolic, weighted="bounds[0]", sums="bounds[1]")
    mix.fields("tiles", mix="bounds[3]", weighted="bounds[1]", values="bounds[2]")
    mix.bases("weighted", "values", "sums")

    inverse = _kernel(config, levers, "inverse", ("inverse",), (), ("sums", "inverses"))
    inverse.load("sums", loops=beats(config, 3, (queries, 3)))
    inverse.store("inverses", access=Access.WORD, loops=(Loop(queries, 4),))
    unit = inverse.unit("inverse", programs.inverse_of_last(3, queries))
    inverse.vector(inverse.units["sums"].port, unit.input(0))
    inverse.scalar(unit.out(0), inverse.units["inverses"].unit.input(0))
    inverse.fields("query_rows", inverse="bounds[1]", sums="bounds[1]", inverses="bounds[0]")
    inverse.bases("sums", "inverses")

    divide = _kernel(config, levers, "divide", ("divide",), (), ("sums", "inverses", "attended"))
    divide.load("sums", loops=beats(config, 2, (queries, 3)))
    divide.load("inverses", access=Access.WORD, loops=(Loop(queries, 4),))
    divide.store("attended", loops=beats(config, queries))
    unit = divide.unit("divide", programs.scaled(2, queries))
    divide.vector(divide.units["sums"].port, unit.input(0))
    divide.scalar(divide.units["inverses"].unit.out(0), unit.input(0))
    divide.vector(unit.out(0), divide.units["attended"].port)
    divide.fields("query_rows", divide="bounds[1]", sums="bounds[1]", inverses="bounds[0]", attended="bounds[0]")
    divide.bases("sums", "inverses", "attended")
    return {kernel.name: kernel.build() for kernel in (rotate, scores, weights, mix, inverse, divide)}


def _leave_kernels(config: RDUConfig, levers: Levers | None) -> dict[str, Kernel]:
    """The output product with its residual; the head's product; the argmax."""
    z, rows, chunks, systolic = _Sizes(config), ATTEND_ROWS, CHUNKS, ("rows", "last_rows")
    out_beats, (left, right) = (DIM + HIDDEN) * DIM // (2 * config.lanes), OUT_BLOCKS
    out = _kernel(config, levers, "out", ("a", "b"), ("residual", "inputs", "divider"), ("hidden", "records", "out", "y"))
    out.places |= {"attended": "west0", "y_right": "west1"}
    out.load("hidden", loops=beats(config, 4, (rows, HIDDEN_BEATS), (chunks, 4)), send_tokens=(0,))
    out.load("attended", loops=beats(config, HEADS, (rows, HEADS)), wait_tokens=(0,))       # after the hidden rows
    out.load("records", loops=beats(config, z.vectors, (rows, z.record)))
    out.load("out", loops=beats(config, out_beats))
    units = [out.unit(name, programs.leaving(number)) for name, number in (("a", left), ("b", right))]
    residual = out.unit("residual", programs.splitter(config.pmu, z.vectors, ((0, left), (left, right)), rows))
    inputs = out.unit("inputs", programs.splitter(config.pmu, 4, ((0, 4),), rows * (chunks + 1), buffers=8))
    dealt = out.unit("divider", programs.divider(config.pmu, out_beats, shares=OUT_SHARES))
    out.token(out.units["hidden"], 0, out.units["attended"])
    out.merge(out.units["hidden"].port, inputs.input(0))
    out.merge(out.units["attended"].port, inputs.input(0))
    out.vector(inputs.out(0), *(unit.input(1) for unit in units))
    out.vector(out.units["records"].port, residual.input(0))
    out.vector(out.units["out"].port, dealt.input(0))
    for number, name in enumerate(("y", "y_right")):
        out.store(name, loops=beats(config, OUT_BLOCKS[number], (rows, z.record)))
        out.vector(dealt.out(number), units[number].input(0))
        out.vector(residual.out(number), units[number].input(2))
        out.vector(units[number].out(0), out.units[name].port)
    out.fields("rows", a=systolic, b=systolic, residual=("write.bounds[1]", "read0.bounds[1]", "read1.bounds[1]"),
               **dict.fromkeys(("hidden", "attended", "records", "y", "y_right"), "bounds[1]"))
    out.fields("query_rows", inputs=("write.bounds[1]", "read0.bounds[1]"))
    out.bases("hidden", "attended", "records", "out", "y", "y_right")

    parts, quarter = PAIRS[1], VOCABULARY // 4 // config.lanes
    half_beats = DIM * VOCABULARY // (4 * config.lanes)
    head = _kernel(config, levers, "head product", tuple("abcd"), ("divider_left", "divider_right"), (*parts, "normed"))
    head.places |= {f"logits_{number}": AGCUS[number] for number in range(4)}
    head.load("normed", loops=beats(config, HEADS))
    units = [head.unit(name, SystolicProgram(k=DIM, rows=1, feature_blocks=quarter)) for name in "abcd"]
    for side, name in enumerate(parts):
        head.load(name, loops=beats(config, *woven_loops(half_beats)))
        dealt = head.unit(f"divider_{name}", programs.divider(config.pmu, half_beats))
        head.vector(head.units[name].port, dealt.input(0))
        for number in range(2):
            head.vector(dealt.out(number), units[2 * side + number].input(0))
    head.vector(head.units["normed"].port, *(unit.input(1) for unit in units))
    for number, unit in enumerate(units):
        head.store(f"logits_{number}", loops=beats(config, quarter))
        head.vector(unit.out(0), head.units[f"logits_{number}"].port)
    head.bases("normed", *parts, *(f"logits_{number}" for number in range(4)))

    argmax = _kernel(config, levers, "argmax", ("argmax",), (), ("logits", "best"))
    argmax.load("logits", loops=beats(config, VOCABULARY // config.lanes))
    argmax.store("best", loops=beats(config, 1))
    unit = argmax.unit("argmax", library.argmax(config.pcu, rows=1, n=VOCABULARY, to_vector=True))
    argmax.vector(argmax.units["logits"].port, unit.input(0))
    argmax.vector(unit.out(0), argmax.units["best"].port)
    argmax.bases("logits", "best")
    return {"out": out.build(), "head": head.build(), "argmax": argmax.build()}


class UnfusedEngine(Engine):
    """An :class:`~coe_app.llm.engine.Engine` that launches a kernel for every operator: 33 for a decode step of two layers, not 5."""

    def __init__(self, device, layout, launch=None, *, levers: Levers | None = None):
        super().__init__(device, layout, launch, levers=levers)
        config = device.config
        self.kernels = (_row_kernels(config, levers) | _enter_kernels(config, levers) | _attention_kernels(config, levers)
                        | _leave_kernels(config, levers))
        tiles, queries, share = CONTEXT // TILE, QUERIES, SHARE_BEATS * config.beat_bytes
        sizes = {"factor": FP32 * ENTER_ROWS, "normed": 2 * DIM * ENTER_ROWS, "gates": 2 * share, "ups": 2 * share,
                 "silus": 2 * share, "queries": 2 * DIM * ATTEND_ROWS, "scored": FP32 * queries * tiles * TILE,
                 "weighted": 2 * queries * tiles * TILE, "sums": 3 * config.beat_bytes * queries, "inverses": FP32 * queries,
                 "attended": 2 * DIM * ATTEND_ROWS}
        self.at = {name: device.allocate(HBM, size).address for name, size in sizes.items()}
        self.share = share

    def _pick(self, kernel: str, source: dict, **others) -> tuple[Kernel, dict]:
        """The kernel with those of its arguments that ``source``, the scratch buffers and ``others`` name."""
        known = self.at | source | others
        return self.kernels[kernel], {name: known[name] for name in self.kernels[kernel].arguments}

    def enter_launches(self, weights, layer: int, first, rows: int) -> list[tuple[Kernel, dict]]:
        given, at, share = self.enter_arguments(weights, layer, first, rows), self.at, self.share
        return [
            self._pick("norm", given), self._pick("scale", given), self._pick("project", given, weights=given["qkv"]),
            self._pick("hidden", given, weights=given["gate"], left=at["gates"], right=at["gates"] + share),
            self._pick("hidden", given, weights=given["up"], left=at["ups"], right=at["ups"] + share),
            self._pick("silu", given, results=at["silus"]),
            self._pick("product", given, gate_a=at["silus"], gate_b=at["silus"] + share, up_a=at["ups"], up_b=at["ups"] + share)]

    def attend_launches(self, weights, layer: int, first, rows: int, position, tiles) -> list[tuple[Kernel, dict]]:
        given = self.attend_arguments(weights, layer, first, rows, position, tiles)
        cache = {"keys_in": given["keys_values"], "values": given["keys_values"] + self.device.config.beat_bytes}
        queries = given["query_rows"]
        return [self._pick(name, given, **cache) for name in ("rotate", "scores", "weights", "mix", "inverse", "divide")] + [
            self._pick("out", given, query_rows=queries)]

    def supply_launches(self, weights, steps, position) -> list[tuple[Kernel, dict]]:
        return []

    def step_launches(self, weights, position, tiles) -> list[tuple[Kernel, dict]]:
        launches = []
        for layer in range(LAYERS):
            launches += self.enter_launches(weights, layer, 0, 1) + self.attend_launches(weights, layer, 0, 1, position, tiles)
        return launches + self.head_launches(weights, 0)

    def head_launches(self, weights, row: int) -> list[tuple[Kernel, dict]]:
        given = self.head_arguments(weights, row)
        rows = {"rows": 1, "records": given["row"]}
        quarters = {f"logits_{number}": given["logits"] + number * FP32 * VOCABULARY // 4 for number in range(4)}
        return [self._pick("norm", rows), self._pick("scale", rows), self._pick("head", given, **quarters), self._pick("argmax", given),
                (self.embedding, {"rows": 1, "tokens": given["best"], "embedding": given["embedding"], "x": given["next"]})]
