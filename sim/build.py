"""Verilog and C++ in, a shared library out, built once for each distinct set of inputs.

Verilator writes C++; the files are compiled here, a few at a time, rather than by make: that lets every library share one
compiled copy of Verilator's runtime, and needs neither make nor Perl.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import toolchain
from .cache import cached, digest, digests
from .toolchain import ToolchainError

__all__ = ["RECIPE", "VERILATOR_FLAGS", "build", "compile_glue", "link", "unit_objects"]

# Two-state, no assertions of Verilator's own making, no $random initial values: what a clocked, fully reset design needs.
VERILATOR_FLAGS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--timescale", "1ns/1ps", "-Wno-fatal", "-Wno-lint",
                   "-Wno-style", "-Wno-WIDTH", "-Wno-MULTIDRIVEN")
# Several libraries live in one Python process, each with symbols of the same names: none may see another's.
CXX_FLAGS = ("-std=gnu++17", "-fPIC", "-march=native", "-fno-semantic-interposition", "-w")
if "clang" not in toolchain.compiler_name():
    CXX_FLAGS += ("-fno-gnu-unique",)      # clang makes no unique symbols
RUNTIME = ("verilated.cpp", "verilated_dpi.cpp", "verilated_threads.cpp")
TRACE_RUNTIME = {None: (), "vcd": ("verilated_vcd_c.cpp",), "fst": ("verilated_fst_c.cpp",)}
RECIPE = digest(Path(__file__).read_bytes())   # how things are built is an input of every build
CHUNK_BYTES = 1_500_000                  # of generated C++ per compiler run


def build(verilog: str, top: str, *, sources: Sequence[Path | str] = (), generated: dict[str, str] | None = None,
          flags: Sequence[str] = (), optimize: str = "-O2", trace: str | None = None, assertions: bool = False) -> Path:
    """Verilates ``verilog`` and links it with C++ ``sources`` into a shared library; returns the library's path.

    Parameters
    ----------
    verilog, top:
        the design and the name of its top module.
    sources:
        further files: ``.v``/``.sv``/``.vlt`` go to Verilator, ``.cpp`` to the compiler. Headers beside them count as inputs.
    generated:
        further C++ files as text, by name. They see ``Vtop.h`` and the macro ``OPENRDU_TRACE`` (0 none, 1 VCD, 2 FST).
    flags:
        further flags for Verilator.
    optimize:
        the compiler's level for the model: -O2 for unit benches (builds fast), -O3 for what runs for minutes.
    trace:
        None, "vcd" or "fst": what the library is *able* to write.
    assertions:
        keep SystemVerilog assertions (device models that check timing).

    Contract: equal inputs (texts, flags, tool versions, this recipe) give the same path without building. A build is visible
    only when complete: killed at any moment it leaves nothing that a later call would take for a result. Two processes that
    want the same build: one builds, the other waits for it.

    Errors: :class:`ToolchainError` with the tool's own first error lines, or naming the tool that is missing.
    """
    if trace not in TRACE_RUNTIME:
        raise ValueError(f"trace={trace!r} must be None, 'vcd' or 'fst'")
    generated = dict(generated or {})
    paths = [Path(source).resolve() for source in sources]
    inputs = {
        "verilog": digest(verilog.encode()), "top": top, "files": digests(paths), "generated": generated, "flags": [*flags],
        "optimize": optimize, "trace": trace, "assertions": assertions, "recipe": RECIPE,
    }

    def make(scratch: Path) -> None:
        if trace == "fst" and not any(Path(d, "lz4.h").exists() for d in ("/usr/include", "/usr/local/include")):
            raise ToolchainError("lz4.h not found, needed to write FST: `apt-get install liblz4-dev` (VCD works without)")
        _compile(scratch, verilog, top, paths, generated, [*flags], optimize, trace, assertions)

    return cached(top, inputs, make) / "model.so"


def _compile(scratch: Path, verilog: str, top: str, paths: list[Path], generated: dict[str, str], flags: list[str], optimize: str,
             trace: str | None, assertions: bool) -> None:
    linked = _model_objects(scratch, verilog, top, "Vtop", paths, generated, flags, optimize, trace, assertions)
    link(scratch / "model.so", linked, trace)
    shutil.rmtree(scratch / "obj")


def unit_objects(module: str, text: str, sources: list[Path], optimize: str, trace: str | None) -> Path:
    """The directory with the headers and object files (obj/) of the class ``Vmodule``, Verilated from ``text`` and ``sources``."""
    inputs = {"verilog": text, "files": digests(sources), "optimize": optimize, "trace": trace, "recipe": RECIPE}

    def make(scratch: Path) -> None:
        _model_objects(scratch, text, module, f"V{module}", sources, {}, [], optimize, trace, assertions=False)
        for path in scratch.glob("obj/*.cpp"):
            path.unlink()
        (scratch / "inputs.json").write_text(json.dumps({"module": module, "optimize": optimize, "trace": trace}))

    return cached(module, inputs, make)


def _model_objects(scratch: Path, verilog: str, top: str, prefix: str, paths: list[Path], generated: dict[str, str], flags: list[str],
                  optimize: str, trace: str | None, assertions: bool) -> list[Path]:
    """Verilates ``verilog`` into C++ classes called ``prefix`` in scratch/obj and compiles them; returns the object files."""
    (scratch / "design.v").write_text(verilog)
    objects = scratch / "obj"
    macros = _macros(trace)
    _run([toolchain.verilator(), "--cc", "--top-module", top, "--prefix", prefix, "-Mdir", objects, "--output-split", "20000",
          *VERILATOR_FLAGS, "--assert" if assertions else "--no-assert", *([f"--trace-{trace}"] if trace else []), *flags,
          *[path for path in paths if path.suffix == ".vlt"],
          *[path for path in paths if path.suffix in (".v", ".sv")], "design.v"], scratch)
    for name, text in generated.items():
        (objects / name).write_text(text)
    include = toolchain.verilator_root() / "include"
    model = [optimize, *CXX_FLAGS, *macros, "-I", objects, "-I", include, "-I", include / "vltstd"]
    written = sorted(objects.glob(f"{prefix}*.cpp"))
    slow = [path for path in written if "__Slow" in path.name or "__Syms" in path.name]
    jobs = []
    for kind, files, level in (("fast", [path for path in written if path not in slow], []), ("slow", slow, ["-O0"])):
        jobs += [([*model, *level], unit) for unit in _chunks(objects, kind, files)]
    jobs += [(model, path) for path in paths if path.suffix == ".cpp"] + [(model, objects / name) for name in generated
                                                                         if name.endswith(".cpp")]
    # Longest first: with two workers the last one to finish is then a short one.
    jobs.sort(key=lambda job: -job[1].stat().st_size)
    with ThreadPoolExecutor(int(os.environ.get("OPENRDU_JOBS", os.cpu_count() or 1))) as pool:
        def compiled(job: tuple[int, tuple[list, Path]]) -> Path:
            index, (options, source) = job
            target = objects / f"{index}.o"
            _run([toolchain.compiler(), *options, "-c", source, "-o", target], scratch)
            return target
        return list(pool.map(compiled, enumerate(jobs)))


def compile_glue(scratch: Path, sources: dict[str, str] | list[Path], include: list[Path], optimize: str, trace: str | None) -> list[Path]:
    """Compiles C++ that uses Verilated classes; ``include``: where their headers are."""
    root = toolchain.verilator_root() / "include"
    folders = [part for folder in (*include, root, root / "vltstd") for part in ("-I", folder)]
    paths = [Path(source) for source in sources] if isinstance(sources, list) else []
    for name, text in ({} if isinstance(sources, list) else sources).items():
        paths.append(scratch / name)
        paths[-1].write_text(text)
    linked = [scratch / f"{path.stem}.o" for path in paths]
    for path, target in zip(paths, linked, strict=True):
        _run([toolchain.compiler(), optimize, *CXX_FLAGS, *_macros(trace), *folders, "-c", path, "-o", target], scratch)
    return linked


def link(library: Path, objects: list[Path], trace: str | None) -> None:
    """Links object files and Verilator's runtime into a shared library."""
    libraries = ["-pthread", "-latomic", *(["-llz4", "-lz"] if trace == "fst" else [])]
    _run([toolchain.compiler(), "-shared", "-Wl,-Bsymbolic", "-o", library, *objects, *_runtime(trace, _macros(trace)), *libraries],
         library.parent)


