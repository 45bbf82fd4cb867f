"""A pure pipeline as straight C++ over eight operands at a time, made from its netlist: for runs over every operand.

Yosys reads the unit's Verilog with every pipeline register as a wire; each word-level cell that is left becomes one statement on
vectors of eight 64-bit words (with AVX-512 an instruction or two). Several times faster than a Verilated unit, one operand a
cycle. What the registers do (latency, values kept while a stage has nothing to compute) is not in it: the tests on the Verilated
units are for that.
"""

import ctypes
import json
import re
import subprocess
from pathlib import Path

from hw.hierarchy import to_verilog
from sim import toolchain
from sim.cache import cached

__all__ = ["build"]

SCRIPT = """
read_verilog -sv design.v; hierarchy -check -top {top}; proc -norom; flatten; memory_collect
opt -mux_undef; wreduce; opt -mux_undef; opt_clean -purge; write_json netlist.json
"""

PRELUDE = r"""
#include <cstdint>
#include <cstring>
#ifdef __AVX512F__
#include <immintrin.h>
#endif
typedef uint64_t v __attribute__((vector_size(64)));
typedef int64_t s __attribute__((vector_size(64)));
template <int width> static inline v extended(v x) { return (v)((s)(x << (64 - width)) >> (64 - width)); }
static inline v truth(s mask) { return (v)mask & 1; }
// Of factors below 2**32.
static inline v short_product(v x, v y) {
#ifdef __AVX512F__
    return (v)_mm512_mul_epu32((__m512i)x, (__m512i)y);
#else
    return x * y;
#endif
}
static inline v look_up(const uint64_t* table, v address) {
#ifdef __AVX512F__
    return (v)_mm512_i64gather_epi64((__m512i)address, table, 8);
#else
    v word;
    for (int i = 0; i < 8; i++) word[i] = table[address[i]];
    return word;
#endif
}
"""

BINARY = {"$add": "+", "$sub": "-", "$mul": "*", "$and": "&", "$or": "|", "$xor": "^"}
COMPARISONS = {"$eq": "==", "$ne": "!=", "$lt": "<", "$le": "<=", "$gt": ">", "$ge": ">="}


def _without_registers(verilog: str) -> str:
    """The Verilog with each register as a wire that has its next value; a value that it would keep is undefined."""
    register = re.compile(r"always @\(posedge clk\)\s+(\S+)\s+<= ([^;]+);")

    def module(text: str) -> str:
        found = register.findall(text)
        for name, following in found:
            name, following = re.escape(name), re.escape(following.strip())
            text = re.sub(rf"({following}\s+(?:\[[^]]*\] )?= ){name}\s*(?:\[[^]]*\])?;", r"\1'x;", text)
            text = re.sub(rf"(\breg (?:\[[^]]*\] )?{name}\s*) = \d+'[hdb][0-9a-fx]+;", r"\1;", text)
        return register.sub(r"assign \1 = \2;", text)
    return "".join(module(text) for text in re.split(r"(?<=endmodule\n)", verilog))


