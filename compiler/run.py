"""A model from its file to its outputs: import, compile, run on a device, compare with the references, report."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw.config import RDUConfig

from .compile import compile
from .errors import CompileError
from .frontend.front import Dump, front
from .frontend.import_onnx import load
from .frontend.infer import infer
from .frontend.inputs import checked, declared, random_inputs
from .graph import reference
from .graph.ir import Core, Graph
from .program import Program
from .timing.measure import Meter

__all__ = ["Compiled", "compile_graph", "compile_model", "run_model"]


@dataclass(frozen=True)
class Compiled:
    """A model ready to run: the imported graph (with shapes), the core graph, the program, and how long compiling took."""

    imported: Graph
    core: Graph
    program: Program
    seconds: float


def compile_model(path: Path, config: RDUConfig, arrays: Mapping[str, np.ndarray] | None = None, **options) -> Compiled:
    """Compiles an ONNX file; the shapes of ``arrays`` bind its free dimensions. Options as of :func:`compile_graph`."""
    graph = load(path, {name: value.shape for name, value in (arrays or {}).items()})
    if arrays is not None:
        checked(graph, arrays)               # before anything is built
    return compile_graph(graph, config, **options)


def compile_graph(graph: Graph, config: RDUConfig, *, dump: Path | None = None, progress: Callable[[str], None] | None = None,
                  **options) -> Compiled:
    """Compiles an imported graph. ``dump``: folder for the graph before and after each pass; options of :func:`compile`."""
    start = time.monotonic()
    tell = progress or (lambda _: None)
    tell("import: shapes, folding, patterns, lowering")
    imported = infer(graph)
    core = front(imported, dump=Dump(dump))
    try:
        program = compile(core, config, progress=progress, **options)
    except CompileError as problem:
        raise _traced(core, problem) from None
    return Compiled(imported, core, program, time.monotonic() - start)


def _traced(core: Graph, problem: CompileError) -> CompileError:
    """The error with the node of the model that the core node it names came from."""
    named = [node for node in core.nodes if node.origin and re.search(rf"(?<![\w.]){re.escape(node.name)}(?![\w.])", str(problem))]
    return CompileError(f"{problem} (from node {named[0].origin!r} of the model)") if named else problem


def run_model(compiled: Compiled, device, arrays: Mapping[str, np.ndarray] | None = None, *, seed: int = 0, counters: bool = False,
              settle: Callable[[int], None] | None = None) -> tuple[dict[str, np.ndarray], dict]:
    """(outputs, report). Without ``arrays``: random inputs. The report is what ``rdu run --json`` writes.

    The model runs twice: each kernel launched and measured by the host, then all of them as one schedule of the device.
    ``counters``: the device's counters are read around every launch, for the busiest unit and the bytes that really moved.
    ``settle``: as of :meth:`Program.run`.
    """
    inputs = checked(compiled.imported, random_inputs(compiled.imported, seed) if arrays is None else arrays)
    meter = Meter(device) if counters else None
    measured, statistics = compiled.program.run(device, inputs, observe=meter, settle=settle)
    if settle:
        settle(statistics.cycles)
    outputs, total = compiled.program.run_scheduled(device, inputs)
    exact, ideal = compiled.program.reference(inputs), reference.run(compiled.core, inputs)
    compared = {name: _compare(outputs[name], exact[name], ideal[name]) for name in outputs}
    for name, value in measured.items():
        compared[name]["bit_exact"] &= value.tobytes() == outputs[name].tobytes()
    moved = sum(statistics.bytes.values())
    operations = floating_operations(compiled.core)
    report = {
        "model": compiled.core.name, "preset": compiled.program.config.name, "fuse": compiled.program.fuse,
        "cycles": statistics.cycles, "predicted_cycles": statistics.predicted_cycles, "total_cycles": total,
        "host_cycles": statistics.total_cycles, "kernels": statistics.kernels, "bytes": dict(statistics.bytes), "operations": operations,
        "operations_per_byte": operations / moved if moved else 0.0, "compile_seconds": compiled.seconds,
        "max_abs_error": max((each["max_abs_error"] for each in compared.values()), default=0.0),
        "bit_exact": all(each["bit_exact"] for each in compared.values()), "outputs": compared,
        "core_operators": sum(node.op is not Core.VIEW for node in compiled.core.nodes),
        "launches": [{"kernel": name, "cycles": cycles} for name, cycles in statistics.launches],
    }
    kernels = [compiled.program.kernels[launch.kernel] for launch in compiled.program.launches]
    for launch, kernel in zip(report["launches"], kernels, strict=True):
        launch |= {"predicted_cycles": kernel.predicted_cycles, "bottleneck": kernel.bottleneck, "bottleneck_share": kernel.share}
        launch["roofline_cycles"], launch["roofline"] = kernel.roofline(compiled.program.config)
    report["roofline_share"] = sum(launch["roofline_cycles"] for launch in report["launches"]) / max(statistics.cycles, 1)
    for launch, busiest in zip(report["launches"], meter.found if meter else (), strict=False):
        launch |= {"busiest": busiest.unit, "busiest_share": busiest.share, "bytes": busiest.bytes,
                   "bottleneck_right": busiest.is_as_busy(launch["bottleneck"])}
    if meter:
        report["measured_bytes"] = sum(busiest.bytes for busiest in meter.found)
    return declared(compiled.imported, outputs), report


def _compare(found: np.ndarray, exact: np.ndarray, ideal: np.ndarray) -> dict:
    with np.errstate(all="ignore"):
        wide = found.astype(np.float64)
        error = np.where((wide == ideal) | (np.isnan(wide) & np.isnan(ideal)), 0.0, np.abs(wide - ideal))
    return {"shape": list(found.shape), "max_abs_error": float(np.max(error, initial=0.0)), "bit_exact": found.tobytes() == exact.tobytes()}


def floating_operations(graph: Graph) -> int:
    """Multiplications and additions of a core graph: 2 M N K of a product, one per element and step of a MAP, one per element reduced."""
    total = 0
    for node in graph.nodes:
        match node.op:
            case Core.MATMUL:
                total += 2 * graph[node.output].elements * graph[node.inputs[0]].shape[-1]
            case Core.MAP:
                total += graph[node.output].elements * len(node.attributes.steps)
            case Core.REDUCE:
                total += graph[node.inputs[0]].elements
    return total
