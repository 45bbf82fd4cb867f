"""The register map for other readers: a C header and a Markdown table, made from the one declaration in hw/host/registers.py.

    python -m sw_driver.register_map      writes sw_driver/openrdu.h, docs/registers.md and the tables in docs/host.md
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from hw.config import PeerConfig, preset
from hw.host.instructions import Opcode, instruction_table
from hw.host.registers import REGISTERS, LauncherError
from hw.socket import event_counters

from .units import counter_units

__all__ = ["c_header", "generated", "markdown"]

ROOT = Path(__file__).resolve().parent.parent


def c_header() -> str:
    """``#define`` lines: ORDU_<REGISTER>, its address; ORDU_<REGISTER>_<FIELD>_LSB and _MASK; error codes and opcodes."""
    lines = ["/* Registers of OpenRDU. Made by python -m sw_driver.register_map from hw/host/registers.py: do not edit. */",
             "#ifndef OPENRDU_H", "#define OPENRDU_H", ""]
    for item in REGISTERS:
        lines.append(f"/* {item.description} ({item.access.value}) */")
        index = "(n)" if item.count > 1 else ""
        lines.append(f"#define ORDU_{item.name}{index} " + (f"({item.address:#05x}u + 4u * (n))" if index else f"{item.address:#05x}u"))
        for field in item.fields:
            name = f"ORDU_{item.name}_{field.name.upper()}"
            lines += [f"#define {name}_LSB {field.lsb}", f"#define {name}_MASK {field.mask:#010x}u"]
    lines += ["", "/* ORDU_ERROR_CODE */", *(f"#define ORDU_ERROR_IS_{code.name} {code.value}" for code in LauncherError),
              "", "/* Opcodes of a schedule */", *(f"#define ORDU_OP_{code.name} {code.value}" for code in Opcode), "", "#endif"]
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """The register map as a table."""
    lines = ["# Registers", "", "Made by `python -m sw_driver.register_map` from `hw/host/registers.py`.", "",
             "| address | register | access | what | fields (bits) |", "|---|---|---|---|---|"]
    for item in REGISTERS:
        last = f"..{item.address + 4 * item.count - 4:#05x}" if item.count > 1 else ""
        bits = [f"`{f.name}` {f.lsb + f.width - 1}..{f.lsb}" if f.width > 1 else f"`{f.name}` {f.lsb}" for f in item.fields]
        fields = "; ".join(f"{bit}: {f.description}" if f.description else bit for bit, f in zip(bits, item.fields, strict=True))
        lines.append(f"| {item.address:#05x}{last} | `{item.name}` | {item.access.name} | {item.description} | {fields} |")
    return "\n".join([*lines, *_counters()]) + "\n"


def _counters() -> list[str]:
    """The event counters of everything that has some, as a table."""
    config = dataclasses.replace(preset("small"), peer=PeerConfig(links=1))
    lines = ["", "## Event counters", "",
             "What COUNTER_SELECT.index selects, of preset `small` with a link to another socket. Those of channels and links "
             "go on through a TILE_RESET.", "", "| units | COUNTER_SELECT.unit | events, from index 0 on |", "|---|---|---|"]
    units = counter_units(config)
    for kind, events in event_counters(config).items():
        numbers = [number for name, number in units.items() if name.startswith(kind)]
        lines.append(f"| {kind} | {', '.join(map(str, numbers))} | {', '.join(f'`{event}`' for event in events)} |")
    return lines


def generated() -> dict[Path, str]:
    """Every file that is made from the declarations, with what it should hold."""
    host = ROOT / "docs/host.md"
    text = re.sub(r"(<!-- instructions -->\n).*?(<!-- end -->)", lambda found: found[1] + instruction_table() + found[2],
                  host.read_text(), flags=re.DOTALL)
    return {ROOT / "sw_driver/openrdu.h": c_header(), ROOT / "docs/registers.md": markdown(), host: text}


if __name__ == "__main__":
    for path, content in generated().items():
        path.write_text(content)
