"""What throttling gains: ``rdu bench throttle``, a producer that runs ahead beside a latency-critical loop over the same links.

One kernel on a whole simulated socket: two rows of eight units of the preset. In the first row a PMU holds a tile of 32 vectors and
re-reads it, as fast as the network takes it, for a PCU five columns on that takes one vector in ``service`` cycles. Between both ends
of the row a PCU and a PMU keep a recurrence, x = a x + b, 128 times: every step waits for the network twice. The loop is run alone first,
and the tile then read as often as takes as long. The kernel is finished when both are.

With 2 labels per link and more, each flow has a label of its own wherever it shares a link. Units need more than one label, so *labels=1*
is what one would be: the three flows are dynamic packets, which share two places per input. Settings: off; automatic
(:func:`compiler.senders.automatic`); the tile's producer throttled by hand, every rate and burst. Results are compared bit for bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from compiler.fabric.kernel import KernelBuilder
from compiler.fabric.senders import Throttle
from hw.agcu.program import Access, AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import RDUConfig
from hw.pcu import model
from hw.pcu.layout import Reduce
from hw.pcu.library.row_loops import float_word
from hw.pcu.program import Input, SimdProgram, Stage, constant, vector
from hw.pmu import program as pmu
from hw.pmu.address import Counter, within
from hw.pmu.recipes import stage_buffer
from sw_driver.device import HBM, Device
from sw_driver.kernel import Kernel

from .common import metric, numbers, steps

__all__ = ["DESCRIPTION", "Pipeline", "device_of", "run"]

DESCRIPTION = "a producer that runs ahead beside a latency-critical loop: throttle off, swept, automatic; --labels 1,2,4 --service 8"

COLUMNS, TILE, STEPS = 8, 32, 128
RATES, BURSTS = (0.5, 0.8, 1, 1.1, 1.4, 2, 4), (1, 4, 15)        # rates: of what the consumer takes


def device_of(config: RDUConfig, labels: int) -> RDUConfig:
    """A socket of two rows of the preset's units with ``labels`` per link; up to 2 labels also with two slots for dynamic packets."""
    labels = max(labels, 2)
    return replace(config, name=f"{config.name}_row_{labels}", rows=2, columns=COLUMNS, agcus_per_edge=2, pcu_parity=0,
                   rdn=replace(config.rdn, labels=labels, dynamic_slots=2 if labels == 2 else 0))


