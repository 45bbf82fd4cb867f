"""cocotb testbenches on the Verilog of any component: built once, fast flags, and no failure that goes unnoticed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import cocotb_tools.config
import cocotb_tools.runner
from amaranth.lib import wiring
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from hw.hierarchy import to_verilog

from . import toolchain
from .build import VERILATOR_FLAGS
from .cache import cached, digests
from .toolchain import ToolchainError

__all__ = ["CocotbFailure", "build_testbench", "run_testbench"]

# Only the top's ports are visible to a testbench. The runner's own default, every signal, makes the model several times slower.
PORTS_ONLY = '`verilator_config\npublic_flat_rw -module "{top}" -port "*"\n'


class CocotbFailure(AssertionError):
    """Tests failed inside the simulator, or it ended without results; the message has the end of its log."""


def build_testbench(component: wiring.Component, name: str, *, sources: Sequence[Path | str] = (), visible: bool = False,
                    verilog: str | None = None) -> Path:
    """A simulator executable with cocotb for ``component`` (top module ``name``), from the build cache; returns its directory.

    ``sources``: Verilog and C++ beside it. ``visible``: every signal, not only the ports (slow).
    """
    toolchain.require("make", "perl")
    text = to_verilog(component, name) if verilog is None else verilog
    paths = [Path(source).resolve() for source in sources]
    inputs = {"cocotb": text, "top": name, "files": digests([*paths, Path(__file__)]), "visible": visible,
              "library": str(cocotb_tools.config.libs_dir)}      # its place is in the executable

    def make(scratch: Path) -> None:
        (scratch / "design.v").write_text(text)
        (scratch / "ports.vlt").write_text(PORTS_ONLY.format(top=name))
        flags = [*VERILATOR_FLAGS, "--no-assert", *([] if visible else ["--no-public-flat-rw"])]
        files = [*([] if visible else [scratch / "ports.vlt"]), *[path for path in paths if path.suffix == ".vlt"],
                 *[path for path in paths if path.suffix in (".v", ".sv")], scratch / "design.v"]
        with _environment(OPT_FAST="-O2", OPT_SLOW="-O0"):
            runner = get_runner("verilator")
            try:
                runner.build(sources=files, hdl_toplevel=name, build_dir=scratch, timescale=("1ns", "1ps"), always=True,
                             build_args=[*flags, *[str(path) for path in paths if path.suffix == ".cpp"]],
                             log_file=scratch / "build.log")
            except (RuntimeError, SystemExit) as error:
                log = (scratch / "build.log").read_text(errors="replace") if (scratch / "build.log").exists() else str(error)
                errors = [line for line in log.splitlines() if "rror" in line][:8]
                raise ToolchainError("the cocotb build failed: " + "\n".join(errors or log.splitlines()[-5:])) from None
        for intermediate in [*scratch.glob("*.o"), *scratch.glob("*.a"), *scratch.glob("*.gch"), *scratch.glob("*.cpp")]:
            intermediate.unlink()

    return cached(f"cocotb-{name}", inputs, make)


def run_testbench(build: Path, name: str, module: str, run_directory: Path, *, tests: Sequence[str] = (), seed: int = 1,
                  environment: dict[str, str] | None = None) -> int:
    """Runs the cocotb tests of the Python module ``module``; returns how many passed.

    ``tests``: only these, by name. ``environment`` is what the testbench finds in ``os.environ``. Raises
    :class:`CocotbFailure` if a test failed, none ran, or the simulator ended without results.
    """
    run_directory.mkdir(parents=True, exist_ok=True)
    results, log = run_directory / "results.xml", run_directory / "simulation.log"
    results.unlink(missing_ok=True)
    with _environment():
        runner = get_runner("verilator")
        extra = {"PYTHONPATH": os.pathsep.join(map(str, [toolchain.PROJECT, *sys.path])), **(environment or {})}
        # Outside pytest the runner does not raise for failed tests, inside it does: either way the results decide.
        with suppress(RuntimeError, SystemExit, AssertionError):
            runner.test(hdl_toplevel=name, hdl_toplevel_lang="verilog", test_module=module, build_dir=build,
                        test_dir=run_directory, results_xml=str(results), log_file=log, seed=seed, timescale=("1ns", "1ps"),
                        test_filter="|".join(f"{re.escape(test)}$" for test in tests) or None, extra_env=extra)
    ending = "\n".join(log.read_text(errors="replace").splitlines()[-40:]) if log.exists() else "no log"
    if not results.exists():
        raise CocotbFailure(f"the simulator ended without results:\n{ending}")
    count, failed = get_results(results)
    if failed or not count:
        raise CocotbFailure(f"{failed} of {count} cocotb tests failed in {module}:\n{ending}")
    return count


@contextmanager
def _environment(**make_settings: str):
    """``os.environ`` as Verilator, make and the simulator need it: cocotb's runner passes its own environment on."""
    before = dict(os.environ)
    os.environ.update(toolchain.environment())
    os.environ["MAKEFLAGS"] += "".join(f" {key}={value}" for key, value in make_settings.items())
    cocotb_tools.runner.MAX_PARALLEL_BUILD_JOBS = int(os.environ.get("OPENRDU_JOBS", os.cpu_count() or 1))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
