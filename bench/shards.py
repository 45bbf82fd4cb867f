"""One tensor on several PMUs: what predication gives in bandwidth.

    rdu bench shards [--vectors 480] [--tensors 6]

2, 3 and 4 PMUs of the preset (RTL, Verilated) hear one stream of tensors of ``vectors`` vectors; each keeps its part, by range (consecutive
vectors) or by predicate (dealt out in turn), and both its read engines emit it, over and over, while the next tensor arrives.
Metrics: ``read_vectors_per_cycle`` of all shards together from the first vector out to the last, ``share_of_peak`` of two per
PMU and cycle, ``stall_cycles`` (bank conflicts, all PMUs), ``wrong_vectors``.
"""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.common.packet import vector_data, vector_packet
from hw.config import PMUConfig, RDUConfig
from hw.hierarchy import instantiate
from hw.pmu.pmu import PMU
from hw.pmu.program import PMUProgram
from hw.pmu.shards import dealt, shard

from .common import metric, steps

__all__ = ["DESCRIPTION", "Sharded", "execute", "parts", "programs", "run"]

DESCRIPTION = "bandwidth of one tensor sharded over 2, 3 and 4 PMUs; --vectors N --tensors N"

PMUS = 4


class Sharded(wiring.Component):
    """Four PMUs that hear one stream; a packet is gone when each that is ``used`` has taken it, at its own pace.

    Members: ``program[p]`` In, ``execute`` In, ``busy`` Out, ``used`` In, a bit per PMU; ``vector_in`` In;
    ``vector_out[2 p + r]`` Out, of read engine r; ``conflicts`` Out, cycles with bank conflicts since ``execute``, all PMUs.
    """

    def __init__(self, config: PMUConfig):
        self.pmus = [PMU(config) for _ in range(PMUS)]
        self.config = config
        packet = stream.Signature(vector_packet(config.lanes, config.sequence_bits))
        super().__init__({
            "program": In(self.pmus[0].program_layout).array(PMUS), "execute": In(1), "busy": Out(PMUS), "used": In(PMUS),
            "vector_in": In(packet), "conflicts": Out(32),
            "vector_out": Out(stream.Signature(vector_data(config.lanes))).array(2 * PMUS),
        })

    def elaborate(self, platform):
        m = Module()
        served, ready = Signal(PMUS), Signal(PMUS)
        conflicts = [pmu.events.bank_conflict for pmu in self.pmus]
        for index, pmu in enumerate(self.pmus):
            m.submodules[f"pmu_{index}"] = instantiate(platform, pmu)
            m.d.comb += [
                pmu.program.eq(self.program[index]), pmu.execute.eq(self.execute & self.used[index]), self.busy[index].eq(pmu.busy),
                pmu.vector_in[0].valid.eq(self.vector_in.valid & self.used[index] & ~served[index]),
                pmu.vector_in[0].p.eq(self.vector_in.p), ready[index].eq(pmu.vector_in[0].ready),
            ]
            for engine in range(2):
                connect(m, pmu.vector_out[engine], flipped(self.vector_out[2 * index + engine]))
        settled = served | ready | ~self.used
        m.d.comb += self.vector_in.ready.eq(settled.all())
        with m.If(self.vector_in.valid):
            m.d.sync += served.eq(settled & ~settled.all().replicate(PMUS))
        with m.If(self.execute):
            m.d.sync += self.conflicts.eq(0)
        with m.Else():
            m.d.sync += self.conflicts.eq(self.conflicts + sum(Cat(bit) for bit in conflicts))
        return m


def parts(pmus: int, vectors: int, how: str) -> list[np.ndarray]:
    """Numbers of the vectors that each PMU keeps, in the order in which they lie there."""
    if how == "predicate":
        return [np.arange(number, vectors, pmus) for number in range(pmus)]
    size = -(-vectors // pmus)
    return [np.arange(number * size, min((number + 1) * size, vectors)) for number in range(pmus)]


def programs(config: PMUConfig, pmus: int, vectors: int, tensors: int, how: str, repeat: int) -> list[PMUProgram]:
    """The program of each shard; engine 0 emits the first half of its part, engine 1 the rest, ``repeat`` times."""
    recipe = dealt if how == "predicate" else shard
    return [recipe(config, vectors=vectors, shards=pmus, number=number, count=tensors, repeat=repeat) for number in range(pmus)]


def execute(bench, config: PMUConfig, pmus: int, vectors: int, tensors: int, how: str, repeat: int, seed: int = 0,
            stall: float = 0.0) -> tuple[int, int, int, int]:
    """(vectors read, cycles from the first to the last, wrong ones, bank conflict cycles) of one run on ``bench``."""
    bench.reset()
    data = np.random.default_rng(seed).integers(0, 1 << 32, (tensors, vectors, config.lanes), dtype=np.uint32)
    for number, program in enumerate(programs(config, pmus, vectors, tensors, how, repeat)):
        bench.set(f"program[{number}]", program.pack(config))
    bench.set("used", (1 << pmus) - 1)
    expected, streams = [], []
    for number, part in enumerate(parts(pmus, vectors, how)):
        for engine, own in enumerate((part[:len(part) // 2], part[len(part) // 2:])):
            expected.append(np.concatenate([np.tile(tensor[own], (repeat, 1)) for tensor in data]))
            streams.append(bench.collect(f"vector_out[{2 * number + engine}]", stall=stall, seed=seed + number))
    bench.feed("vector_in", data.reshape(-1, config.lanes), stall=stall, seed=seed)
    bench.pulse("execute")
    bench.run(1 << 30, until={"busy": 0})
    cycles = np.concatenate([stream.cycles for stream in streams])
    wrong = sum(int((stream.words[:, :config.lanes] != own).any(axis=1).sum()) if len(stream.words) == len(own) else len(own)
                for stream, own in zip(streams, expected, strict=True))
    return len(cycles), int(cycles.max() - cycles.min() + 1), wrong, bench.get("conflicts")


def run(config: RDUConfig, console, *, full: bool = False, vectors: int = 480, tensors: int = 6) -> list[dict]:
    """Every number of PMUs, both ways; ``--full``: 60 tensors."""
    from sim.unit_bench import UnitBench
    if vectors < 2 * PMUS or tensors < 1:
        raise ValueError(f"vectors={vectors} must be at least {2 * PMUS} and tensors={tensors} at least 1")
    metrics, tensors = [], 60 if full else tensors
    with steps(console, f"building {PMUS} PMUs", 6) as step, UnitBench(Sharded(config.pmu)) as bench:
        for pmus in range(2, PMUS + 1):
            for how in ("range", "predicate"):
                case = f"{pmus} PMUs, by {how}"
                step(case)
                # Each engine reads half of a part 2 x pmus times: as long as the whole tensor takes to arrive.
                read, cycles, wrong, stalls = execute(bench, config.pmu, pmus, vectors, tensors, how, 2 * pmus)
                metrics += [metric("read_vectors_per_cycle", case, read / cycles, "vectors/cycle"),
                            metric("share_of_peak", case, read / cycles / (2 * pmus), "ratio"),
                            metric("stall_cycles", case, stalls, "cycles"), metric("wrong_vectors", case, wrong, "vectors")]
    return metrics
