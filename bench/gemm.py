"""MAC utilisation of a PCU in systolic mode, fed by two PMUs through the network, from its own event counters.

    rdu bench gemm --preset paper_unit [--shape MxKxN[,MxKxN...]] [--weights bf16|fp32|int8] [--start cold]
    rdu bench gemm --from hbm             a compiled product on a whole tile: :mod:`bench.gemm_memory`

The whole device on the RTL: x, row-major in HBM, goes through an AGCU into one PMU, which holds two row tiles and sends each to the
PCU once for every column tile (rows too long for that pass through it, once for every column tile); w, row-major in HBM, goes
through the other AGCU and a queue in the other PMU, once for every row tile; y, FP32, returns to HBM row-major and is compared bit
for bit. The stream of weights is a kernel of its own, launched before the product: its queue, as large as the PMU, is full when the
product begins, as a layer's weights are prefetched during the layer before (``--start cold``: both are launched at once). A link and
a queue take a vector a cycle at most, so for a product of that rate the time of refreshes, 7 %, must come out of that store. The HBM
is interleaved finely, so that one stream has all channels.

A cycle's peak is lanes x min(M x s, stages) MACs, with s the feature blocks (of ``lanes``) of one k that a step can take: 2 of BF16
weights (``stages_per_row=2``), 1 of FP32 or INT8. So one row, as in decode, reaches its peak when a whole vector of BF16 or FP32 weights
arrives every cycle, of INT8 weights a quarter.
``mac_utilization_total``: useful MACs / (peak x cycles in which the PCU was busy, from Execute to its last result taken).
``mac_utilization_steady``: useful share of a step's MACs x systolic steps / busy cycles, between two readings of the counters amid the run
(of a run too short for them: the same as total).
Padding (features to a tile, k to whole vectors, rows to equal tiles) is not useful.
"""

from __future__ import annotations

import numpy as np

from hw.config import RDUConfig
from hw.tln.interleave import DEFAULT_INTERLEAVE, interleave_layout
from sw_driver.device import HBM, Device

from .common import metric, steps
from .gemm_product import BLOCKS_A_VECTOR, Gemm

__all__ = ["DESCRIPTION", "run"]

DESCRIPTION = ("MAC utilisation of one PCU fed by PMUs; --shape MxKxN (default 192x256x256 and 1x2048x256), "
               "--weights bf16|fp32|int8, --start prefetched|cold; --from hbm: of a tile, compiled")
SHAPES = "192x256x256,1x2048x256"
CHUNK_BEATS = 1          # of the HBM that lie together in one channel


def measure(device: Device, gemm: Gemm, start: str = "prefetched") -> tuple[float, float]:
    """(steady, total) utilisation; raises RuntimeError if a result differs."""
    (stream, kernel), (inputs, expected) = gemm.kernels(), gemm.operands()
    buffers = {name: device.upload(HBM, words) for name, words in inputs.items()}
    buffers["y"] = device.allocate(HBM, expected.nbytes)
    row, column = kernel.symbols["pcu"]

    def read() -> tuple[int, int]:
        events, = device.counters([f"pcu({row},{column})"], ("mac_cycles", "busy")).values()
        return events["mac_cycles"], events["busy"]

    for loaded in (stream, kernel):
        device.load(loaded)
        device.set_arguments(loaded, **{name: buffers[name].address for name in loaded.arguments})
    before = read()
    device.execute(stream)
    if start == "prefetched":
        device.backend.run(2 * gemm.prefetched + 2_000)
    device.execute(kernel)
    for _ in range(100):                              # until the first quarter is done, or nothing goes on
        device.backend.run(gemm.steps // 16 + 1)
        first = read()
        if first[0] - before[0] >= gemm.steps // 4:
            break
    device.backend.run(gemm.steps // 2)
    second = read()
    device.wait(kernel, 20 * gemm.steps + 20_000)
    device.wait(stream)
    steps, cycles = (after - start for after, start in zip(read(), before, strict=True))
    result = device.read(buffers["y"], np.float32, expected.shape)
    for buffer in buffers.values():
        device.free(buffer)
    name = f"gemm {gemm.rows}x{gemm.k}x{gemm.features}"
    if not (result.view(np.uint32) == expected.view(np.uint32)).all():
        raise RuntimeError(f"{name}: results differ from the model")
    if steps != gemm.steps:
        raise RuntimeError(f"{name}: {steps} systolic steps were counted, {gemm.steps} are in the program")
    total = gemm.useful * steps / cycles
    if second[0] - before[0] == gemm.steps or first[0] == second[0]:      # too short: nothing steady to be seen
        return total, total
    return gemm.useful * (second[0] - first[0]) / (second[1] - first[1]), total


def _shapes(texts: str) -> list[tuple[int, int, int]]:
    """Rows, k and features of every shape. Raises ``ValueError`` for what is none."""
    shapes = []
    for text in texts.split(","):
        sizes = text.lower().split("x")
        if len(sizes) != 3 or not all(size.isdecimal() and int(size) for size in sizes):
            raise ValueError(f"shape={text} must be ROWSxKxFEATURES, such as 192x256x256")
        shapes.append(tuple(map(int, sizes)))
    return shapes


def run(config: RDUConfig, console, *, full: bool = False, shape: str = "", weights: str = "bf16", from_: str = "pmu",
        start: str = "prefetched") -> list[dict]:
    """The metrics; ``full`` adds the decode shape with FP32 and INT8 weights, or to ``--from hbm`` 256x256x256."""
    from sim.device import VerilatedBackend

    from . import gemm_memory
    for name, value, known in (("from", from_, ("pmu", "hbm")), ("weights", weights, tuple(BLOCKS_A_VECTOR)),
                               ("start", start, ("prefetched", "cold"))):
        if value not in known:
            raise ValueError(f"{name}={value} must be one of {', '.join(known)}")
    if not shape:
        shape = SHAPES if from_ == "pmu" else gemm_memory.SHAPES + f",{gemm_memory.LARGE}" * full
    shapes = _shapes(shape)
    if from_ == "hbm":
        return gemm_memory.run(config, console, shapes)
    cases = [(weights, Gemm(config, *sizes, weights)) for sizes in shapes]
    if full:
        cases += [(kind, Gemm(config, 1, 2048, 256, kind)) for kind in ("fp32", "int8")]
    metrics = []
    interleave = DEFAULT_INTERLEAVE | {"hbm": {"granularity": CHUNK_BEATS.bit_length() - 1, "hash": 1}}
    with steps(console, "building the device", len(cases)) as step, Device(VerilatedBackend(config)) as device:
        device.write_register("INTERLEAVE", interleave_layout().const(interleave).as_value().value)
        for kind, gemm in cases:
            name = f"{gemm.rows}x{gemm.k}x{gemm.features}"
            step(f"gemm {name}")
            case = f"{name} {config.name}" + (f" {kind}" if kind != "bf16" else "") + (" cold" if start == "cold" else "")
            for metric_name, value in zip(("steady", "total"), measure(device, gemm, start), strict=True):
                metrics.append(metric(f"mac_utilization_{metric_name}", case, value, "ratio"))
    return metrics
