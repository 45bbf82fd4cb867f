"""One run of the digits Composition of Experts, as ``rdu coe`` and ``make coe`` show it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hw.config import RDUConfig
from sw_driver.device import Device

from . import report
from .kernels import network_kernel
from .network import DATA, HeldOut, load_held_out, load_networks
from .serve import Request, RequestError, Server, check_sizes

__all__ = ["run"]


def run(config: RDUConfig, *, console: Console, json_file: Path | None, waves: str | None, requests: int | None, batch: int,
        resident: int, weights: Path | None, picture: Path, verbose: bool) -> dict:
    """Serves the held-out pictures and reports; returns the figures. Errors are those of the parts, each one line."""
    from sim.device import open_backend  # the driver and the application know no simulator until they run

    router, experts = load_networks(weights or DATA / "weights.npz")
    held_out = load_held_out()
    if requests is not None:
        if not 1 <= requests <= len(held_out.pictures):
            raise RequestError(f"requests={requests} must be from 1 to {len(held_out.pictures)}, the held-out pictures")
        held_out = HeldOut(held_out.pictures[:requests], held_out.digits[:requests], held_out.views[:requests])
    # What cannot work is refused before a simulator is built.
    network_kernel(config)
    check_sizes(config, len(experts), resident=resident, batch=batch)

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"building the simulator of {config.name} (once; some minutes)", total=None)
        with Device(open_backend(config, waves=waves)) as device:
            server = Server(device, router, experts, resident=resident)
            progress.update(task, description="serving", total=len(held_out.pictures), completed=0)
            served: list[Request] = []
            for request in server.serve(held_out, batch=batch):
                served.append(request)
                progress.advance(task)
                if verbose:
                    progress.console.print(_line(request))
            values = report.summary(
                served, server.cache, preset=config.name, cycles=device.cycles,
                cycles_per_second=device.backend.cycles_per_second,
                reference=report.reference_accuracy(router, experts, held_out, config.lanes), counters=device.counters())
    report.print_summary(console, values)
    if json_file is not None:
        report.write_json(json_file, values)
    report.draw_timeline(picture, values)
    console.print(f"timeline: {picture}")
    return values


def _line(request: Request) -> str:
    cycles = request.cycles
    return (f"{request.index:4}: expert {request.expert} ({'hit ' if request.hit else 'miss'}) "
            f"says {request.digit} {'' if request.correct else '(wrong) '}"
            f"router {cycles['router']:,} switch {cycles['switch']:,} expert {cycles['expert']:,} cycles")
