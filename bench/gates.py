"""Logic in generic gates, with its depth: arithmetic by the recipe that open FPUs are compared with, whole units module by module."""

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
FLAT = """
read_verilog -sv design.v; synth -flatten -top {top}; abc; opt_clean
tee -q -o stat.json stat -json -top {top}; tee -q -o depth.txt ltp -noff
"""
# Each module once; the gates without the memories, which then, except tables, become flip-flops and multiplexers for the paths through.
BY_MODULE = """
read_verilog -sv design.v; synth -top {top} -run begin:fine; opt -fast -full; techmap; opt -fast; abc; opt_clean
tee -q -o stat.json stat -json -top {top}
memory_map r:WR_PORTS>0; opt_clean; techmap; opt_clean; flatten; opt_clean
tee -q -o depth.txt ltp -noff
"""


@dataclass(frozen=True)
class Gates:
    """``cells``: gates after Yosys' ``synth; abc``, flip-flops not among them; ``flip_flops``: bits; ``depth``: gates on the longest path
    from a flip-flop or input to the next."""

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


def gates(component: wiring.Component, name: str, *, by_module: bool = False) -> Gates:
    """Synthesises ``component`` to gates. Raises RuntimeError with the tool's last lines if it fails.

    ``by_module``: each module is optimised once and by itself, which whole units need to take seconds. Memories are then not in the
    count; a path leads through a memory's decoder and multiplexers, through a table as through one gate. Else tables are gates too.
    """
    script = BY_MODULE if by_module else FLAT
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "design.v").write_text(to_verilog(component, name, synthesis=True))
        run = subprocess.run([*yosys(), "-Q", "-p", script.format(top=name)], cwd=folder, capture_output=True, text=True)
        report = Path(folder) / "depth.txt"
        if run.returncode or not report.exists():      # a failing abc ends the script without an exit code
            raise RuntimeError(f"Yosys failed on {name}: {(run.stdout + run.stderr)[-1500:]}")
        depth = re.search(r"^Longest topological path .*\(length=(\d+)\)", report.read_text(), re.MULTILINE)
        types = json.loads((Path(folder) / "stat.json").read_text())["design"]["num_cells_by_type"]
    flip_flops = sum(count for kind, count in types.items() if "DFF" in kind)
    cells = sum(count for kind, count in types.items() if kind.startswith("$_"))
    return Gates(cells - flip_flops, flip_flops, int(depth[1]))
