"""Simulation cost of an AGCU and of the TLN: ns per cycle, idle and busy. Run ``python -m tests.agcu.cost``."""

import numpy as np

from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.common.packet import memory_request
from hw.config import preset
from hw.tln.interleave import DEFAULT_INTERLEAVE
from tests.agcu.bench import Bench
from tests.tln.bench import Bench as TLNBench

CONFIG = preset("small")
BEAT = CONFIG.beat_bytes


def agcu() -> None:
    bench = Bench(CONFIG.agcu)
    endless = (Loop(1000, BEAT), Loop(1000), Loop(60000))
    bench.start(AGCUProgram(loads=(LoadProgram(loops=endless),),
                            stores=(StoreProgram(loops=endless, segment=5),)), latency=(8, 8))
    print(f"AGCU idle {bench.unit.nanoseconds_per_cycle():.0f} ns per cycle (memory of the bench included)")
    bench.unit.feed("vector_in[0]", np.ones((400_000, CONFIG.lanes), dtype=np.uint32))
    bench.unit.collect("vector_out[0]")
    bench.unit.pulse("execute")
    print(f"AGCU busy {bench.unit.nanoseconds_per_cycle():.0f} ns per cycle, half loads, half stores")


def tln() -> None:
    bench = TLNBench(CONFIG)
    bench.start(DEFAULT_INTERLEAVE, latency=(8, 8))
    print(f"TLN  idle {bench.unit.nanoseconds_per_cycle():.0f} ns per cycle")
    layout = memory_request(BEAT, CONFIG.agcu.tag_bits)
    reads = [layout.const({"address": BEAT * beat}).as_bits() for beat in range(50_000)]
    for requester in range(4):
        bench.unit.feed(f"requesters[{requester}].request", reads * 3)
        bench.unit.collect(f"requesters[{requester}].response")
    print(f"TLN  busy {bench.unit.nanoseconds_per_cycle():.0f} ns per cycle, both HBM channels at full rate")


if __name__ == "__main__":
    agcu()
    tln()
