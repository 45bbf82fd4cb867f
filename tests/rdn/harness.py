"""Drivers and checks for streams under Amaranth's simulator."""

import random

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator


class Join(wiring.Component):
    """A sender and a receiver on one link."""

    def __init__(self, sender, receiver):
        self.sender, self.receiver = sender, receiver
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sender, m.submodules.receiver = self.sender, self.receiver
        wiring.connect(m, self.sender.link, self.receiver.link)
        return m


def simulate(top, *processes, cycles: int) -> None:
    """Runs the testbench coroutines ``process(ctx)`` beside ``top`` for ``cycles`` cycles."""
    simulator = Simulator(top)
    simulator.add_clock(1e-9)
    for process in processes:
        simulator.add_testbench(process, background=True)

    async def clock(ctx):
        for _ in range(cycles):
            await ctx.tick()

    simulator.add_testbench(clock)
    simulator.run()


def feeder(port, values, sent: list, *, rate: float, seed: int):
    """Offers ``values`` one after the other, each after a pause; appends (cycle, value) to ``sent`` when it is taken."""
    async def process(ctx):
        draw, cycle = random.Random(seed), 0
        for value in values:
            while draw.random() >= rate:
                await ctx.tick()
                cycle += 1
            ctx.set(port.payload, value)
            ctx.set(port.valid, 1)
            while True:
                _, _, ready = await ctx.tick().sample(port.ready)
                cycle += 1
                if ready:
                    break
            sent.append((cycle - 1, value))
            ctx.set(port.valid, 0)
        while True:
            await ctx.tick()
    return process


def taker(port, received: list, read, *, rate: float, seed: int):
    """Takes packets at random; appends (cycle, read(payload)) and checks that a stalled packet stays as it is."""
    async def process(ctx):
        draw, cycle, stalled = random.Random(seed), 0, None
        while True:
            ready = draw.random() < rate
            ctx.set(port.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
            if stalled is not None:
                assert valid and read(payload) == stalled, f"cycle {cycle}: a stalled packet changed from {stalled}"
            stalled = read(payload) if valid and not ready else None
            if valid and ready:
                received.append((cycle, read(payload)))
            cycle += 1
    return process
