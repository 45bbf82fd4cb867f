"""How fast the whole socket simulates: cycles per second, idle and while it serves the digits composition.

    rdu bench speed [--requests N] [--cycles N]

``cycles_per_second``: of wall time; the CoE's counts the time inside the simulator's C++ loop only. Other load on the machine makes it
slower, and hardly ``cycles_per_cpu_second``: of processor time of the process, with the driver's Python.
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
        idle = idle_cpu = float("inf")
        for _ in range(3):
            begin, begin_cpu = time.perf_counter(), time.process_time()
            backend.run(cycles)
            idle, idle_cpu = min(idle, time.perf_counter() - begin), min(idle_cpu, time.process_time() - begin_cpu)
        server = Server(device, router, experts)
        ran, seconds, cpu = backend.cycles_run, backend.seconds, time.process_time()
        step("CoE")
        served = sum(1 for _ in server.serve(HeldOut(
            held.pictures[:requests], held.digits[:requests], held.views[:requests])))
        ran, seconds, cpu = backend.cycles_run - ran, backend.seconds - seconds, time.process_time() - cpu
    case = f"CoE, {served} requests"
    return [metric("cycles_per_second", "idle", cycles / idle, "cycles/s"),
            metric("cycles_per_second", case, ran / seconds, "cycles/s"),
            metric("cycles_per_cpu_second", "idle", cycles / idle_cpu, "cycles/s"),
            metric("cycles_per_cpu_second", case, ran / cpu, "cycles/s")]
