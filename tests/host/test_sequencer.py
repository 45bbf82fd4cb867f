"""The sequencer inside the launcher, against its model."""

import random

import pytest

from hw.common.program import ALL_UNITS, SHADOW
from hw.config import preset
from hw.host.command import Operation
from hw.host.instruction_buffer import DEPTH
from hw.host.instructions import Compare, Opcode, ScheduleError, decode, disassemble, encode
from hw.host.model import play
from hw.host.registers import LauncherError
from hw.host.schedule_model import run_schedule

from .harness import simulate
from .test_launcher import Bench

SCHEDULE = 0x4000                    # byte address in HBM of every schedule here
DATA = 0x8000                        # of its data, in DDR
CONFIG = preset("tiny")


class ScheduleBench(Bench):
    """Runs schedules one after the other in one simulation, with a reset of the tile between them; keeps what came of the last."""

    def __init__(self, **memory):
        super().__init__(**memory)
        self.signals, self.seen, self.initial = [], {}, {}

    def data(self, tier: int, address: int) -> int:
        return self.memory.words.get((tier, address // 4), 0)

    async def _watch(self, ctx):
        before = 0
        while True:
            await ctx.tick()
            count = ctx.get(self.launcher.doorbells)
            if count != before:
                self.signals.append((ctx.get(self.launcher.doorbell), self.seen.get("interrupt", 0)))
            self.seen["interrupt"], before = ctx.get(self.launcher.signal), count

    async def _one(self, ctx, words) -> None:
        launcher = self.launcher
        self.words = [int(word) for word in words]
        self.memory.store(0, SCHEDULE, [*self.words, 0xFFFF_FFFF])
        self.initial = dict(self.memory.words)
        for record in (self.tile.log, self.signals, self.memory.reads, self.memory.written):
            record.clear()
        self.seen["start"] = self.tile.cycle
        await self.send(ctx, Operation.SCHEDULE, place=(0, SCHEDULE, len(self.words)))
        await ctx.tick().until(launcher.schedule_done | launcher.halted)
        self.seen["end"] = self.tile.cycle
        await ctx.tick()
        self.seen["error"] = LauncherError(ctx.get(launcher.error.code)), ctx.get(launcher.error.position)
        self.seen["active"], self.seen["steps"] = ctx.get(launcher.schedule_active), ctx.get(launcher.schedule_steps)

    def go(self, *cases) -> None:
        """``cases``: (words, called before or None, called after or None)."""
        async def testbench(ctx):
            for words, before, after in cases:
                if before:
                    before()
                await self._one(ctx, words)
                if after:
                    after()
                await self.reset(ctx)

        simulate(self.launcher, testbench, self.memory.run, self.tile.run, self._watch, max_cycles=60_000)

    def matches(self, images=()) -> None:
        """What the tile, the memory and the doorbell saw is what the model says."""
        model = run_schedule(self.words, lambda tier, address: self.initial.get((tier, address // 4), 0))
        assert self.seen["error"] == (model.error, model.position if model.error else 0)
        assert self.seen["steps"] == model.steps
        tile, signals, written = [], [], []
        for event in model.events:
            match event:
                case ("execute", groups, exchange):
                    tile += [("write", ALL_UNITS)] * exchange + ([("execute", groups & 3)] if groups & 3 else [])
                case ("argument", unit, word, value):
                    tile.append(("write", unit, word, value))
                case ("load", _, shadow, tier, address, _):
                    tile += [("write", unit, word | SHADOW * shadow, value) for unit, word, value in play(images[tier, address])[0]]
                case ("signal", value, interrupt):
                    signals.append((value, interrupt))
                case ("write", tier, address, value):
                    written.append(((tier, address // 4), value))
        got = [(entry[0], entry[2]) if entry[0] == "execute" or entry[2] == ALL_UNITS else (entry[0], *entry[2:])
               for entry in self.tile.log]
        assert got == tile
        assert self.signals == signals
        assert {key: self.memory.words[key] for key in self.memory.written} == dict(written)


def program(*instructions) -> list[int]:
    """Words of (opcode, fields) pairs."""
    return [word for opcode, fields in instructions for word in encode(opcode, **fields)]


def loop(count: int, *body, r: int = 0) -> list[tuple]:
    length = len(program(*body)) + 1
    return [(Opcode.LOOP, {"value": count, "r": r, "length": length}), *body, (Opcode.NEXT, {})]


END = (Opcode.END, {})


def test_arguments_loops_shadows():
    """A loop of launches whose argument is patched from memory; a shadow load beside a kernel; loops fetched once, left, skipped."""
    bench = ScheduleBench()

    def running_position():
        bench.matches()
        assert bench.tile.writes == [(9, 5, 100 + value) for value in (11, 22, 33, 44, 55)]
        assert bench.signals == [(7 + n, 1) for n in range(5)]
        assert [bench.data(0, DATA + 8 * n) for n in range(5)] == [11, 22, 33, 44, 55]

    body = [(Opcode.READ, {"r": 2, "a": 1, "shift": 2, "tier": 1, "address": DATA}),
            (Opcode.ARGUMENT, {"r": 2, "unit": 9, "word": 5, "value": 100}),
            (Opcode.EXECUTE, {"groups": 1}), (Opcode.WAIT_IDLE, {"groups": 1}),
            (Opcode.SIGNAL, {"r": 1, "value": 7, "interrupt": 1}),
            (Opcode.WRITE, {"r": 2, "a": 1, "shift": 3, "tier": 0, "address": DATA}),
            (Opcode.COMPUTE, {"r": 1, "b": 1, "value": 1})]
    bench.memory.store(1, DATA, [11, 22, 33, 44, 55])
    position = program(*loop(5, *body), END)

    images = {(0, 0x100): [3 << 18 | 5 << 8 | 40, *range(40), 0]}
    bench.memory.store(0, 0x100, images[0, 0x100])
    shadow = program((Opcode.EXECUTE, {"groups": 1}), (Opcode.LOAD, {"shadow": 1, "address": 0x100, "words": 42}),
                     (Opcode.ARGUMENT, {"unit": 3, "word": SHADOW + 2, "value": 6}),
                     (Opcode.EXECUTE, {"groups": 1, "exchange": 1}), (Opcode.WAIT_IDLE, {"groups": 1}), END)

    def switched():
        bench.matches(images)
        first, second = (entry[1] for entry in bench.tile.log if entry[0] == "execute")
        loads = [entry[1] for entry in bench.tile.log if entry[0] == "write" and entry[2] == 3]
        exchange = next(entry[1] for entry in bench.tile.log if entry[2] == ALL_UNITS)
        assert first < loads[0] and loads[-1] < first + 250, "loaded while the kernel ran"
        assert exchange == second - 1 and second - (first + bench.tile.delay + bench.tile.work) <= 6

    leave = (Opcode.LEAVE, {"compare": Compare.GE, "a": 1, "b": 2, "value": 3})
    step, argument = (Opcode.COMPUTE, {"r": 1, "b": 1, "value": 1}), (Opcode.ARGUMENT, {"r": 1, "unit": 1, "word": 1})
    left = program((Opcode.COMPUTE, {"r": 2, "value": 2}), *loop(100, argument, step, leave, *loop(0, argument)), argument, END)

    def values():
        bench.matches()
        assert [value for _, _, value in bench.tile.writes] == [0, 1, 2, 3, 4, 5]

    long = [(Opcode.ARGUMENT, {"r": 1, "unit": n, "word": 1, "value": n}) for n in range(150)]
    again = program(*loop(2, (Opcode.COMPUTE, {"r": 1, "b": 1, "value": 1000}), *long), END)
    bench.go((position, None, running_position), (shadow, lambda: setattr(bench.tile, "work", 300), switched), (left, None, values),
             (again, None, bench.matches))


def test_instructions_take_two_cycles_and_loops_are_not_fetched_again():
    bench, cases = ScheduleBench(latency=(30, 30), stall=0), []
    for count in (1, 50, 62):
        def after(count=count):
            assert len(bench.memory.reads) <= DEPTH // CONFIG.lanes
            assert bench.seen["end"] - bench.seen["start"] <= 5 * (2 * count + 2) + 70 + 2 * count

        cases.append((program(*loop(5, *[(Opcode.COMPUTE, {"r": 1, "b": 1, "value": 1})] * count), END), None, after))
    bench.go(*cases)


def test_waits():
    """For memory that another master writes, for a token, for a counter."""
    bench = ScheduleBench()
    words = program((Opcode.WAIT_MEMORY, {"compare": Compare.EQ, "tier": 1, "address": DATA, "value": 5}),
                    (Opcode.SIGNAL, {"value": 1}), (Opcode.WAIT_TOKEN, {"agcu": 1}), (Opcode.SIGNAL, {"value": 2}),
                    (Opcode.WAIT_TOKEN, {"agcu": 1}), (Opcode.SIGNAL, {"value": 3}),
                    (Opcode.WAIT_COUNTER, {"compare": Compare.GE, "unit": 33, "index": 4, "value": 50}),
                    (Opcode.SIGNAL, {"value": 4}), END)
    bench.memory.store(0, SCHEDULE, words)
    order = []

    async def outside(ctx):
        launcher = bench.launcher

        async def signals(count):
            await ctx.tick().repeat(300)
            order.append(ctx.get(launcher.doorbells))
            assert order[-1] == count

        await ctx.tick().until(launcher.schedule_active)
        await signals(0)
        bench.memory.store(1, DATA, [5])
        await signals(1)
        for expected in (2, 3):
            ctx.set(launcher.token, 2)
            await ctx.tick()
            ctx.set(launcher.token, 0)
            await signals(expected)
        for value in (3, 49, 50):
            ctx.set(launcher.value, value)
            await ctx.tick().until(launcher.watch)
            assert (ctx.get(launcher.select.unit), ctx.get(launcher.select.index)) == (33, 4)
            await ctx.tick().repeat(5)
            ctx.set(launcher.seen, 1)
            await ctx.tick()
            ctx.set(launcher.seen, 0)
        await ctx.tick().repeat(100)


    async def testbench(ctx):
        await bench.send(ctx, Operation.SCHEDULE, place=(0, SCHEDULE, len(words)))
        await outside(ctx)
        assert not ctx.get(bench.launcher.schedule_active) and ctx.get(bench.launcher.doorbells) == 4

    simulate(bench.launcher, testbench, bench.memory.run, bench.tile.run)
    assert order == [0, 1, 2, 3]


ERRORS = [
    (program((Opcode.SIGNAL, {"value": 1})), LauncherError.RUNAWAY, 0),
    (program((Opcode.SIGNAL, {"value": 1}), END)[:1], LauncherError.RUNAWAY, 0),
    ([], LauncherError.RUNAWAY, 0),
    ([*program((Opcode.COMPUTE, {})), 15], LauncherError.ILLEGAL, 2),
    (program((Opcode.NEXT, {}), END), LauncherError.ILLEGAL, 0),
    (program((Opcode.LEAVE, {}), END), LauncherError.ILLEGAL, 0),
    ([Opcode.LEAVE | 7 << 4, 0, 0], LauncherError.ILLEGAL, 0),
    (program(*loop(2, *loop(2, *loop(2, *loop(2, *loop(2, (Opcode.COMPUTE, {}))))))), LauncherError.ILLEGAL, 8),
    (program((Opcode.READ, {"address": 2}), END), LauncherError.MISALIGNED, 0),
    (program((Opcode.WAIT_TOKEN, {"agcu": 9}), END), LauncherError.ILLEGAL, 0),
    (program((Opcode.READ, {"address": 0x100}), END), LauncherError.MEMORY, 0),
    (program(*[(Opcode.COMPUTE, {})] * 20, END), LauncherError.MEMORY, 30),
]


def test_errors_halt_and_a_reset_makes_it_whole():
    bench, cases = ScheduleBench(), []
    for words, error, position in ERRORS:
        def before(error=error):
            bench.memory.broken = {(0, 0x100), (0, SCHEDULE + 128)} if error == LauncherError.MEMORY else set()

        def after(error=error, position=position):
            assert bench.seen["error"] == (error, position) and not bench.seen["active"]

        cases.append((words, before, after))
    good = program((Opcode.ARGUMENT, {"unit": 1, "word": 2, "value": 3}), END)
    bench.go(*cases, (good, bench.memory.broken.clear, bench.matches))


def test_a_fault_ends_the_schedule_and_a_reset_at_any_moment():
    rng, bench = random.Random(3), ScheduleBench()
    body = [(Opcode.READ, {"r": 2, "address": 0x200}), (Opcode.EXECUTE, {"groups": 3}), (Opcode.WAIT_IDLE, {"groups": 3})]
    endless, good = program(*loop(1000, *body), END), program((Opcode.ARGUMENT, {"unit": 1, "word": 2, "value": 3}), END)
    bench.memory.store(0, SCHEDULE, endless)
    bench.memory.store(0, 0x40, good)

    async def testbench(ctx):
        launcher = bench.launcher
        for fault in (0, 1) * 4:
            await bench.send(ctx, Operation.SCHEDULE, place=(0, SCHEDULE, len(endless)))
            await ctx.tick().repeat(rng.randrange(10, 300))
            if fault:
                ctx.set(launcher.fault, 1)
                await ctx.tick().repeat(2)
                assert not ctx.get(launcher.schedule_active)
            await bench.reset(ctx)
            ctx.set(launcher.fault, 0)
            assert not bench.memory.outstanding and not ctx.get(launcher.active)
            bench.tile.log.clear()
            await bench.send(ctx, Operation.SCHEDULE, place=(0, 0x40, len(good)))
            await ctx.tick().until(launcher.schedule_done)
            await ctx.tick()
            assert bench.tile.writes == [(1, 2, 3)]

    simulate(bench.launcher, testbench, bench.memory.run, bench.tile.run)


def test_random_schedules_do_what_the_model_does():
    rng = random.Random(1)

    def random_body(depth: int) -> list[tuple]:
        body = []
        for _ in range(rng.randrange(1, 6)):
            memory = {"tier": rng.randrange(2), "address": DATA + 4 * rng.randrange(16)}
            body += rng.choice([
                [(Opcode.COMPUTE, {"r": rng.randrange(16), "a": rng.randrange(16), "b": rng.randrange(16),
                                   "shift": rng.randrange(32), "right": rng.randrange(2), "minus": rng.randrange(2),
                                   "value": rng.randrange(1 << 32)})],
                [(Opcode.READ, {"r": rng.randrange(16), **memory})], [(Opcode.WRITE, {"r": rng.randrange(16), **memory})],
                [(Opcode.ARGUMENT, {"r": rng.randrange(16), "unit": rng.randrange(99), "word": 3, "value": rng.randrange(1 << 32)})],
                [(Opcode.EXECUTE, {"groups": rng.randrange(4), "exchange": rng.randrange(2)})],
                [(Opcode.SIGNAL, {"r": rng.randrange(16), "value": rng.randrange(99), "interrupt": rng.randrange(2)})],
                [(Opcode.WAIT_IDLE, {"groups": 3})],
                loop(rng.randrange(4), *random_body(depth - 1)) if depth else [],
            ])
            if depth < 2 and rng.random() < 0.3:
                body.append((Opcode.LEAVE, {"compare": rng.randrange(4), "a": rng.randrange(16), "b": rng.randrange(16),
                                            "value": rng.randrange(1 << 32)}))
        return body

    bench = ScheduleBench()
    bench.memory.store(0, DATA, [rng.randrange(1 << 32) for _ in range(20)])
    bench.memory.store(1, DATA, [rng.randrange(1 << 32) for _ in range(20)])
    bench.go(*((program(*loop(3, *random_body(2)), END), None, bench.matches) for _ in range(3)))


def test_encoding_refuses_and_disassembly_tells():
    words = program((Opcode.COMPUTE, {"r": 3, "a": 1, "shift": 4, "value": 9}), *loop(4, (Opcode.NEXT, {})), END)
    assert [str(line).split()[1] for line in disassemble(words)] == ["COMPUTE", "LOOP", "NEXT", "NEXT", "END"]
    assert "shift=4" in str(disassemble(words)[0])
    for fields, text in (({"shift": 32}, "shift=32 does not fit in 5 bits"), ({"depth": 1}, "no field 'depth'")):
        with pytest.raises(ScheduleError, match=text):
            encode(Opcode.COMPUTE, **fields)
    for bad, text in (([15], "opcode 15 does not exist"), ([Opcode.COMPUTE], "has 2 words"), ([Opcode.END | 16], "mean nothing"),
                      ([Opcode.LEAVE | 4 << 4, 0], "compare=4")):
        with pytest.raises(ScheduleError, match=text):
            decode(bad, 0)
