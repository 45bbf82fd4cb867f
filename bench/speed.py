"""How fast the whole socket simulates: cycles per second of wall time, idle and while it serves the digits composition.

    rdu bench speed [--requests N] [--cycles N]

The CoE's figure counts the time inside the simulator's C++ loop only. Wall time: other load on the machine makes it slower.
"""

from __future__ import annotations

import time

from hw.config import RDUConfig

from .common import metric, steps

__all__ = ["DESCRIPTION", "run"]

DESCRIPTION = "cycles per second of the simulated socket, idle and in the CoE; --requests N (8; --full 64) --cycles N (20000)"


def run(config: RDUConfig, console, *, full: bool = False, requests: int = 8, cycles: int = 20_000) -> list[dict]:
    """Idle: after reset, the best of three. CoE: the first ``requests`` pictures."""
    from coe_app.network import HeldOut, load_held_out, load_networks
    from coe_app.serve import Server
    from sim.device import open_backend
    from sw_driver.device import Device

    requests = 64 if full else requests
    router, experts = load_networks()
    held = load_held_out()
    if not 1 <= requests <= len(held.pictures):
        raise ValueError(f"requests={requests} must be from 1 to {len(held.pictures)}")
    with steps(console, f"building the simulator of {config.name} (once; some minutes)", 2) as step, \
            Device(open_backend(config)) as device:
        backend = device.backend
        step("idle")
        idle = float("inf")
        for _ in range(3):
            begin = time.perf_counter()
            backend.run(cycles)
            idle = min(idle, time.perf_counter() - begin)
        server = Server(device, router, experts)
        ran, seconds = backend.cycles_run, backend.seconds
        step("CoE")
        served = sum(1 for _ in server.serve(HeldOut(
            held.pictures[:requests], held.digits[:requests], held.views[:requests])))
        speed = (backend.cycles_run - ran) / (backend.seconds - seconds)
    return [metric("cycles_per_second", "idle", cycles / idle, "cycles/s"),
            metric("cycles_per_second", f"CoE, {served} requests", speed, "cycles/s")]