class _Netlist:
    """The cells of one flat module as statements, each after those that it reads."""

    def __init__(self, module: dict):
        self.cells, self.ports = module["cells"], module["ports"]
        self.source: dict[int, tuple[str, int]] = {}        # net -> (variable, bit)
        self.driver: dict[str, str] = {}                    # variable -> cell
        self.tables, self.statements, self.done = [], [], set()
        for port, details in self.ports.items():
            if details["direction"] == "input":
                self._drives(port, details["bits"])
        for number, (name, cell) in enumerate(self.cells.items()):
            for port, bits in cell["connections"].items():
                if cell["port_directions"][port] == "output":
                    variable = f"x{number}"
                    self.driver[variable] = name
                    self._drives(variable, bits)

    def _drives(self, variable: str, bits: list) -> None:
        self.source |= {bit: (variable, place) for place, bit in enumerate(bits)}

    def function(self) -> str:
        """C++: ``evaluate`` of the input ports, in order, to the output port ``o``."""
        inputs = [port for port, details in self.ports.items() if details["direction"] == "input" and port not in ("clk", "rst")]
        result = self.value(self.ports["o"]["bits"])
        arguments = ", ".join(f"v {port}" for port in sorted(inputs))
        return "\n".join([*self.tables, f"static inline v evaluate({arguments}) {{", "    const v rst = v{};", *self.statements,
                          f"    return {result};", "}"])

    def value(self, bits: list, width: int = 0, signed: bool = False) -> str:
        """An expression for ``bits``, extended to ``width``; emits what it depends on first."""
        constant, runs = 0, []        # runs: [variable, its bit, bit of the value, length, one bit repeated]
        for place, bit in enumerate(bits):
            if bit in ("0", "1", "x"):
                constant |= (bit == "1") << place
                continue
            variable, at = self.source[bit]
            self._emit(variable)
            last = runs[-1] if runs and runs[-1][0] == variable and runs[-1][2] + runs[-1][3] == place else None
            if last and last[1] + last[3] == at and not last[4]:
                last[3] += 1
            elif last and last[1] == at and (last[4] or last[3] == 1):
                last[3:] = last[3] + 1, True
            else:
                runs.append([variable, at, place, 1, False])
        parts = [self._run(*run) for run in runs]
        if constant or not parts:
            parts.append(f"(v{{}} + {constant:#x}ull)")
        text = parts[0] if len(parts) == 1 else "(" + " | ".join(parts) + ")"
        if signed and len(bits) < width:
            text = f"extended<{len(bits)}>({text})"
        return text

    def _run(self, variable: str, at: int, place: int, length: int, repeated: bool) -> str:
        if repeated:
            return f"((-(({variable} >> {at}) & 1) & {(1 << length) - 1:#x}ull) << {place})"
        driver = self.driver.get(variable)
        bits = self.cells[driver]["connections"] if driver else None
        whole = len(bits["Y" if "Y" in bits else "RD_DATA"]) if bits else len(self.ports[variable]["bits"])
        text = f"({variable} >> {at})" if at else variable
        if at + length < whole:
            text = f"({text} & {(1 << length) - 1:#x}ull)"
        return f"({text} << {place})" if place else text

    def _emit(self, variable: str) -> None:
        if variable not in self.driver or variable in self.done:
            return
        self.done.add(variable)
        cell = self.cells[self.driver[variable]]
        parameters = {key: int(text, 2) for key, text in cell["parameters"].items()
                      if key != "INIT" and isinstance(text, str) and set(text) <= {"0", "1"}}
        self.statements.append(f"    const v {variable} = {self._cell(cell['type'], cell, parameters)};")

    def _cell(self, kind: str, cell: dict, parameters: dict) -> str:
        bits = cell["connections"]
        if kind == "$mem_v2":
            return self._memory(cell, parameters)
        if "A" not in bits:
            raise ValueError(f"no translation of a cell of type {kind}: {cell}")
        y_width, a_width = parameters.get("Y_WIDTH", parameters.get("WIDTH")), len(bits["A"])
        b_width, signed = len(bits.get("B", [])), bool(parameters.get("A_SIGNED"))
        if max(y_width, a_width) > 64:
            raise ValueError(f"a cell of type {kind} is {max(y_width, a_width)} bits wide")
        cut = (lambda text: text) if y_width == 64 else (lambda text: f"({text}) & {(1 << y_width) - 1:#x}ull")
        if kind in BINARY:
            a, b = (self.value(bits[port], y_width, signed) for port in "AB")
            if kind == "$mul" and not signed and max(a_width, b_width) <= 32:
                return cut(f"short_product({a}, {b})")
            return cut(f"{a} {BINARY[kind]} {b}")
        if kind in COMPARISONS:
            a, b = (self.value(bits[port], 64, signed) for port in "AB")
            cast = "(s)" if signed else ""
            return f"truth({cast}{a} {COMPARISONS[kind]} {cast}{b})"
        if kind in ("$shl", "$sshl", "$shr", "$sshr"):
            return cut(self._shift(kind, bits, parameters, max(y_width, a_width)))
        a = self.value(bits["A"], y_width, signed)
        if kind in ("$not", "$neg", "$pos"):
            return cut({"$not": "~", "$neg": "-", "$pos": ""}[kind] + a)
        if kind == "$mux":
            return f"({self.value(bits['S'])} != 0) ? {self.value(bits['B'])} : {a}"
        if kind == "$pmux":
            for number, select in enumerate(bits["S"]):
                a = f"(({self.value([select])} != 0) ? {self.value(bits['B'][number * y_width:(number + 1) * y_width])} : {a})"
            return a
        a = self.value(bits["A"])
        if kind in ("$reduce_or", "$reduce_bool"):
            return f"truth({a} != 0)"
        if kind == "$reduce_and":
            return f"truth({a} == {(1 << a_width) - 1:#x}ull)"
        if kind == "$logic_not":
            return f"truth({a} == 0)"
        if kind in ("$logic_and", "$logic_or") and b_width:
            return f"truth(({a} != 0) {'&' if kind == '$logic_and' else '|'} ({self.value(bits['B'])} != 0))"
        raise ValueError(f"no translation of a cell of type {kind}")

    def _shift(self, kind: str, bits: dict, parameters: dict, width: int) -> str:
        signed = bool(parameters["A_SIGNED"])
        a, amount = self.value(bits["A"], 64 if kind == "$sshr" else width, signed), self.value(bits["B"])
        if parameters["B_SIGNED"]:
            raise ValueError("a shift by a signed amount")
        if kind in ("$shl", "$sshl"):
            text = f"{a} << {amount}"
        else:
            text = f"(v)((s){a} >> (s){amount})" if signed and kind == "$sshr" else f"{a} >> {amount}"
        return text if len(bits["B"]) <= 6 else f"({amount} > 63 ? v{{}} : ({text}))"

    def _memory(self, cell: dict, parameters: dict) -> str:
        if parameters["RD_PORTS"] != 1 or parameters["RD_CLK_ENABLE"] or parameters["WR_PORTS"]:
            raise ValueError("only a table with one unclocked read port can be translated")
        width, rows = parameters["WIDTH"], 1 << parameters["ABITS"]
        words = cell["parameters"]["INIT"]
        table = [int(words[len(words) - (row + 1) * width:len(words) - row * width].replace("x", "0") or "0", 2)
                 for row in range(parameters["SIZE"])]
        table += [0] * (rows - len(table))
        name = f"table_{len(self.tables)}"
        self.tables.append(f"static const uint64_t {name}[] = {{{', '.join(f'{word:#x}ull' for word in table)}}};")
        return f"look_up({name}, {self.value(cell['connections']['RD_ADDR'])})"


