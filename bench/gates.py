"""Arithmetic in generic gates, with the depth of its logic, by the recipe that open FPUs are compared with."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from amaranth.hdl import Cat, Const, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.fp.add import FpAdd
from hw.fp.mul import FpMul
from hw.hierarchy import instantiate, to_verilog
from sim.toolchain import yosys

__all__ = ["Gates", "MultiplyAdd", "gates"]

# The reports go to files: abc in WebAssembly may close the standard output.
SCRIPT = """
read_verilog -sv design.v; synth -flatten -top {top}; abc; opt_clean
tee -q -o stat.json stat -json -top {top}; tee -q -o depth.txt ltp -noff
"""


@dataclass(frozen=True)
class Gates:
    """``cells``: gates after Yosys' ``synth -flatten; abc``, flip-flops not among them, tables made of gates too; ``flip_flops``: bits;
    ``depth``: gates on the longest path from a flip-flop or input to the next."""

    cells: int
    flip_flops: int
    depth: int


class MultiplyAdd(wiring.Component):
    """``o = fp32(fp32(a * b) + c)``: what a lane-stage does in a systolic step. ``bits``: of ``a`` and ``b``, the upper ones of FP32
    (16: BF16). ``c`` comes with the product, as from the accumulators."""

    latency = FpMul.latency + FpAdd.latency

    def __init__(self, bits: int = 32):
        self.bits = bits
        super().__init__({"a": In(bits), "b": In(bits), "c": In(32), "o": Out(32)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.multiply = instantiate(platform, mul := FpMul())
        m.submodules.add = instantiate(platform, add := FpAdd())
        low = Const(0, 32 - self.bits)
        m.d.comb += [mul.a.eq(Cat(low, self.a)), mul.b.eq(Cat(low, self.b)), add.a.eq(self.c), add.b.eq(mul.o), self.o.eq(add.o)]
        return m


def gates(component: wiring.Component, name: str) -> Gates:
    """Synthesises ``component`` to gates. Raises RuntimeError with the tool's last lines if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "design.v").write_text(to_verilog(component, name, synthesis=True))
        run = subprocess.run([*yosys(), "-Q", "-p", SCRIPT.format(top=name)], cwd=folder, capture_output=True, text=True)
        report = Path(folder) / "depth.txt"
        if run.returncode or not report.exists():      # a failing abc ends the script without an exit code
            raise RuntimeError(f"Yosys failed on {name}: {(run.stdout + run.stderr)[-1500:]}")
        depth = re.search(r"^Longest topological path .*\(length=(\d+)\)", report.read_text(), re.MULTILINE)
        types = json.loads((Path(folder) / "stat.json").read_text())["design"]["num_cells_by_type"]
    flip_flops = sum(count for kind, count in types.items() if "DFF" in kind)
    return Gates(sum(types.values()) - flip_flops, flip_flops, int(depth[1]))