def _macros(trace: str | None) -> list[str]:
    return [f"-DOPENRDU_TRACE={[None, 'vcd', 'fst'].index(trace)}", "-DVL_USER_FATAL", "-DVERILATOR=1", "-DVM_COVERAGE=0",
            "-DVM_SC=0", "-DVM_TIMING=0", f"-DVM_TRACE={int(trace is not None)}", f"-DVM_TRACE_VCD={int(trace == 'vcd')}",
            f"-DVM_TRACE_FST={int(trace == 'fst')}", "-DVM_TRACE_SAIF=0"]


def _chunks(objects: Path, kind: str, files: list[Path]) -> list[Path]:
    """Files that include several generated ones each, so that the headers are parsed a few times and not hundreds."""
    groups: list[list[Path]] = []
    room = 0
    for path in files:
        if not groups or path.stat().st_size > room:
            groups.append([])
            room = CHUNK_BYTES
        groups[-1].append(path)
        room -= path.stat().st_size
    units = []
    for index, group in enumerate(groups):
        unit = objects / f"all_{kind}_{index}.cpp"
        unit.write_text("".join(f'#include "{path.name}"\n' for path in group))
        units.append(unit)
    return units


def _runtime(trace: str | None, macros: list[str]) -> list[Path]:
    """Verilator's own C++ files, compiled once for each tool version and kind of trace and shared by all libraries."""
    include = toolchain.verilator_root() / "include"
    flags = ["-O2", *CXX_FLAGS, *macros, "-I", str(include), "-I", str(include / "vltstd")]
    files = [*RUNTIME, *TRACE_RUNTIME[trace]]

    def make(scratch: Path) -> None:
        for file in files:
            _run([toolchain.compiler(), *flags, "-c", include / file, "-o", scratch / f"{file}.o"], scratch)

    home = cached("runtime", {"flags": flags, "files": files}, make)
    return [home / f"{file}.o" for file in files]


def _run(command: list, directory: Path) -> None:
    """Runs a tool; if it fails, raises with its first error lines."""
    done = subprocess.run([str(part) for part in command], cwd=directory, env=toolchain.environment(), capture_output=True,
                          text=True)
    if done.returncode:
        lines = (done.stdout + done.stderr).splitlines()
        errors = [line for line in lines if "rror" in line] or lines or [f"exit code {done.returncode}, nothing printed"]
        raise ToolchainError(f"{Path(str(command[0])).name} failed: " + "\n".join(errors[:8]))
