"""A memory, a tile and an AXI4-Lite master for tests of the launcher and the host port under Amaranth's simulator."""

from __future__ import annotations

import random

# Hypothesis' pytest plugin imports this at the very end; on CPython 3.11 that fails after a run of Amaranth's simulator.
import hypothesis.internal.observability  # noqa: F401
from amaranth.sim import Simulator

from hw.common.packet import Status


class MemoryModel:
    """Answers a MemoryPort after random latencies, so out of order; ``words`` is {(tier, word address): value}.

    Beats in ``broken`` answer with an uncorrectable error. Asserts that a stalled request keeps its payload, that a tag is not
    used twice at a time for reads, and counts what is outstanding.
    """

    def __init__(self, port, lanes: int, *, seed: int = 0, latency=(3, 40), stall: float = 0.3):
        self.port, self.lanes, self.random = port, lanes, random.Random(seed)
        self.latency, self.stall = latency, stall
        self.words: dict[tuple[int, int], int] = {}
        self.broken: set[tuple[int, int]] = set()
        self.reads: list[tuple[int, int]] = []
        self.written: set[tuple[int, int]] = set()
        self.writes_seen = 0
        self.outstanding: set[int] = set()

    def store(self, tier: int, address: int, words) -> None:
        for index, word in enumerate(words):
            self.words[tier, address // 4 + index] = int(word)

    async def run(self, ctx):
        request, response = self.port.request, self.port.response
        waiting: list[tuple[int, int, int, int]] = []        # (due cycle, tag, status, data)
        stalled, cycle = None, 0
        while True:
            ready = self.random.random() >= self.stall
            ctx.set(request.ready, ready)
            due = [entry for entry in waiting if entry[0] <= cycle]
            chosen = self.random.choice(due) if due else None
            ctx.set(response.valid, chosen is not None)
            if chosen:
                ctx.set(response.payload, {"tag": chosen[1], "status": Status(chosen[2]), "write": 0, "data": chosen[3]})
            await ctx.tick()
            cycle += 1
            if chosen:
                waiting.remove(chosen)
                self.outstanding.discard(chosen[1])
            # Values sampled after the edge belong to the next cycle: what was there before it is kept by hand.
            if self.was_valid and ready:
                self._accept(self.was_payload, waiting, cycle)
                stalled = None
            elif self.was_valid:
                stalled = self.was_payload
            self.was_valid = ctx.get(request.valid)
            self.was_payload = self._payload(ctx) if self.was_valid else None
            if stalled is not None:
                assert self.was_valid and self.was_payload == stalled, f"cycle {cycle}: a stalled request changed"
                stalled = None

    was_valid, was_payload = 0, None

    def _payload(self, ctx) -> tuple:
        p = self.port.request.p
        write = ctx.get(p.write)
        return (ctx.get(p.tier).value, ctx.get(p.address), ctx.get(p.tag), write, ctx.get(p.mask) if write else 0,
                ctx.get(p.data) if write else 0)

    def _accept(self, payload, waiting, cycle: int) -> None:
        tier, address, tag, write, mask, value = payload
        beat_bytes = 4 * self.lanes
        assert address % beat_bytes == 0
        assert tag not in self.outstanding, f"tag {tag} is in use"
        self.outstanding.add(tag)
        self.writes_seen += write
        if not write:
            self.reads.append((tier, address))
        for index in range(self.lanes if write else 0):
            if mask >> 4 * index & 0xF:
                self.words[tier, address // 4 + index] = value >> 32 * index & 0xFFFF_FFFF
                self.written.add((tier, address // 4 + index))
        words = [self.words.get((tier, address // 4 + index), 0) for index in range(self.lanes)]
        data = sum(word << 32 * index for index, word in enumerate(words))
        status = Status.UNCORRECTABLE.value if (tier, address) in self.broken else Status.OKAY.value
        waiting.append((cycle + self.random.randint(*self.latency), tag, status, data))


class TileModel:
    """Takes config words and execute pulses; a group is busy for ``work`` cycles from ``delay`` cycles after its pulse."""

    def __init__(self, component, *, groups: int, delay: int = 3, work: int = 25):
        self.component, self.groups, self.delay, self.work = component, groups, delay, work
        self.log: list[tuple] = []           # ("write", cycle, unit, word, data) and ("execute", cycle, mask), ("reset", cycle)
        self.until = [0] * groups
        self.since = [0] * groups
        self.cycle = 0
        self.hang = False
        self.drain_cycles = 0

    async def run(self, ctx):
        c, resetting, quiesced = self.component, False, 0
        while True:
            write = c.config_write
            if ctx.get(write.valid):
                self.log.append(("write", self.cycle, ctx.get(write.unit), ctx.get(write.word), ctx.get(write.data)))
            mask = ctx.get(c.execute)
            if mask:
                assert not ctx.get(write.valid), "execute and a config word in one cycle"
                self.log.append(("execute", self.cycle, mask))
                for group in range(self.groups):
                    if mask >> group & 1:
                        self.since[group], self.until[group] = self.cycle + self.delay, self.cycle + self.delay + self.work
            if ctx.get(c.tile_reset):
                if not resetting:
                    self.log.append(("reset", self.cycle))
                    assert quiesced >= self.drain_cycles, "reset before the tile was drained"
                self.until = [0] * self.groups
                self.hang = False
            resetting = ctx.get(c.tile_reset)
            quiesced = quiesced + 1 if ctx.get(c.quiesce) else 0
            ctx.set(c.drained, quiesced >= self.drain_cycles)
            busy = sum((self.since[g] <= self.cycle and (self.cycle < self.until[g] or (self.hang and self.until[g] != 0))) << g
                       for g in range(self.groups))
            ctx.set(c.busy, busy)
            await ctx.tick()
            self.cycle += 1

    @property
    def writes(self) -> list[tuple[int, int, int]]:
        return [entry[2:] for entry in self.log if entry[0] == "write"]


def simulate(component, testbench, *background, max_cycles: int = 20_000) -> None:
    """Runs ``testbench`` to its end beside the endless ``background`` testbenches; fails after ``max_cycles``."""
    finished = []

    async def main(ctx):
        await testbench(ctx)
        finished.append(True)

    simulator = Simulator(component)
    simulator.add_clock(1e-9)
    simulator.add_testbench(main)
    for process in background:
        simulator.add_testbench(process, background=True)
    simulator.run_until(max_cycles * 1e-9)
    assert finished, f"not finished after {max_cycles} cycles"
