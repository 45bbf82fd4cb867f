"""The launcher against its model."""

import random

import pytest

from hw.config import preset
from hw.host.command import Operation
from hw.host.launcher import Launcher
from hw.host.model import play
from hw.host.registers import LauncherError

from .harness import MemoryModel, TileModel, simulate

CONFIG = preset("tiny")


def random_image(rng: random.Random, records: int) -> list[int]:
    words = []
    for _ in range(records):
        count = rng.choice([1, 1, 2, 3, 7, 20])
        words += [rng.randrange(1 << 14) << 18 | rng.randrange(1 << 10) << 8 | count,
                  *(rng.randrange(1 << 32) for _ in range(count))]
    return [*words, 0]


class Bench:
    """A launcher with memory and tile; ``send`` queues a command."""

    def __init__(self, **memory):
        self.launcher = Launcher(CONFIG)
        self.memory = MemoryModel(self.launcher.memory, CONFIG.lanes, **memory)
        self.tile = TileModel(self.launcher, groups=CONFIG.groups)

    async def send(self, ctx, operation, *, groups=0, place=None, word=None):
        command = self.launcher.command
        operand = {"place": {"address": {"offset": place[1], "tier": place[0]},
                             "words": place[2]}} if place else {"word": word or {}}
        ctx.set(command.payload, {"operation": operation, "groups": groups, "operand": operand})
        ctx.set(command.valid, 1)
        await ctx.tick().until(command.ready)
        ctx.set(command.valid, 0)

    async def reset(self, ctx):
        ctx.set(self.launcher.reset_request, 1)
        await ctx.tick()
        ctx.set(self.launcher.reset_request, 0)
        await ctx.tick().until(self.launcher.reset_done)

    def run(self, testbench, **options):
        simulate(self.launcher, testbench, self.memory.run, self.tile.run, **options)


