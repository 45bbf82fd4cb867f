"""What a unit costs to build, by Yosys: generic two-input cells, flip-flops, SRAM bits, register-file bits.

    rdu bench cost [--unit pmu|switch|program|pcu|pcu_gates|fp]

Every case is the unit of the preset in its synthesis form with one option changed, or a part of it. The cases of ``tiny`` are
recorded in bench/results/cost_UNIT.json (by ``--full``) and compared by the tests.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from amaranth.lib import wiring

from hw.common.packet import vector_packet
from hw.common.program import ConfigRegister, shadow_words
from hw.config import RDUConfig, preset
from hw.fp.add import FpAdd
from hw.fp.mul import FpMul
from hw.fp.tail import TailUnit
from hw.hierarchy import to_verilog
from hw.pcu.alu import IntegerALU
from hw.pcu.lane import LaneStage
from hw.pcu.stage import BodyStage
from hw.pcu.tail import Tail
from hw.pmu.pmu import PMU
from hw.programs import unit_program_of
from hw.rdn.node import switch_program, vector_ports
from hw.rdn.switch import Switch
from sim.toolchain import yosys

from .common import metric, steps
from .gates import Gates, MultiplyAdd, gates

__all__ = ["CASES", "DESCRIPTION", "Cost", "cost", "measure", "record", "recorded", "run"]

DESCRIPTION = ("cells, flip-flops and memory bits of a unit with each option on and off, by Yosys; "
               "--unit pmu|switch|program|pcu|pcu_gates|fp")

RESULTS = Path(__file__).parent / "results"

SCRIPT = """
read_verilog -sv design.v; hierarchy -check -top {top}; proc; opt_expr; opt_clean; opt_dff; wreduce; opt_clean
memory -nomap; opt_clean; write_json memories.json
techmap; opt -fast; clean; stat -json -top {top} -tech cmos
"""


def pmu_cases(config: RDUConfig) -> dict[str, Callable[[], PMU]]:
    """Case -> the PMU of ``config`` with one option changed."""
    changes = {"as it is": {}, "ecc on": {"ecc": True}, "no address stages": {"address_stages": 0},
               "one read engine": {"vector_outputs": 1, "scalar_outputs": 1}, "three loops": {"counter_levels": 3}}
    return {case: lambda change=change: PMU(dataclasses.replace(config.pmu, **change)) for case, change in changes.items()}


def switch_cases(config: RDUConfig) -> dict[str, Callable[[], Switch]]:
    """Case -> the vector switch of ``config`` with another number of labels, lanes, packets per label or dynamic slots."""
    rdn = config.rdn
    changes = {"as it is": {}, "2 labels": {"labels": 2}, "8 labels": {"labels": 8}, "depth 4": {"depth": 4},
               f"{2 * rdn.lanes} lanes": {"lanes": 2 * rdn.lanes}, "2 dynamic slots": {"slots": 2}, "4 dynamic slots": {"slots": 4}}

    def make(labels=rdn.labels, lanes=rdn.lanes, depth=rdn.buffer_depth, slots=0) -> Switch:
        return Switch(vector_packet(lanes, rdn.sequence_bits), vector_ports(rdn), labels, depth, slots=slots,
                      coordinate_bits=rdn.coordinate_bits)
    return {case: lambda change=change: make(**change) for case, change in changes.items()}


def program_cases(config: RDUConfig) -> dict[str, Callable[[], ConfigRegister]]:
    """Case -> the register that holds the program of a kind of unit, with and without its shadow."""
    layouts = {kind: unit_program_of(config, kind) for kind in ("pcu", "pmu", "agcu")} | {"switch": switch_program(config.rdn)}
    return {f"{kind}, {'shadow' if shadow else 'no shadow'}": lambda layout=layout, shadow=shadow: ConfigRegister(
        layout, shadow_words(layout) if shadow else 0) for kind, layout in layouts.items() for shadow in (False, True)}


def pcu_cases(config: RDUConfig) -> dict[str, Callable[[], wiring.Component]]:
    """Parts of the PCU of ``config``: a stage (``lanes`` lane-stages with operand selection and accumulators), the tail of all
    lanes, one tail unit (its tables of coefficients count as memory bits)."""
    return {"one stage": lambda: BodyStage(config.pcu), "tail": lambda: Tail(config.pcu), "tail unit": TailUnit}


def pcu_gates_cases(config: RDUConfig) -> dict[str, Callable[[], wiring.Component]]:
    """The same parts for their depth, and the arithmetic of a lane-stage alone."""
    return {"one stage": lambda: BodyStage(config.pcu), "arithmetic of a lane-stage": LaneStage, "tail unit": TailUnit}


def fp_cases(config: RDUConfig) -> dict[str, Callable[[], wiring.Component]]:
    """Arithmetic of one lane, the same for every ``config``; a lane-stage is a multiply-add and an integer ALU side by side."""
    return {"FpAdd": FpAdd, "FpMul": FpMul, "multiply-add": MultiplyAdd, "bf16 multiply-add": lambda: MultiplyAdd(16),
            "IntegerALU": IntegerALU}


# Unit -> its cases for a configuration; a unit is added here with a function like pmu_cases.
CASES: dict[str, Callable[[RDUConfig], dict[str, Callable]]] = {
    "pmu": pmu_cases, "switch": switch_cases, "program": program_cases, "pcu": pcu_cases, "pcu_gates": pcu_gates_cases,
    "fp": fp_cases}
# Those measured in gates, with the depth of the logic: whether module by module.
BY_MODULE = {"fp": False, "pcu_gates": True}


@dataclass(frozen=True)
class Cost:
    """Totals over all instances under the top module.

    ``cells``: generic gates (two-input logic, inverters, multiplexers), flip-flops not among them; ``flip_flops``: bits;
    ``sram_bits``: memories with a clocked read port only; ``register_file_bits``: the others, small FIFOs.
    """

    cells: int
    flip_flops: int
    sram_bits: int
    register_file_bits: int


def cost(component: wiring.Component, name: str) -> Cost:
    """Synthesises ``component`` to generic gates. Raises RuntimeError with the tool's last lines if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "design.v").write_text(to_verilog(component, name, synthesis=True))
        run = subprocess.run([*yosys(), "-Q", "-p", SCRIPT.format(top=name)], cwd=folder, capture_output=True, text=True)
        start, end = run.stdout.rfind('\n{\n   "creator"'), run.stdout.rfind("\n}")
        if run.returncode or start < 0:
            raise RuntimeError(f"Yosys failed on {name}: {(run.stdout + run.stderr)[-1500:]}")
        total = json.loads(run.stdout[start:end + 2])["design"]
        memories = json.loads((Path(folder) / "memories.json").read_text())
    sram, register_file = _memory_bits(memories["modules"], name)
    types = total["num_cells_by_type"]
    flip_flops = sum(count for kind, count in types.items() if "DFF" in kind)
    return Cost(sum(count for kind, count in types.items() if kind.startswith("$_") and "DFF" not in kind), flip_flops, sram,
                register_file)


