"""The two kernels of the digits Composition of Experts, placed by hand on the grid's first four rows and columns."""

from __future__ import annotations

from compiler.fabric.kernel import KernelBuilder, PlacementError
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import RDUConfig
from hw.pcu import library
from hw.pcu.stage import BodyStage
from hw.pmu.recipes import stage_buffer
from sw_driver.device import DDR, HBM, SEGMENT_OF_TIER
from sw_driver.kernel import Kernel

from .network import FEATURES, HIDDEN, OUTPUTS

__all__ = ["copy_kernel", "network_kernel", "rows_per_pass"]

COPY_GROUP = 1


def rows_per_pass(config: RDUConfig) -> int:
    """Pictures that one launch of the network kernel takes."""
    return config.pcu.stages


def _edge(config: RDUConfig, edge: str, position: int) -> int:
    """Number of the AGCU at ``position`` along the "west" or "east" edge."""
    return [index for index, (_, side) in enumerate(config.agcu_ports) if side == edge][position]


def network_kernel(config: RDUConfig) -> Kernel:
    """pictures[rows, 64] -> logits[rows, 16], probabilities[rows, 16], argmax[rows]: the whole perceptron as one pipeline.

    Seven PCUs and two PMU stage buffers: x w1 + b1, ReLU | h w2 + b2 | row maximum | exp(logit - maximum) | 1 / row sum | scale,
    and argmax beside them. Arguments: ``rows`` (1 to :func:`rows_per_pass`), ``classes`` (outputs in use), and the HBM addresses
    ``pictures``, ``w1``, ``b1``, ``w2``, ``b2``, ``logits``, ``probabilities``, ``best`` (a vector per row, argmax in each lane).
    """
    if config.rows < 4 or config.columns < 4 or config.agcus_per_edge < 2:
        raise PlacementError(f"preset {config.name}: the network kernel needs a grid of 4x4 and 2 AGCUs per edge, this one has "
                             f"{config.rows}x{config.columns} and {config.agcus_per_edge}; use preset small or medium")
    kernel = KernelBuilder(config, "network", resident=(_copy(config),))
    lanes, beat = config.lanes, config.beat_bytes
    rows, out_vectors = rows_per_pass(config), OUTPUTS // lanes

    def linear(count: int) -> tuple[Loop, ...]:
        return (Loop(count, beat),)

    def by_row(vectors: int) -> tuple[Loop, ...]:
        return Loop(vectors, beat), Loop(rows, vectors * beat)

    weights = kernel.agcu(_edge(config, "west", 0), AGCUProgram(
        loads=(LoadProgram(loops=linear(2 * FEATURES * HIDDEN // beat)), LoadProgram(loops=by_row(2 * FEATURES // beat)))))
    biases = kernel.agcu(_edge(config, "west", 1), AGCUProgram(
        loads=(LoadProgram(loops=linear(4 * HIDDEN // beat)), LoadProgram(loops=linear(4 * OUTPUTS // beat))),
        stores=(StoreProgram(loops=(Loop(rows, beat),)),)))
    results = kernel.agcu(_edge(config, "east", 0), AGCUProgram(
        loads=(LoadProgram(loops=linear(2 * HIDDEN * OUTPUTS // beat)),),
        stores=(StoreProgram(loops=by_row(out_vectors)), StoreProgram(loops=by_row(out_vectors)))))

    # The few outputs of the second layer would reuse a sum before it is written: idle row groups fill the time.
    groups = -(-BodyStage.reuse_distance * lanes // OUTPUTS)
    hidden = kernel.pcu(0, 0, library.gemm(config.pcu, rows=rows, k=FEATURES, features=HIDDEN, relu=True, packed_output=True))
    output = kernel.pcu(0, 2, library.gemm(config.pcu, rows=rows, k=HIDDEN, features=OUTPUTS, groups=groups))
    over_classes = {"rows": rows, "n": OUTPUTS}
    maximum = kernel.pcu(1, 1, library.row_max(config.pcu, **over_classes))
    exponential = kernel.pcu(1, 3, library.subtract_exp(config.pcu, **over_classes))
    total = kernel.pcu(2, 2, library.sum_reciprocal(config.pcu, **over_classes))
    scaled = kernel.pcu(2, 0, library.scale(config.pcu, **over_classes))
    best = kernel.pcu(3, 1, library.argmax(config.pcu, **over_classes, to_vector=True))
    logits_buffer = kernel.pmu(1, 2, stage_buffer(config.pmu, vectors=out_vectors, count=rows))
    exponentials_buffer = kernel.pmu(2, 1, stage_buffer(config.pmu, vectors=out_vectors, count=rows))

    kernel.vector(weights.out(0), hidden.input(0))
    kernel.vector(weights.out(1), hidden.input(1))
    kernel.vector(biases.out(0), hidden.input(2), rate=0.1)
    kernel.vector(hidden.out(0), output.input(1), rate=0.1)
    kernel.vector(results.out(0), output.input(0))
    kernel.vector(biases.out(1), output.input(2), rate=0.1)
    kernel.vector(output.out(0), results.input(0), maximum.input(0), logits_buffer.input(0), best.input(0), rate=0.1)
    kernel.scalar(maximum.out(0), exponential.input(0))
    kernel.vector(logits_buffer.out(0), exponential.input(0), rate=0.1)
    kernel.vector(exponential.out(0), total.input(0), exponentials_buffer.input(0), rate=0.1)
    kernel.scalar(total.out(0), scaled.input(0))
    kernel.vector(exponentials_buffer.out(0), scaled.input(0), rate=0.1)
    kernel.vector(scaled.out(0), results.input(1), rate=0.1)
    kernel.vector(best.out(0), biases.input(0), rate=0.1)

    simd = (maximum, exponential, total, scaled, best)
    kernel.argument("rows", *(unit.field(name) for unit in (hidden, output) for name in ("rows", "last_rows")),
                    *(unit.field("bounds[1]") for unit in simd),
                    *(buffer.field(name) for buffer in (logits_buffer, exponentials_buffer)
                      for name in ("write.bounds[1]", "read0.bounds[2]")),
                    weights.field("load1.bounds[1]"), biases.field("store0.bounds[0]"),
                    results.field("store0.bounds[1]"), results.field("store1.bounds[1]"))
    kernel.argument("classes", *(unit.field("mask_bound") for unit in simd))
    for name, unit, engine in (("w1", weights, "load0"), ("pictures", weights, "load1"), ("b1", biases, "load0"),
                               ("b2", biases, "load1"), ("w2", results, "load0"), ("logits", results, "store0"),
                               ("probabilities", results, "store1"), ("best", biases, "store0")):
        kernel.argument(name, unit.field(f"{engine}.base"))
    return kernel.build()


def copy_kernel(config: RDUConfig) -> Kernel:
    """``vectors`` beats from DDR address ``source`` to HBM address ``destination``.

    One AGCU does it, its packets turn round in its switch.
    It is a launch group of its own, so that it runs beside the network kernel.
    """
    return _copy(config).build()


def _copy(config: RDUConfig) -> KernelBuilder:
    kernel = KernelBuilder(config, "copy", group=COPY_GROUP)
    loops = (Loop(1, config.beat_bytes),)
    unit = kernel.agcu(_edge(config, "east", -1), AGCUProgram(loads=(LoadProgram(loops=loops, segment=SEGMENT_OF_TIER[DDR]),),
                                                              stores=(StoreProgram(loops=loops, segment=SEGMENT_OF_TIER[HBM]),)))
    kernel.vector(unit.out(0), unit.input(0))
    kernel.argument("vectors", unit.field("load0.bounds[0]"), unit.field("store0.bounds[0]"))
    kernel.argument("source", unit.field("load0.base"))
    kernel.argument("destination", unit.field("store0.base"))
    return kernel