@dataclass(frozen=True)
class Pipeline:
    """The kernel on one device. ``dynamic``: how its flows travel; ``service``: cycles that the consumer takes for a vector;
    ``passes``: how often the tile is read."""

    config: RDUConfig
    dynamic: bool
    service: int
    passes: int = 1

    def balanced(self, cycles: int) -> Pipeline:
        """With as many passes as take so long."""
        return replace(self, passes=max(1, cycles // (TILE * self.service)))

    @property
    def cell(self) -> SimdProgram:
        """x = a x + b, one vector a step, whose first element also leaves as a word."""
        return SimdProgram(loops=(STEPS,), vectors={0: Input()}, constants=(float_word(0.75), float_word(0.3)),
                           stages=(Stage.mac(vector(0), constant(0), constant(1)),), to_scalar=True)

    @property
    def consumer(self) -> SimdProgram:
        """The sum of all squares of all passes."""
        return SimdProgram(loops=(self.service, TILE, self.passes), vectors={0: Input(level=1)},
                           stages=(Stage.mul(vector(0), vector(0)),), reduce=Reduce.SUM, produce=3)

    def kernel(self, *, throttle: bool = False, tiles: Throttle | None = None) -> Kernel:
        """Arguments: ``tile``, ``first`` (in), ``states``, ``sum`` (out): addresses in HBM. ``tiles``: of the tile's producer."""
        config, lanes, beat = self.config, self.config.lanes, self.config.beat_bytes
        kernel = KernelBuilder(config, "throttle", throttle=throttle)
        cell, consumer = kernel.pcu(0, 0, self.cell), kernel.pcu(0, COLUMNS - 2, self.consumer)
        tile = kernel.pmu(0, 1, stage_buffer(config.pmu, vectors=TILE, repeat=self.passes))
        state = kernel.pmu(0, COLUMNS - 1, pmu.PMUProgram(
            write=pmu.Write(loops=(pmu.Loop(STEPS + 1),), handover=0, vectors=(0, 1)),
            reads=(pmu.Read(loops=(pmu.Loop(STEPS + 1),), handover=0, index=Counter(0), stages=(within(0, STEPS),)),),    # not the last
            buffers=4, buffer_stride=lanes))
        west = kernel.agcu(0, AGCUProgram(loads=(LoadProgram(loops=(Loop(TILE, beat),)),),
                                          stores=(StoreProgram(loops=(Loop(STEPS, 4),), access=Access.WORD, scalar_input=0),)))
        east = kernel.agcu(2, AGCUProgram(loads=(LoadProgram(loops=(Loop(1, beat),)),)))
        south = kernel.agcu(3, AGCUProgram(stores=(StoreProgram(loops=(Loop(1, beat),)),)))

        step = STEPS / max(STEPS, self.passes * TILE * self.service)
        kernel.vector(tile.out(0), consumer.input(0), rate=1 / self.service, dynamic=self.dynamic)
        kernel.vector(cell.out(0), state.input(1), rate=step, dynamic=self.dynamic, window=1)
        kernel.vector(state.out(0), cell.input(0), rate=step, dynamic=self.dynamic, window=1)
        kernel.scalar(cell.out(0), west.input(0), rate=step)
        for source, end in ((west.out(0), tile.input(0)), (east.out(0), state.input(0)), (consumer.out(0), south.input(0))):
            kernel.vector(source, end, rate=0)
        if tiles is not None:
            kernel.throttled(tile.out(0), tiles)
        for name, unit, engine in (("tile", west, "load0"), ("first", east, "load0"), ("states", west, "store0"), ("sum", south, "store0")):
            kernel.argument(name, unit.field(f"{engine}.base"))
        return kernel.build()

    def expected(self, tile: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(first elements of the states, sum) as the units' models compute them."""
        states, one = [], replace(self.cell, loops=(1,)).pack(self.config.pcu)
        for _ in range(STEPS):
            step = model.run(one, self.config.pcu, {0: first})
            first = step.vector
            states.append(step.scalar)
        total = model.run(self.consumer.pack(self.config.pcu), self.config.pcu, {0: np.tile(tile, (self.passes, 1))}).vector
        return np.concatenate(states), total


class _Bench:
    """A device with the operands of a pipeline, whose every run is compared."""

    def __init__(self, device: Device, pipeline: Pipeline):
        lanes, random = device.config.lanes, np.random.default_rng(1)
        self.device, self.pipeline = device, pipeline
        tile, first = (random.normal(size=(rows, lanes)).astype(np.float32).view(np.uint32) for rows in (TILE, 1))
        self.expected = pipeline.expected(tile, first)
        self.inputs = {"tile": device.upload(HBM, tile), "first": device.upload(HBM, first)}
        self.outputs = {name: device.upload(HBM, np.zeros_like(values))
                        for name, values in zip(("states", "sum"), self.expected, strict=True)}

    def cycles(self, **setting) -> int:
        buffers = self.inputs | self.outputs
        done = self.device.launch(self.pipeline.kernel(**setting), **{name: buffer.address for name, buffer in buffers.items()})
        for (name, buffer), values in zip(self.outputs.items(), self.expected, strict=True):
            if not np.array_equal(self.device.read(buffer, np.uint32, values.shape), values):
                raise AssertionError(f"{name} differs from the model's, with {setting}")
        return done.cycles


def _settings(service: int) -> Iterator[tuple[str, dict]]:
    yield "off", {}
    yield "automatic", {"throttle": True}
    for rate, burst in itertools.product((share / service for share in RATES if share <= service), BURSTS):
        yield f"rate={rate:.3g}, burst={burst}", {"tiles": Throttle(rate, burst)}


def run(config: RDUConfig, console, *, full: bool = False, labels: str = "1,2,4", service: int = 8) -> list[dict]:
    """Cycles of the kernel for each number of labels, each way to travel and each setting of the throttle of the tile's producer."""
    from sim.device import VerilatedBackend  # no simulator until it runs
    counts = numbers("labels", labels, 1, 16)
    if not 1 <= service <= 64:
        raise ValueError(f"service={service} must be from 1 to 64 cycles")
    metrics = []
    with steps(console, "building", len(counts)) as step:
        for count in counts:
            step(f"{count} labels")
            device_config = device_of(config, count)
            with Device(VerilatedBackend(device_config)) as device:
                loop = Pipeline(device_config, count == 1, service)
                bench = _Bench(device, loop.balanced(_Bench(device, loop).cycles()))
                measured = {name: bench.cycles(**setting) for name, setting in _settings(service)}
            best = min((name for name in measured if name.startswith("rate")), key=measured.get)
            metrics += [metric("kernel_cycles", f"labels={count}, {name}", cycles, "cycles") for name, cycles in measured.items()]
            metrics.append(metric("kernel_cycles", f"labels={count}, best ({best})", measured[best], "cycles"))
    return metrics
