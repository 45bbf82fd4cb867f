"""A pipelined component, Verilated, with the loop over its operands in C++."""

import ctypes

import numpy as np

from hw.hierarchy import to_verilog
from sim.build import build as build_model

# The builds leave this function of Verilator's runtime to their user.
FATAL = "#include <cstdlib>\nvoid vl_fatal(const char*, int, const char*, const char*) { abort(); }\n"

LOOP = r"""
#include "Vtop.h"
#include "verilated.h"
#include <cstdint>
static Vtop* top;
static void tick() {{ top->clk = 0; top->eval(); top->clk = 1; top->eval(); }}
extern "C" void run(uint64_t size, {arguments}, uint32_t* o) {{
    if (!top) top = new Vtop;
    for (uint64_t i = 0; i < size + {latency}; i++) {{
        if (i < size) {{ {drive} }}
        tick();
        if (i + 1 >= {latency} && i + 1 - {latency} < size) o[i + 1 - {latency}] = top->o;
    }}
}}
"""


def build(component, name: str, loop: str, edit=lambda text: text, optimize: str = "-O2") -> ctypes.CDLL:
    """The shared library of ``component`` as module ``name`` with the C++ text ``loop``; ``edit`` changes the Verilog."""
    generated = {"loop.cpp": FATAL + loop}
    return ctypes.CDLL(str(build_model(edit(to_verilog(component, name)), name, generated=generated, optimize=optimize)))


class Pipeline:
    """Runs arrays of operands through one instance of a pure pipeline (``inputs`` in, ``o`` out, ``latency``)."""

    def __init__(self, component, inputs=("a", "b"), name: str = "unit_under_test", edit=lambda text: text):
        self.inputs = inputs
        loop = LOOP.format(
            top=name, latency=component.latency, arguments=", ".join(f"const uint32_t* {port}" for port in inputs),
            drive=" ".join(f"top->{port} = {port}[i];" for port in inputs))
        self._run = build(component, name, loop, edit).run
        self._run.restype = None

    def __call__(self, *operands) -> np.ndarray:
        arrays = [np.ascontiguousarray(x, dtype=np.uint32) for x in np.broadcast_arrays(*operands)]
        result = np.empty(arrays[0].shape, dtype=np.uint32)
        pointers = [x.ctypes.data_as(ctypes.c_void_p) for x in (*arrays, result)]
        self._run(ctypes.c_uint64(result.size), *pointers)
        return result
