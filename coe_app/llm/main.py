"""One run of the language Composition of Experts, as ``rdu coe-llm``, ``rdu chat`` and ``make coe-llm`` show it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from coe_app.report import write_json
from hw.config import RDUConfig
from sw_driver.device import Device

from . import kernels
from .request import PHASES, Reply, RequestError, check_experts, check_requests
from .roofline import decode_bound, switch_bound
from .serve import LanguageServer
from .weights import DATA, Prompt, load_experts, load_prompts, load_router, many_experts

__all__ = ["chat", "read_prompts", "run", "summary"]


def read_prompts(source: str | None, count: int | None) -> list[Prompt]:
    """Prompts of a file (JSON, or one a line), of standard input ("-"), or the committed ones (None)."""
    if source == "-":
        prompts = [Prompt(line.rstrip(b"\n")) for line in sys.stdin.buffer if line.strip()]
    else:
        prompts = load_prompts(DATA / "prompts.json" if source is None else Path(source))
    if not prompts:
        raise RequestError(f"no prompts in {source}")
    if count is not None and not 1 <= count <= len(prompts):
        raise RequestError(f"requests={count} must be from 1 to {len(prompts)}, the prompts there are")
    return prompts[:count]


def run(config: RDUConfig, *, console: Console, prompts: list[Prompt], tokens: int, experts: int, resident: int, batch: int,
        temperature: float, seed: int, reorder: bool, look_ahead: bool, hardware: bool, json_file: Path | None,
        report: Path | None, verify: bool = True) -> dict:
    """Serves ``prompts`` and reports; returns the figures. Experts beyond the trained ones are perturbed copies of them: request i
    goes to copy i // trained of the expert that the router chose. Ctrl-C is passed on, after the answers so far have been reported."""
    from sim.device import open_backend  # the application knows no simulator until it runs

    # What cannot work is refused before a simulator is built.
    kernels.enter_kernel(config)
    check_requests(prompts, tokens=tokens, batch=batch, temperature=temperature)
    check_experts(experts, resident, look_ahead, hardware)
    router, trained = load_router(), load_experts()
    with Device(open_backend(config)) as device:
        server = LanguageServer(device, router, many_experts(trained, experts), resident=resident, look_ahead=look_ahead,
                                hardware=hardware, verify=verify)
        if experts != len(trained):
            server.choose = lambda request, choice: (choice + request // len(trained) * len(trained)) % experts
        replies, interruption = [], None
        try:
            for reply in server.serve(prompts, tokens=tokens, batch=batch, temperature=temperature, seed=seed, reorder=reorder):
                replies.append(reply)
                _show(console, reply)
        except KeyboardInterrupt as caught:
            if not replies:
                raise
            interruption = caught
        values = summary(replies, server, config, cycles=device.cycles, cycles_per_second=device.backend.cycles_per_second)
    values["interrupted"] = interruption is not None
    _print_summary(console, values)
    if json_file is not None:
        write_json(json_file, values)
    if report is not None:
        from .report import write_report
        write_report(report, values)
        console.print(f"report: {report}")
    if interruption is not None:
        raise interruption
    return values


def summary(replies: list[Reply], server: LanguageServer, config: RDUConfig, *, cycles: int, cycles_per_second: float) -> dict:
    """The figures of a run as JSON values."""
    good = [reply for reply in replies if not reply.error]
    steps = sum(len(reply.text) - 1 for reply in good)
    spent = sum(reply.cycles["decode"] for reply in good)
    bounds = [decode_bound(config, len(reply.prompt) + step) for reply in good for step in range(len(reply.text) - 1)]
    misses = [reply for reply in good if not reply.hit and reply.kernel_cycles["switch"]]
    copied = sum(reply.kernel_cycles["switch"] for reply in misses)
    with np.load(DATA / "held_out.npz") as trained:
        matrix = {"names": [str(name) for name in trained["names"]], "nats": trained["nats"].round(4).tolist()}
    return {
        "preset": config.name, "launch": "ho" if server.hardware else "so", "look_ahead": server.look_ahead,
        "experts": len(server.experts), "resident": len(server.cache.resident),
        "bit_exact": all(reply.bit_exact for reply in good), "failed": len(replies) - len(good),
        "router_accuracy": float(np.mean([reply.domain == reply.name for reply in replies if reply.domain])) if any(
            reply.domain for reply in replies) and len(server.experts) == server.router.classes else None,
        "router_held_out_accuracy": server.router.accuracy, "hit_rate": server.cache.hit_rate,
        "tokens": sum(len(reply.text) for reply in good), "cycles": cycles, "cycles_per_second": cycles_per_second,
        "cycles_by_phase": {phase: sum(reply.cycles[phase] for reply in good) for phase in PHASES},
        "kernel_cycles_by_phase": {phase: sum(reply.kernel_cycles[phase] for reply in good) for phase in PHASES},
        "decode_tokens_per_megacycle": 1e6 * steps / spent if spent else None,
        "decode_share_of_hbm_roofline": sum(bounds) / spent if spent else None,
        "switch_share_of_ddr_peak": len(misses) * switch_bound(config, server.image_bytes) / copied if copied else None,
        "held_out": matrix,
        "requests": [asdict(reply) | {"prompt": reply.prompt.decode(errors="replace"), "text": reply.text.decode(errors="replace")}
                     for reply in replies],
    }


def _show(console: Console, reply: Reply) -> None:
    cycles = ", ".join(f"{phase} {reply.cycles[phase]:,}" for phase in PHASES)
    state = f"[red]{reply.error}[/red]" if reply.error else "exact" if reply.bit_exact else "[red]differs from the model[/red]"
    if reply.dropped:
        state += f"; the first {reply.dropped} bytes of the prompt are left out"
    console.print(f"{reply.index:3} {reply.name} ({'hit' if reply.hit else 'miss'}; {cycles} cycles; {state})")
    console.print(reply.prompt.decode(errors="replace"), end="", markup=False, highlight=False, style="dim")
    console.print(reply.text.decode(errors="replace"), markup=False, highlight=False)


def _print_summary(console: Console, values: dict) -> None:
    requests = values["requests"]
    console.print(f"{len(requests)} requests, {values['failed']} failed, {values['tokens']} tokens; "
                  f"{'every token equals the numpy model' if values['bit_exact'] else '[red]NOT equal to the numpy model[/red]'}; "
                  f"cache hit rate {values['hit_rate']:.0%}")
    table = Table("phase", "cycles", "of which in kernels", title=f"cycles by phase, {values['launch'].upper()} launch")
    for phase in PHASES:
        total = values["cycles_by_phase"][phase]
        table.add_row(phase, f"{total:,}", f"{values['kernel_cycles_by_phase'][phase] / max(1, total):.0%}")
    console.print(table)
    if values["decode_tokens_per_megacycle"]:
        console.print(f"decode: {values['decode_tokens_per_megacycle']:.1f} tokens per 10^6 cycles, "
                      f"{values['decode_share_of_hbm_roofline']:.1%} of the HBM bound")
    if values["switch_share_of_ddr_peak"]:
        console.print(f"expert switch: {values['switch_share_of_ddr_peak']:.1%} of the DDR peak")
    console.print(f"{values['cycles']:,} cycles simulated at {values['cycles_per_second']:,.0f} cycles per second")


def _lines(console: Console) -> Iterator[bytes]:
    """Lines of standard input, asked for if it is a terminal, until it ends."""
    if not sys.stdin.isatty():
        yield from (line.rstrip(b"\r\n") for line in sys.stdin.buffer)
        return
    while True:
        try:
            yield console.input("> ").encode()
        except EOFError:
            return


def chat(config: RDUConfig, *, console: Console, tokens: int, temperature: float, seed: int) -> None:
    """Answers lines of standard input until it ends; tokens are shown as they come. Empty lines are passed over. After Ctrl-C, which is
    passed on, the tokens so far stand on a line of their own."""
    from sim.device import open_backend

    kernels.enter_kernel(config)
    check_requests([], tokens=tokens, temperature=temperature)
    with Device(open_backend(config)) as device:
        server = LanguageServer(device, load_router(), load_experts(), resident=4, verify=False)
        out = sys.stdout.buffer
        for number, text in enumerate(_lines(console)):
            if not text.strip():
                continue
            try:
                for reply in server.serve([Prompt(text)], tokens=tokens, temperature=temperature, seed=seed + number,
                                          stream=lambda _, token: (out.write(bytes([token & 0xFF])), out.flush())):
                    left_out = f", the first {reply.dropped} bytes left out" if reply.dropped else ""
                    console.print(f"\n[dim]{reply.name}: {sum(reply.cycles.values()):,} cycles{left_out}[/dim]"
                                  + (f" [red]{reply.error}[/red]" if reply.error else ""))
            except KeyboardInterrupt:
                console.print()
                raise
