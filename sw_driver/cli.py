"""The command ``rdu``."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from subprocess import SubprocessError
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hw.config import PRESETS, ConfigError, RDUConfig, preset

from .cli_tools import register
from .files import write_whole

__all__ = ["app", "main"]

app = typer.Typer(help="OpenRDU: generate, simulate and measure a reconfigurable dataflow unit.", no_args_is_help=True,
                  add_completion=False, pretty_exceptions_enable=False)
console = Console()

INTERRUPTED = 130

Preset = Annotated[str, typer.Option("--preset", help=f"Size of the device: {', '.join(PRESETS)}.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the results to this file, machine-readable.")]
Waves = Annotated[str | None, typer.Option("--waves", metavar="FILE[:FROM-TO|:kernel=N|:fault]",
                                           help="Write a waveform (.vcd or .fst) of all cycles or a window of them.")]


def _save(path: Path | None, values: dict) -> None:
    if path is not None:
        write_whole(path, json.dumps(values, indent=1) + "\n")


@app.command()
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
    _save(json_file, values)


@app.command()
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
    _save(json_file, {"preset": config.name, "lines": text.count("\n"), "modules": text.count("endmodule")})


MOST_UNITS_IN_A_TILE = 256


@app.command()
def coe(preset_name: Preset = "small", json_file: Json = None, waves: Waves = None,
        requests: Annotated[int | None, typer.Option(help="Serve only the first N held-out pictures.")] = None,
        batch: Annotated[int, typer.Option(help="Pictures that the router sees at once.")] = 4,
        resident: Annotated[int, typer.Option(help="Experts that the HBM region holds.")] = 4,
        weights: Annotated[Path | None, typer.Option(help="Another weight file (.npz, from python -m coe_app.train).")] = None,
        picture: Annotated[Path, typer.Option(help="Where the timeline is drawn.")] = Path("build/coe_timeline.png"),
        verbose: Annotated[bool, typer.Option("--verbose", "-v", help="One line per request.")] = False,
        report: Annotated[Path | None, typer.Option(help="Run the language composition instead and write its HTML report.")] = None
        ) -> None:
    """Run the digits Composition of Experts on the simulated RTL."""
    if report is not None:
        return coe_llm(preset_name, json_file, report=report, requests=8 if requests is None else requests, resident=resident,
                       batch=batch)
    from coe_app.main import run

    values = run(preset(preset_name), console=console, json_file=json_file, waves=waves, requests=requests, batch=batch,
                 resident=resident, weights=weights, picture=picture, verbose=verbose)
    if not values["bit_exact"]:
        wrong = sum(not request["bit_exact"] for request in values["requests"])
        raise RuntimeError(f"{wrong} of {len(values['requests'])} requests differ from the numpy model")


@app.command(name="run")
def run_command(model: Annotated[Path, typer.Argument(help="An ONNX file, or a compiled model (.rdu, from --save).")],
                input_file: Annotated[Path | None, typer.Option("--input", help="Arrays by input name (.npz); default: random.")] = None,
                output_file: Annotated[Path | None, typer.Option("--output", help="Where the outputs go (.npz).")] = None,
                preset_name: Preset = "small", json_file: Json = None,
                fuse: Annotated[str, typer.Option(help="Operators per kernel: none, op (a composite each) or full.")] = "full",
                dump: Annotated[Path | None, typer.Option(help="Folder for the graph before and after each pass.")] = None,
                save: Annotated[Path | None, typer.Option(help="Where the compiled model goes (.rdu); rdu run takes it again.")] = None,
                counters: Annotated[bool, typer.Option("--counters", help="Read the device's counters around every kernel.")] = False,
                seed: Annotated[int, typer.Option(help="Of the random inputs.")] = 0) -> None:
    """Compile an ONNX model, run it on the simulated RTL, and compare the outputs with the references."""
    from compiler.frontend.inputs import checked, load_arrays, save_arrays
    from compiler.image import is_image, load_compiled, save_compiled
    from compiler.run import compile_model, run_model

    from .device import Device

    config = preset(preset_name)
    arrays = None if input_file is None else load_arrays(input_file)
    with console.status("compiling") as status:
        if is_image(model):
            if dump is not None:
                raise ValueError(f"{model} is compiled already: --dump needs the ONNX file")
            compiled = load_compiled(model, config)
            if arrays is not None:
                checked(compiled.imported, arrays)
        else:
            compiled = compile_model(model, config, arrays, fuse=fuse, dump=dump, progress=status.update)
        if save is not None:
            save_compiled(compiled, save)
        from sim.device import open_backend  # the driver and the compiler know no simulator until they run

        status.update(f"building the simulator of {config.name} (once; some minutes)")
        with Device(open_backend(config)) as device:
            status.update(f"running {len(compiled.program.launches)} kernels")
            outputs, report = run_model(compiled, device, arrays, seed=seed, counters=counters)
    if output_file is not None:
        save_arrays(output_file, outputs)
    table = Table("", "value", title=f"{report['model']} on {config.name}, fuse {report['fuse']}")
    for name in ("kernels", "cycles", "predicted_cycles", "operations", "operations_per_byte", "max_abs_error", "bit_exact"):
        value = report[name]
        table.add_row(name, f"{value:,}" if type(value) is int else f"{value:.4g}" if isinstance(value, float) else str(value))
    for tier, count in report["bytes"].items():
        table.add_row(f"bytes {tier}", f"{count:,}")
    console.print(table)
    _save(json_file, report)
    if not report["bit_exact"]:
        wrong = [name for name, each in report["outputs"].items() if not each["bit_exact"]]
        raise RuntimeError(f"outputs {', '.join(wrong)} differ from the bit-exact reference")


@app.command("coe-llm")
def coe_llm(preset_name: Preset = "small", json_file: Json = None,
            prompts: Annotated[str | None, typer.Option(help="A file of prompts (JSON, or one a line), '-': standard input.")] = None,
            requests: Annotated[int | None, typer.Option(help="Serve only the first N prompts.")] = None,
            tokens: Annotated[int, typer.Option(help="New tokens for each prompt.")] = 12,
            experts: Annotated[int, typer.Option(help="Experts in DDR; those beyond 8 are perturbed copies.")] = 8,
            resident: Annotated[int, typer.Option(help="Experts that the HBM region holds.")] = 4,
            batch: Annotated[int, typer.Option(help="Prompts that the router sees at once.")] = 4,
            temperature: Annotated[float, typer.Option(help="0: greedy; else the host draws from the logits.")] = 0.0,
            seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
            reorder: Annotated[bool, typer.Option(help="Serve prompts of resident experts first, within a batch.")] = False,
            look_ahead: Annotated[bool, typer.Option(help="Copy the next expert while the present one runs (SO).")] = False,
            launch: Annotated[str, typer.Option(help="ho: the device walks schedules; so: the host launches kernels.")] = "ho",
            report: Annotated[Path | None, typer.Option(help="Write an HTML report with plots.")] = None) -> None:
    """Run the language Composition of Experts on the simulated RTL."""
    from coe_app.llm.main import read_prompts, run

    if launch not in ("so", "ho"):
        raise ValueError(f"launch={launch!r} must be so or ho")
    values = run(preset(preset_name), console=console, prompts=read_prompts(prompts, requests), tokens=tokens, experts=experts,
                 resident=resident, batch=batch, temperature=temperature, seed=seed, reorder=reorder, look_ahead=look_ahead,
                 hardware=launch == "ho" and not look_ahead, json_file=json_file, report=report)
    if not values["bit_exact"] or values["failed"]:
        raise RuntimeError(f"{values['failed']} requests failed; tokens {'equal' if values['bit_exact'] else 'DIFFER from'} the model")


@app.command()
def chat(preset_name: Preset = "small",
         tokens: Annotated[int, typer.Option(help="New tokens for each line.")] = 24,
         temperature: Annotated[float, typer.Option(help="0: greedy.")] = 0.0,
         seed: Annotated[int, typer.Option(help="Of the draws.")] = 0) -> None:
    """Talk to the language Composition of Experts: a line in, tokens out as they come."""
    from coe_app.llm.main import chat as talk

    talk(preset(preset_name), console=console, tokens=tokens, temperature=temperature, seed=seed)


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


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
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
    _save(json_file, results[0] if name != "all" else {"benches": results})


@app.command()
def waves(file: Annotated[Path, typer.Argument(help="A waveform file, .vcd or .fst.")],
          signals: Annotated[list[str] | None,
                             typer.Argument(help="Parts of signal names; default: the most telling ones.")] = None,
          picture: Annotated[Path | None,
                             typer.Option(help="Draw to this PNG, with view files beside it, instead of printing.")] = None,
          ) -> None:
    """Print or draw signals of a waveform file."""
    from sim.waves import show

    show(file, signals or [], picture=picture, console=console)


register(app)


def main() -> None:
    """Entry point: every expected error becomes one line and exit code 1 (Ctrl-C: 130).

    RDU_TRACEBACK in the environment shows where an error came from.
    """
    try:
        app()
    except SystemExit as end:                    # typer ends so, also after Ctrl-C
        if end.code == INTERRUPTED:
            print("rdu: interrupted", file=sys.stderr)
        raise
    except KeyboardInterrupt:
        print("rdu: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    # A model of the simulator that stops itself (a failed check) raises an AssertionError.
    except (ValueError, OSError, RuntimeError, MemoryError, LookupError, AssertionError, SubprocessError) as error:
        if os.environ.get("RDU_TRACEBACK"):
            raise
        text = error.args[0] if isinstance(error, KeyError) and error.args else error        # str(KeyError) is in quotes
        if isinstance(error, OSError) and error.filename:
            text = f"{error.filename}: {error.strerror}"
        print("rdu:", "; ".join(str(text).splitlines()) or type(error).__name__, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
