"""The model zoo end to end on the RTL, by fusion: ``rdu bench models [--models NAME,NAME] [--fuse none,op,full]``.

For each model (or .onnx file, with random inputs) and fusion: ``cycles`` (Execute to finished, summed over the kernels, each started
right after a refresh, bench/phase.py), ``predicted_cycles``, ``total_cycles`` (from start to end of the schedule by which the device runs
all kernels, loads them and sets their arguments, beginning in the same phase), ``kernels`` launched, ``operators`` in the largest kernel,
``bytes_hbm`` and ``bytes_ddr`` that the kernels move, ``operations_per_byte``, ``bank_conflicts`` of all PMUs,
``bit_exact`` (1: equal to the bit-exact reference),
``max_abs_error`` against the float64 reference, ``error_onnxruntime``: largest difference to onnxruntime (BF16 models: to the same
model with the same weights in FP32), ``roofline_share`` (cycles that the MACs at the peak of all PCUs or the bytes at that of the channels
need, whichever is more, summed over the kernels, over ``cycles``), and ``compile_seconds``; of every launch of the last fusion
``kernel_roofline_share`` and ``kernel_roofline_cycles``, with what bounds it. ``speedup``: cycles of the first fusion over
those of the last, ``total_speedup`` the same of ``total_cycles``. ``prediction_error``: median over all launches of
|predicted - measured| / measured. ``bottleneck_right``: share of the launches in which the unit that the model names is the busiest by
the device's counters, or as busy as that (``--counters true``, and with ``--full``). The set ``--models holdout`` are models that the
constants of the prediction were not fitted to.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

import numpy as np

from compiler.frontend.import_onnx import import_model
from compiler.frontend.inputs import random_inputs
from compiler.run import compile_graph, run_model
from hw.config import RDUConfig
from models import HOLDOUT, ZOO, entry
from models.oracle import answers
from sw_driver.device import Device

from .common import metric, steps
from .phase import in_phase

__all__ = ["DESCRIPTION", "run"]

DESCRIPTION = ("models end to end by fusion; --models NAME,NAME (or .onnx files) --fuse none,full (default; --full: the whole zoo) "
               "--models holdout --counters true --throttle true --bank_bits false")
QUICK = "digits_mlp,digits_cnn,lstm,gpt_prefill,gpt_decode,vit,monarch,train_step"
UNITS = {"cycles": "cycles", "predicted_cycles": "cycles", "total_cycles": "cycles", "kernels": "kernels", "operators": "operators",
         "bank_conflicts": "cycles", "bytes_hbm": "bytes", "bytes_ddr": "bytes", "operations_per_byte": "operations/byte",
         "bit_exact": "0 or 1", "max_abs_error": "1", "error_onnxruntime": "1", "roofline_share": "1", "compile_seconds": "s"}


def run(config: RDUConfig, console, *, full: bool = False, models: str = "", fuse: str = "none,full", throttle: bool = False,
        bank_bits: bool = True, counters: bool = False) -> list[dict]:
    from sim.device import open_backend  # no simulator until it runs

    names = [*HOLDOUT] if models == "holdout" else (models or (",".join(ZOO) if full else QUICK)).split(",")
    fusions = fuse.split(",")
    loaded = [_load(name) for name in names]
    metrics, errors, right = [], [], []
    with steps(console, f"building the simulator of {config.name}", len(names) * len(fusions)) as step, \
            Device(open_backend(config)) as device:
        for name, (model, inputs) in zip(names, loaded, strict=True):
            cycles, totals = [], []
            for fusion in fusions:
                step(f"{name}, fuse {fusion}")
                compiled = compile_graph(import_model(model, {key: value.shape for key, value in inputs.items()}), config, fuse=fusion,
                                         throttle=throttle, bank_bits=bank_bits)
                before = _conflicts(device)
                outputs, report = run_model(compiled, device, inputs, counters=counters or full, settle=lambda n: in_phase(device, n))
                compiled.program.release(device)
                values = report | {f"bytes_{tier}": count for tier, count in report["bytes"].items()}
                values |= {"operators": max(len(record.nodes) for record in compiled.program.kernels),
                           "bank_conflicts": _conflicts(device) - before,
                           "bit_exact": int(report["bit_exact"]), "error_onnxruntime": _difference(outputs, answers(model, inputs))}
                metrics += [{"metric": key, "case": f"{Path(name).stem} {fusion}", "value": values[key], "unit": unit}
                            for key, unit in UNITS.items() if key in values]
                if fusion == fusions[-1]:
                    metrics += _by_kernel(f"{Path(name).stem} {fusion}", report["launches"])
                cycles.append(report["cycles"])
                totals.append(report["total_cycles"])
                right += [each["bottleneck_right"] for each in report["launches"] if "bottleneck_right" in each]
                errors += [abs(each["predicted_cycles"] - each["cycles"]) / each["cycles"] for each in report["launches"]]
            if len(fusions) > 1:
                case = f"{Path(name).stem} {fusions[-1]} over {fusions[0]}"
                metrics += [metric("speedup", case, cycles[0] / cycles[-1], "x"),
                            metric("total_speedup", case, totals[0] / totals[-1], "x")]
    if right:
        metrics.append(metric("bottleneck_right", f"of {len(right)} launches", sum(right) / len(right), "1"))
    return [*metrics, metric("prediction_error", f"median of {len(errors)} launches", median(errors), "1")]


def _by_kernel(case: str, launches: list[dict]) -> list[dict]:
    """The share of its own roofline that each launch reaches, with what bounds it and the cycles that this bound needs."""
    found = []
    for number, launch in enumerate(launches):
        name = f"{case} {number} {launch['kernel']} ({launch['roofline']})"
        found += [metric("kernel_roofline_share", name, launch["roofline_cycles"] / launch["cycles"], "1"),
                  metric("kernel_roofline_cycles", name, launch["roofline_cycles"], "cycles")]
    return found


def _load(name: str):
    """(model, inputs): of the zoo, or a file with random inputs."""
    if not name.endswith(".onnx"):
        return (HOLDOUT.get(name) or entry(name)).build()
    import onnx

    from compiler.frontend.import_onnx import load
    from compiler.frontend.infer import infer
    return onnx.load(name), random_inputs(infer(load(name)), 0)


def _conflicts(device: Device) -> int:
    """Cycles in which an engine of a PMU has waited for a bank so far, over all PMUs."""
    units = [name for name in device.counters(events=()) if name.startswith("pmu")]
    return sum(sum(events.values()) for events in device.counters(units, ("bank_conflict",)).values())


def _difference(outputs: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    with np.errstate(all="ignore"):
        return float(max(np.max(np.abs(outputs[name].astype(np.float64) - expected[name].astype(np.float64)), initial=0.0)
                         for name in outputs))
