"""Serving the language composition: latency against the number of experts, order of service, look-ahead, share of the DDR's peak.

    rdu bench coe-llm [--requests N] [--resident N] [--experts N,N,...] [--launch ho|so]

Requests of 8 bytes that get 4 tokens, from experts drawn evenly; experts beyond the 8 trained ones are copies of them with perturbed
weights. All experts lie in DDR; ``resident`` of them have room in HBM (by choice: 120 would fit in the 32 MiB of `small`), and the
cache is warm. Metrics: ``latency`` (mean cycles of a request; case experts=N) and its parts, ``hit_rate``, ``switch_share_of_ddr_peak``;
``cycles`` (mean per request; case fcfs, reordered, look-ahead; 4 experts, 2 of them resident, SO).
"""

from __future__ import annotations

import numpy as np

from coe_app.llm.main import summary
from coe_app.llm.serve import PHASES, LanguageServer
from coe_app.llm.weights import Prompt, load_experts, load_router, many_experts
from hw.config import RDUConfig
from sim.device import VerilatedBackend
from sw_driver.device import Device

from .common import metric, numbers, steps

DESCRIPTION = "the language composition: latency against experts, order of service, look-ahead; --requests N (4) --experts N,N,..."
SEED = 9
TOKENS = 4


def _prompts(count: int) -> list[Prompt]:
    rng = np.random.default_rng(SEED)
    return [Prompt(bytes(rng.integers(97, 123, 8).tolist())) for _ in range(count)]


def _served(server: LanguageServer, chosen: list[int], *, reorder: bool = False) -> list:
    server.choose = lambda request, _: chosen[request]
    replies = list(server.serve(_prompts(len(chosen)), tokens=TOKENS, reorder=reorder))
    wrong = [reply for reply in replies if reply.error or not reply.bit_exact]
    if wrong:
        raise AssertionError(f"request {wrong[0].index}: {wrong[0].error or 'differs from the numpy model'}")
    return replies


def _latency(config: RDUConfig, numbers: list[int], resident: int, requests: int, hardware: bool, step) -> list[dict]:
    rows = []
    with Device(VerilatedBackend(config)) as device:
        server = LanguageServer(device, load_router(), many_experts(load_experts(), max(numbers)), resident=min(resident, max(numbers)),
                                hardware=hardware)
        for number in sorted(numbers):
            step(f"{number} experts")
            for expert in range(min(resident, number)):
                server.cache.lookup(expert)
            rng, begin, cache = np.random.default_rng(SEED + number), device.cycles, server.cache
            hits, misses = cache.hits, cache.misses
            replies = _served(server, [int(expert) for expert in rng.integers(0, number, requests)])
            values = summary(replies, server, config, cycles=device.cycles - begin, cycles_per_second=0.0)
            case, parts = f"experts={number}", {phase: [reply.cycles[phase] for reply in replies] for phase in PHASES}
            rows.append(metric("latency", case, float(np.sum([*parts.values()]) / requests), "cycles/request"))
            rows += [metric(f"latency_{phase}", case, float(np.mean(cycles)), "cycles/request") for phase, cycles in parts.items()]
            rows.append(metric("hit_rate", case, (cache.hits - hits) / (cache.hits - hits + cache.misses - misses), "of the look-ups"))
            if values["switch_share_of_ddr_peak"]:
                rows.append(metric("switch_share_of_ddr_peak", case, values["switch_share_of_ddr_peak"], "of the DDR peak"))
    return rows


def _orders(config: RDUConfig, requests: int) -> list[dict]:
    """The same requests, four experts in turn, of which two are resident."""
    chosen, rows = [number % 4 if number % 3 else 0 for number in range(requests)], []
    for case, options, reorder in (("fcfs", {}, False), ("reordered", {}, True), ("look-ahead", {"look_ahead": True}, False)):
        with Device(VerilatedBackend(config)) as device:
            server = LanguageServer(device, load_router(), load_experts()[:4], resident=2, verify=False, **options)
            begin = device.cycles
            _served(server, chosen, reorder=reorder)
            rows.append(metric("cycles", case, (device.cycles - begin) / requests, "cycles/request"))
            rows.append(metric("hit_rate", case, server.cache.hit_rate, "of the look-ups"))
    return rows


def run(config: RDUConfig, console, *, full: bool = False, requests: int = 4, resident: int = 4, experts: str = "1,4,16",
        launch: str = "ho") -> list[dict]:
    """The rows of all measurements."""
    if full:
        requests, resident, experts = max(requests, 12), max(resident, 16), "1,4,8,16,32,64,100,150"
    counts = numbers("experts", experts, 1, 200)
    if launch not in ("ho", "so") or not 1 <= requests <= 1000 or resident < 1:
        raise ValueError(f"launch={launch}, requests={requests}, resident={resident}: launch is ho or so, requests are from 1 to 1000, "
                         "resident at least 1")
    rows = []
    with steps(console, f"building the simulator of {config.name}", len(counts) + 1) as step:
        rows += _latency(config, counts, resident, requests, launch == "ho", step)
        step("order of service")
        rows += _orders(config, max(requests, 8))
    return rows