@pytest.mark.parametrize("seed", range(2))
def test_loads_play_the_image(seed):
    rng, bench = random.Random(seed), Bench(seed=seed)
    images = [random_image(rng, records) for records in (0, 1, 4, 9)]
    places = []
    address = 4 * rng.randrange(1000)
    for number, image in enumerate(images):
        bench.memory.store(number % 2, address, [*image, 0xBAD0_BAD0, 0xFFFF_FFFF])
        places.append((number % 2, address, len(image)))
        address += 4 * (len(image) + rng.randrange(9))

    async def testbench(ctx):
        for place in places:
            await bench.send(ctx, Operation.LOAD, place=place)
        for _ in places:
            await ctx.tick().until(bench.launcher.load_done)
        await ctx.tick().repeat(60)
        assert not ctx.get(bench.launcher.active) and not ctx.get(bench.launcher.halted)

    bench.run(testbench)
    assert bench.tile.writes == [write for image in images for write in play(image)[0]]
    beat = 4 * CONFIG.lanes
    wanted = [(t, b * beat) for t, a, n in places for b in range(a // beat, (a + 4 * n - 1) // beat + 1)]
    assert bench.memory.reads == wanted, "beats read without need, or twice"


def test_one_word_a_cycle():
    bench = Bench(latency=(24, 24), stall=0)
    image = [3 << 18 | 250, *range(250), 5 << 18 | 250, *range(250), 0]
    bench.memory.store(0, 0, image)

    async def testbench(ctx):
        await bench.send(ctx, Operation.LOAD, place=(0, 0, len(image)))
        await ctx.tick().until(bench.launcher.load_done)

    bench.run(testbench)
    cycles = [entry[1] for entry in bench.tile.log]
    assert len(cycles) == 500 and cycles[-1] - cycles[0] == 500, "500 words and one header between them"


def test_order_of_arguments_and_execute():
    bench = Bench()
    timing = {}

    async def testbench(ctx):
        for number in range(5):
            await bench.send(ctx, Operation.ARGUMENT, word={"unit": number, "word": 9, "data": 100 + number})
        await bench.send(ctx, Operation.EXECUTE, groups=1)
        await bench.send(ctx, Operation.EXECUTE, groups=2)
        await bench.send(ctx, Operation.ARGUMENT, word={"unit": 9, "word": 9, "data": 9})
        await bench.send(ctx, Operation.EXECUTE, groups=1)          # waits for the first
        for expected in (1, 2, 1):
            await ctx.tick().until(bench.launcher.group_done != 0)
            timing.setdefault("done", []).append((bench.tile.cycle, expected))
        await ctx.tick()
        timing["cycles"] = ctx.get(bench.launcher.kernel_cycles[0])
        timing["count"] = ctx.get(bench.launcher.kernel_count[0]), ctx.get(bench.launcher.kernel_count[1])

    bench.run(testbench)
    assert bench.tile.writes == [(n, 9, 100 + n) for n in range(5)] + [(9, 9, 9)]
    kinds = [entry[0] for entry in bench.tile.log]
    assert kinds == ["write"] * 5 + ["execute", "execute", "write", "execute"]
    first, second, third = (entry for entry in bench.tile.log if entry[0] == "execute")
    assert (first[2], second[2], third[2]) == (1, 2, 1)
    assert second[1] == first[1] + 1, "groups do not wait for each other"
    assert third[1] >= first[1] + bench.tile.delay + bench.tile.work
    assert timing["count"] == (2, 1)
    assert bench.tile.work <= timing["cycles"] <= bench.tile.work + bench.tile.delay + 3


def test_load_waits_for_the_named_groups():
    bench = Bench()
    bench.memory.store(0, 0, [7 << 18 | 1, 42, 0])

    async def testbench(ctx):
        await bench.send(ctx, Operation.EXECUTE, groups=2)
        await bench.send(ctx, Operation.LOAD, groups=1, place=(0, 0, 3))      # group 0 is idle
        await bench.send(ctx, Operation.LOAD, groups=2, place=(0, 0, 3))      # group 1 is not
        await ctx.tick().until(bench.launcher.load_done)
        await ctx.tick().until(bench.launcher.load_done)

    bench.tile.work = 200
    bench.run(testbench)
    writes = [entry[1] for entry in bench.tile.log if entry[0] == "write"]
    assert writes[0] < 100 and writes[1] > 200


@pytest.mark.parametrize("what", ["truncated", "header last", "empty", "memory"])
def test_bad_images_halt_until_reset(what):
    bench = Bench(seed=5)
    image = [3 << 18 | 30, *range(30), 4 << 18 | 2, 8, 9, 0]
    length = {"truncated": 20, "header last": 32, "empty": 0}.get(what, len(image))
    bench.memory.store(0, 0, image)
    if what == "memory":
        bench.memory.broken.add((0, 4 * CONFIG.lanes * 3))
    seen = {}

    async def testbench(ctx):
        launcher = bench.launcher
        await bench.send(ctx, Operation.LOAD, place=(0, 0, length))
        await bench.send(ctx, Operation.EXECUTE, groups=1)
        await ctx.tick().until(launcher.halted)
        seen["error"] = ctx.get(launcher.error.code), ctx.get(launcher.error.position)
        await ctx.tick().repeat(80)
        assert not ctx.get(launcher.active), "commands are dropped"
        seen["before"] = len(bench.tile.log)
        await bench.reset(ctx)
        assert not ctx.get(launcher.halted)
        await bench.send(ctx, Operation.LOAD, place=(0, 4 * 31, 4))
        await ctx.tick().until(launcher.load_done)
        await bench.send(ctx, Operation.EXECUTE, groups=1)
        await ctx.tick().until(launcher.group_done == 1)

    bench.run(testbench)
    if what == "memory":
        expected = (LauncherError.MEMORY, 3 * CONFIG.lanes)
    else:
        writes, code, position = play(image[:length])
        expected = (code, position)
        assert bench.tile.writes[:-2] == writes
    assert seen["error"] == expected
    assert [entry[0] for entry in bench.tile.log[seen["before"]:]] == ["reset", "write", "write", "execute"]


@pytest.mark.parametrize("seed", range(2))
def test_reset_at_any_moment(seed):
    """A reset in mid-load or mid-kernel drops the queue, loses no response, and the launcher works as new."""
    rng, bench = random.Random(seed), Bench(seed=seed, latency=(3, 60))
    image = random_image(rng, 3)
    bench.memory.store(0, 64, image)
    bench.tile.hang, bench.tile.drain_cycles = True, rng.randrange(60)

    async def testbench(ctx):
        launcher = bench.launcher
        for _ in range(2):
            for _ in range(3):
                await bench.send(ctx, Operation.LOAD, place=(0, 64, len(image)))
            await bench.send(ctx, Operation.EXECUTE, groups=3)
            await ctx.tick().repeat(rng.randrange(1, 200))
            await bench.reset(ctx)
            assert not bench.memory.outstanding
            assert ctx.get(launcher.queued) == 0 and not ctx.get(launcher.active) and not ctx.get(launcher.running)
            bench.tile.log.clear()
            bench.tile.hang = False
            await bench.send(ctx, Operation.LOAD, place=(0, 64, len(image)))
            await bench.send(ctx, Operation.EXECUTE, groups=3)
            await ctx.tick().until(launcher.group_done == 3)
            assert bench.tile.writes == play(image)[0]
            bench.tile.hang = True

    bench.run(testbench, max_cycles=5_000)


def test_the_model_memory_catches_a_changed_request():
    """The checker bites: a port that withdraws a stalled request."""
    from amaranth.hdl import Module
    from amaranth.lib import wiring
    from amaranth.lib.wiring import Out

    from hw.common.packet import MemoryPort

    class Fickle(wiring.Component):
        def __init__(self):
            super().__init__({"memory": Out(MemoryPort(beat_bytes=16, tag_bits=4))})

        def elaborate(self, platform):
            m = Module()
            m.d.sync += [self.memory.request.p.address.eq(self.memory.request.p.address + 16), self.memory.request.valid.eq(1)]
            return m

    fickle = Fickle()
    memory = MemoryModel(fickle.memory, 4, stall=0.9)

    async def testbench(ctx):
        await ctx.tick().repeat(100)

    with pytest.raises(AssertionError, match="stalled request changed"):
        simulate(fickle, testbench, memory.run)
