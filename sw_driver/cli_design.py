"""``rdu info | verilog | bench | waves``: a device's sizes, text, measurements and signals."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hw.config import ConfigError, RDUConfig, preset

from .cli_options import Json, Preset, console, save_json
from .files import write_whole

__all__ = ["bench", "info", "verilog", "waves"]

MOST_UNITS_IN_A_TILE = 256


def info(preset_name: Preset = "small", json_file: Json = None) -> None:
    """Show the sizes of a preset."""
    config = preset(preset_name)
    pcus = sum(config.is_pcu(*point) for point in config.grid)
    pmus = len(config.grid) - pcus
    values = json.loads(config.to_json()) | {
        "pcus": pcus, "pmus": pmus, "macs_per_cycle": pcus * config.pcu.macs_per_cycle, "sram_bytes": pmus * config.pmu.words * 4,
        "agcus": len(config.agcu_ports), "hbm_bytes": config.hbm.bytes, "ddr_bytes": config.ddr.bytes,
        "config_hash": f"{config.digest:#010x}",
    }
    table = Table("size", "value", title=f"preset {config.name}")
    for name, value in values.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key}={item}" for key, item in value.items())
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    console.print(table)
    save_json(json_file, values)


def verilog(preset_name: Preset = "small", json_file: Json = None,
            output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default: standard output.")] = None
            ) -> None:
    """Generate the synthesizable Verilog of a socket, each distinct module once."""
    from hw.hierarchy import to_verilog
    from hw.socket import Socket

    config = preset(preset_name)
    if len(config.grid) > MOST_UNITS_IN_A_TILE:
        raise ConfigError(f"preset {config.name} has a grid of {config.rows}x{config.columns}: tiles of up to "
                          f"{MOST_UNITS_IN_A_TILE} units are generated as a whole; use it for single units and "
                          "the performance model")
    with console.status(f"generating Verilog of {config.name}") if output else contextlib.nullcontext():
        text = to_verilog(Socket(config), "rdu_socket", synthesis=True)
    if output is None:
        sys.stdout.write(text)
    else:
        write_whole(output, text)
        console.print(f"{output}: {text.count(chr(10)):,} lines, {text.count('endmodule')} modules")
    save_json(json_file, {"preset": config.name, "lines": text.count("\n"), "modules": text.count("endmodule")})


def _bench_options(words: list[str]) -> dict[str, str]:
    """``--key value``, ``--key=value`` and ``--key`` (true) as a dictionary."""
    found, words = {}, list(words)
    while words:
        key, equals, value = words.pop(0).partition("=")
        if not key.startswith("--") or key == "--":
            raise ValueError(f"unexpected {key!r}; options of a bench are --key value")
        if not equals:
            value = words.pop(0) if words and not words[0].startswith("--") else "true"
        found[key[2:].replace("-", "_")] = value
    return found


def bench(context: typer.Context,
          name: Annotated[str, typer.Argument(help="Which measurement; 'all' for every one, 'list' to see them.")] = "list",
          preset_name: Preset = "small", json_file: Json = None,
          full: Annotated[bool, typer.Option("--full", help="The published size instead of a short run.")] = False) -> None:
    """Run a measurement of bench/.

    After NAME come the bench's own options as --key value ('rdu bench list' names them), say
    rdu bench dram --timing hbm2 --trace FILE.
    """
    import bench as benches

    config: RDUConfig = preset(preset_name)
    own = _bench_options(context.args) | ({"full": True} if full else {})
    if name in ("all", "list") and set(own) - {"full"}:
        raise ValueError(f"bench {name} takes no options but --full; options belong to one bench")
    if name == "list":
        for known, text in benches.descriptions().items():
            console.print(f"{known:12} {text}")
        return
    results = [benches.run(each, config, console, **own) for each in (benches.names() if name == "all" else [name])]
    for result in results:
        table = Table("metric", "case", "value", "unit", title=f"{result['bench']} on {result['preset']}")
        for row in result["metrics"]:
            table.add_row(row["metric"], str(row["case"]), f"{row['value']:,.4g}", row["unit"])
        console.print(table)
    save_json(json_file, results[0] if name != "all" else {"benches": results})


def waves(file: Annotated[Path, typer.Argument(help="A waveform file, .vcd or .fst.")],
          signals: Annotated[list[str] | None,
                             typer.Argument(help="Parts of signal names; default: the most telling ones.")] = None,
          picture: Annotated[Path | None,
                             typer.Option(help="Draw to this PNG, with view files beside it, instead of printing.")] = None,
          ) -> None:
    """Print or draw signals of a waveform file."""
    from sim.waves import show

    show(file, signals or [], picture=picture, console=console)
