"""``rdu coe | run | coe-llm | chat``: what runs on a simulated device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from hw.config import preset

from .cli_options import Json, Preset, console, save_json
from .files import check_target

__all__ = ["chat", "coe", "coe_llm", "run_command"]

Waves = Annotated[str | None, typer.Option("--waves", metavar="FILE[:FROM-TO|:kernel=N|:fault]",
                                           help="Write a waveform (.vcd or .fst) of all cycles or a window of them.")]


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
    for target in filter(None, (output_file, json_file, save)):
        check_target(target)
    arrays = None if input_file is None else load_arrays(input_file)
    with console.status("compiling") as status:
        if is_image(model):
            if dump is not None:
                raise ValueError(f"{model} is compiled already: --dump needs the ONNX file")
            compiled = load_compiled(model, config)
            if arrays is not None:
                checked(compiled.imported, arrays)
        else:
            compiled = compile_model(model, config, arrays, fuse=fuse, dump=dump, progress=lambda text: status.update(escape(text)))
        if save is not None:
            save_compiled(compiled, save)
        from sim.device import open_backend  # the driver and the compiler know no simulator until they run

        status.update(f"building the simulator of {config.name} (once; some minutes)")
        with Device(open_backend(config)) as device:
            status.update(f"running {len(compiled.program.launches)} kernels")
            outputs, report = run_model(compiled, device, arrays, seed=seed, counters=counters)
    if output_file is not None:
        save_arrays(output_file, outputs)
    table = Table("", "value", title=escape(f"{report['model']} on {config.name}, fuse {report['fuse']}"))
    for name in ("kernels", "cycles", "predicted_cycles", "operations", "operations_per_byte", "max_abs_error", "bit_exact"):
        value = report[name]
        table.add_row(name, f"{value:,}" if type(value) is int else f"{value:.4g}" if isinstance(value, float) else str(value))
    for tier, count in report["bytes"].items():
        table.add_row(f"bytes {tier}", f"{count:,}")
    console.print(table)
    save_json(json_file, report)
    if not report["bit_exact"]:
        wrong = [name for name, each in report["outputs"].items() if not each["bit_exact"]]
        raise RuntimeError(f"outputs {', '.join(wrong)} differ from the bit-exact reference")


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


def chat(preset_name: Preset = "small",
         tokens: Annotated[int, typer.Option(help="New tokens for each line.")] = 24,
         temperature: Annotated[float, typer.Option(help="0: greedy.")] = 0.0,
         seed: Annotated[int, typer.Option(help="Of the draws.")] = 0) -> None:
    """Talk to the language Composition of Experts: a line in, tokens out as they come."""
    from coe_app.llm.main import chat as talk

    talk(preset(preset_name), console=console, tokens=tokens, temperature=temperature, seed=seed)