def _memory_bits(modules: dict, top: str) -> tuple[int, int]:
    """(bits of memories whose reads are clocked, other memory bits) of ``top`` and everything under it."""
    sram = register_file = 0
    for cell in modules[top]["cells"].values():
        kind, parameters = cell["type"], cell["parameters"]
        if kind == "$mem_v2":
            bits = int(parameters["SIZE"], 2) * int(parameters["WIDTH"], 2)
            clocked = int(parameters["RD_CLK_ENABLE"], 2) != 0
            sram, register_file = sram + bits * clocked, register_file + bits * (not clocked)
        elif kind in modules:
            under = _memory_bits(modules, kind)
            sram, register_file = sram + under[0], register_file + under[1]
    return sram, register_file


def measure(unit: str, component: wiring.Component) -> Cost | Gates:
    """What ``component``, of a case of ``unit``, costs: with the depth of its logic, or with its memories."""
    return gates(component, unit, by_module=BY_MODULE[unit]) if unit in BY_MODULE else cost(component, unit)


def recorded(unit: str) -> dict[str, Cost | Gates]:
    """Case -> cost as recorded in bench/results/cost_``unit``.json."""
    kind, text = Gates if unit in BY_MODULE else Cost, (RESULTS / f"cost_{unit}.json").read_text()
    return {case: kind(**values) for case, values in json.loads(text).items()}


def record(unit: str, costs: dict[str, Cost | Gates]) -> None:
    """Writes bench/results/cost_``unit``.json."""
    text = json.dumps({case: asdict(value) for case, value in costs.items()}, indent=2)
    (RESULTS / f"cost_{unit}.json").write_text(text + "\n")


def run(config: RDUConfig, console, *, full: bool = False, unit: str = "pmu") -> list[dict]:
    """The cost of a unit of the preset with each option on and off; ``--full``: also records the ``tiny`` ones for the tests."""
    if unit not in CASES:
        raise ValueError(f"unit={unit} must be one of: {', '.join(CASES)}")
    sizes = {config.name: config} | ({"tiny": preset("tiny")} if full else {})
    found: dict[str, dict[str, Cost | Gates]] = {name: {} for name in sizes}
    with steps(console, "Yosys", sum(len(CASES[unit](size)) for size in sizes.values())) as step:
        for name, size in sizes.items():
            for case, make in CASES[unit](size).items():
                step(f"{name}: {case}")
                found[name][case] = measure(unit, make())
    if full:
        record(unit, found["tiny"])
    return [metric(name, f"{unit}, {case}", value, "bits" if name.endswith("bits") else name)
            for case, total in found[config.name].items() for name, value in asdict(total).items()]
