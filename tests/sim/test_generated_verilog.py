"""The socket's generated Verilog: each module once, and other people's tools take it."""

import dataclasses
import shutil

import pytest

from hw.config import PeerConfig, preset
from hw.socket import Socket
from sim.generate import cached_verilog
from sim.lint import check_icarus, check_verilator, check_yosys, modules
from sim.toolchain import ToolchainError

SIZES = ["tiny", pytest.param("small", marks=pytest.mark.long), pytest.param("tiny, two peer links", marks=pytest.mark.long)]


def socket(name: str) -> str:
    config = preset(name.split(",")[0])
    if "peer" in name:
        config = dataclasses.replace(config, peer=PeerConfig(links=2))
    return cached_verilog(lambda: Socket(config), "socket", config.to_json())


@pytest.mark.parametrize("size", SIZES)
def test_no_module_is_emitted_twice(size):
    names = modules(socket(size))
    for unit in ("pcu_shell", "pmu_shell", "agcu_shell", "tile", "tln", "socket"):
        assert names.count(unit) == 1


@pytest.mark.parametrize("size", SIZES)
def test_verilator_lint(size):
    check_verilator(socket(size), "socket")


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog is not installed")
@pytest.mark.parametrize("size", SIZES)
def test_icarus_compiles(size):
    check_icarus(socket(size), "socket")


@pytest.mark.long
@pytest.mark.parametrize("size", ["tiny", "small"])
def test_yosys_reads(size):
    assert check_yosys(socket(size), "socket") > 1_000


BAD = {
    "PINMISSING": "module part(input a, output b); assign b = a; endmodule\nmodule socket(output b); part p(.b(b)); endmodule",
    "UNDRIVEN": "module socket(output b); wire c; assign b = c; endmodule",
    "LATCH": "module socket(input a, input d, output reg b); always @* if (a) b = d; endmodule",
}


@pytest.mark.parametrize("rule", BAD)
def test_lint_bites(rule):
    with pytest.raises(ToolchainError, match=rule):
        check_verilator(BAD[rule], "socket")


def test_module_twice_is_caught():
    with pytest.raises(ToolchainError, match="more than once: a"):
        modules("module a(); endmodule\nmodule b(); endmodule\nmodule a(); endmodule\n")
    with pytest.raises(ToolchainError, match=r"refuses the Verilog"):
        check_yosys("module socket(); missing m(); endmodule", "socket")
