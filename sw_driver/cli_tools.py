"""``rdu asm | disasm | regs | top``."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.box import SIMPLE_HEAD
from rich.live import Live
from rich.table import Table

from hw.config import PRESETS, preset

from .cli_options import Preset, console
from .files import write_whole

__all__ = ["asm", "disasm", "regs", "top"]

BAR = 8                          # characters; the table fits in 80 columns


def asm(file: Annotated[Path, typer.Argument(help="Text of a kernel, or of a schedule (name ending in .sched).")],
        output: Annotated[Path, typer.Option("--output", "-o", help="The .rdu file, or the schedule's words (.bin), to write.")]) -> None:
    """Assemble a kernel or a schedule from text (what disasm prints)."""
    from .assembly import assemble_kernel, assemble_schedule

    try:
        text = file.read_text()
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not text") from None
    if file.suffix == ".sched":
        words = assemble_schedule(text)
        write_whole(output, words.tobytes())
        console.print(f"{output}: {words.size} words")
        return
    kernel = assemble_kernel(text)
    kernel.save(output)
    console.print(f"{output}: kernel {kernel.name!r}, {len(kernel.programs)} units, {kernel.image().size} image words")


def disasm(file: Annotated[Path, typer.Argument(help="A kernel image (.rdu), or a schedule's words (.bin).")]) -> None:
    """Print a kernel image or a schedule as text."""
    from .assembly import kernel_text, schedule_text
    from .kernel import Kernel, KernelError

    if file.suffix == ".bin":
        raw = file.read_bytes()
        if len(raw) % 4:
            raise ValueError(f"{file}: {len(raw)} bytes are no whole number of words")
        typer.echo(schedule_text(np.frombuffer(raw, np.uint32)), nl=False)
        return
    kernel = Kernel.load(file)
    for config in PRESETS.values():
        if config.digest == kernel.config_digest:
            typer.echo(kernel_text(kernel, config), nl=False)
            return
    raise KernelError(f"{file} was made for a device with configuration {kernel.config_digest:#010x}, which is no preset")


def regs(form: Annotated[str, typer.Option("--form", help="table, markdown or c.")] = "table") -> None:
    """Show the register map, also as a Markdown table or a C header."""
    from hw.host.registers import REGISTERS

    from .register_map import c_header, markdown

    if form not in ("table", "markdown", "c"):
        raise ValueError(f"form={form!r} must be table, markdown or c")
    if form != "table":
        typer.echo({"markdown": markdown, "c": c_header}[form](), nl=False)
        return
    table = Table("address", "register", "access", "what")
    for item in REGISTERS:
        table.add_row(f"{item.address:#05x}", item.name + (f"[{item.count}]" if item.count > 1 else ""), item.access.name,
                      item.description)
    console.print(table)


def top(preset_name: Preset = "small",
        requests: Annotated[int, typer.Option(help="Pictures of the digits composition that run meanwhile.")] = 8,
        seconds: Annotated[float, typer.Option(help="Between two looks.")] = 1.0) -> None:
    """Live view of what every unit does while the digits composition runs."""
    from coe_app.kernels import network_kernel
    from coe_app.network import HeldOut, load_held_out, load_networks
    from coe_app.serve import Server
    from sim.device import open_backend

    from .device import Device, DeviceError

    held, config = load_held_out(), preset(preset_name)
    if not 1 <= requests <= len(held.pictures) or not 0 <= seconds <= 3600:
        raise ValueError(f"requests={requests} must be from 1 to {len(held.pictures)}, seconds={seconds} from 0 to 3600")
    network_kernel(config)                       # refuses a preset that has no room for it, before anything is built
    router, experts = load_networks()
    with console.status(f"building the simulator of {preset_name} (once; some minutes)"):
        device = Device(open_backend(config))
    failed: list[BaseException] = []

    def work() -> None:
        try:
            server = Server(device, router, experts)
            for _ in server.serve(HeldOut(held.pictures[:requests], held.digits[:requests], held.views[:requests])):
                pass
        except BaseException as error:
            failed.append(error)

    with device:
        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(activity(device), refresh=True)
                if not worker.is_alive():
                    break
                time.sleep(seconds)
        worker.join()
    if failed:
        raise DeviceError(f"the composition stopped: {failed[0]}")


EVENTS = ("busy", "starved", "back_pressured", "packets_in", "packets_out", "beats_read", "beats_written")


def activity(device) -> Table:
    """Every PCU, PMU and AGCU: its share of busy, starved and back-pressured cycles since the last call, and what it moved."""
    cycles, counters = device.cycles, device.counters(device._cores(), EVENTS)
    before, since = getattr(device, "_activity", ({}, cycles))
    device._activity = counters, cycles
    table = Table("unit", "busy", "", "starved", "blocked", "in", "out", "read", "wrote",
                  box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True,
                  title=f"{device.config.name}, cycle {cycles:,}, the last {cycles - since:,} cycles")
    for column in table.columns:
        column.no_wrap = True
    for unit, events in counters.items():
        last = before.get(unit, events)
        moved = {event: (value - last[event]) & 0xFFFF_FFFF for event, value in events.items()}
        share = {event: min(1.0, moved.get(event, 0) / max(1, cycles - since)) for event in EVENTS[:3]}
        table.add_row(unit, "█" * round(BAR * share["busy"]), *(f"{share[event]:.0%}" for event in EVENTS[:3]),
                      *(f"{moved.get(event, 0):,}" for event in EVENTS[3:]))
    return table