def build(component, name: str, loop: str, edit=lambda text: text) -> ctypes.CDLL:
    """The shared library of the C++ text ``loop``, which may call ``v evaluate(v ...)``: ``component`` (pure pipeline or combinational,
    output ``o``), its inputs in alphabetical order. ``edit`` changes the Verilog. Raises ValueError for a cell without a translation."""
    verilog = edit(to_verilog(component, name))

    def make(scratch: Path) -> None:
        (scratch / "design.v").write_text(_without_registers(verilog))
        run = subprocess.run([*toolchain.yosys(), "-Q", "-q", "-p", SCRIPT.format(top=name)], cwd=scratch, capture_output=True,
                             text=True)
        if run.returncode or not (scratch / "netlist.json").exists():
            raise RuntimeError(f"Yosys failed on {name}: {(run.stdout + run.stderr)[-1500:]}")
        netlist = _Netlist(json.loads((scratch / "netlist.json").read_text())["modules"][name])
        (scratch / "loop.cpp").write_text(PRELUDE + netlist.function() + loop)
        subprocess.run([toolchain.compiler(), "-std=gnu++17", "-O3", "-march=native", "-mprefer-vector-width=512", "-fno-math-errno",
                        "-w", "-fPIC", "-shared", "loop.cpp", "-o", "model.so", "-lmvec", "-lm"], cwd=scratch, check=True)
    inputs = {"verilog": verilog, "loop": loop, "recipe": Path(__file__).read_text()}
    return ctypes.CDLL(str(cached(f"vectorised-{name}", inputs, make) / "model.so"))
