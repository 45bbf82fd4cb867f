"""Schedules: what the compiled instructions make of the units is, launch by launch, what the steps say."""

import random

import pytest

from hw.common.program import ALL_UNITS, SHADOW
from hw.config import preset
from hw.host.model import play
from hw.host.schedule_model import run_schedule
from sw_driver.held import Held
from sw_driver.kernel import Argument, Kernel, KernelError
from sw_driver.memory import Buffer
from sw_driver.schedule import Launch, Leave, Loop, Read, Schedule, ScheduleError, Set, Write
from sw_driver.schedule_compiler import compile_schedule
from sw_driver.values import linear

CONFIG = preset("small")
FIRST = CONFIG.unit_id(0, 0)
DATA = Buffer(1, 0x1000, 256)


def kernel(name: str, units: dict[int, list[int]], group: int = 0, arguments=None) -> Kernel:
    """``units``: program words after the launch word, from unit FIRST on; a negative number is that switch."""
    programs = {FIRST + unit if unit >= 0 else -unit: dict(enumerate([1 | group << 1, *words] if unit >= 0 else words))
                for unit, words in units.items()}
    return Kernel(name, CONFIG.digest, group, programs, arguments or {})


def words(seed: int, count: int) -> list[int]:
    return [random.Random(seed).randrange(1 << 32) for _ in range(count)]


A = kernel("a", {0: words(1, 12), 1: words(2, 9), -3: words(3, 8)},
           arguments={"base": (Argument(FIRST, 2, 0, 32),), "rows": (Argument(FIRST, 3, 0, 16), Argument(FIRST + 1, 4, 8, 16)),
                      "columns": (Argument(FIRST, 3, 16, 16),)})
B = kernel("b", {1: words(4, 10), 2: words(5, 20), -3: words(6, 8)}, arguments={"base": (Argument(FIRST + 2, 1, 0, 32),)})
C = kernel("c", {3: words(7, 3)}, group=1, arguments={"base": (Argument(FIRST + 3, 2, 0, 32),)})
KERNELS = (A, B, C)


class Tile:
    """Executes the sequencer's commands; ``runs`` are the programs that each EXECUTE of a group starts."""

    def __init__(self):
        self.active, self.shadow, self.armed, self.runs = {}, {}, set(), []

    def write(self, unit, word, value):
        if unit == ALL_UNITS:
            for number in self.armed:
                self.active[number], self.shadow[number] = self.shadow.get(number, {}), self.active.get(number, {})
            self.armed.clear()
        elif word & SHADOW:
            self.shadow.setdefault(unit, {})[word - SHADOW] = value
            self.armed.add(unit)
        else:
            self.active.setdefault(unit, {})[word] = value

    def play(self, events, images):
        for event in events:
            match event:
                case ("argument", unit, word, value):
                    self.write(unit, word, value)
                case ("load", _, shadow, tier, address, length):
                    for unit, word, value in play(images[tier, address][:length])[0]:
                        self.write(unit, word | SHADOW * shadow, value)
                case ("execute", groups, exchange):
                    if exchange:
                        self.write(ALL_UNITS, 0, 0)
                    assert not self.armed, "something stays armed"
                    group = groups.bit_length() - 1
                    started = {unit: dict(own) for unit, own in self.active.items() if unit >= FIRST and own.get(0, 0) == (1 | group << 1)}
                    self.runs.append((group, started, {unit: dict(own) for unit, own in self.active.items() if unit < FIRST}))


def expected(schedule: Schedule, memory: dict) -> list[tuple[Kernel, dict[str, int]]]:
    """The launches of a schedule, by walking its steps."""
    values = {value: value.initial for value in schedule.values}
    launches = []

    def number(expression):
        return (sum(values[value] * factor for value, factor in expression.terms) + expression.constant) & 0xFFFF_FFFF

    def walk(steps) -> bool:
        for step in steps:
            match step:
                case Launch(own, arguments):
                    launches.append((own, {name: number(linear(value)) for name, value in arguments.items()}))
                case Set(value, to):
                    values[value] = number(to)
                case Read(value, place, _):
                    values[value] = memory.get((place.tier, number(place.address)), 0)
                case Write(place, source, _):
                    memory[place.tier, number(place.address)] = number(source)
                case Leave(left, compare, right):
                    one, two = number(left), number(right)
                    if (one == two, one != two, one < two, one >= two)[compare]:
                        return True
                case Loop():
                    for iteration in range(number(step.count)):
                        if step.counter:
                            values[step.counter] = iteration
                        if walk(step.body):
                            break
        return False

    walk(schedule.steps)
    return launches


def check(schedule: Schedule, config=CONFIG, held: Held | None = None, tile: Tile | None = None, memory: dict | None = None):
    """Compiles and runs ``schedule``; every launch finds the programs that it says, and ``held`` is true in the end."""
    compiled = compile_schedule(schedule, config, held or Held(FIRST))
    places = [(0, 0x10_0000 + 0x1_0000 * number) for number in range(len(compiled.images))]
    images = dict(zip(places, compiled.images, strict=True))
    tile, memory = tile or Tile(), memory or {}
    outcome = run_schedule(compiled.place(places).tolist(), lambda tier, address: memory.get((tier, address), 0))
    assert not outcome.error, (outcome.error, outcome.position, compiled.listing)
    tile.runs.clear()
    tile.play(outcome.events, images)
    launches = expected(schedule, dict(memory))
    assert len(launches) == len(tile.runs)
    for (own, arguments), (group, started, switches) in zip(launches, tile.runs, strict=True):
        programs = {unit: dict(content) for unit, content in own.programs.items()}
        for unit, word, value in own.argument_words(programs, **arguments):
            programs[unit][word] = value
        assert group == own.group and set(started) == {unit for unit in programs if unit >= FIRST}, own.name
        for unit, content in programs.items():
            have = (started if unit >= FIRST else switches)[unit]
            assert all(have.get(word, 0) == value for word, value in content.items()), (own.name, unit)
    for bank in ("active", "shadow"):
        for (unit, word), value in compiled.held.words(bank):
            assert value is None or getattr(tile, bank).get(unit, {}).get(word, 0) == value, (bank, unit, word)
    return compiled, tile


@pytest.mark.parametrize("shadow", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_random_schedules(seed, shadow, monkeypatch):
    """Launches with computed arguments in nested loops that are left early, on a device with and without shadows."""
    import dataclasses
    config = dataclasses.replace(CONFIG, shadow=shadow)
    monkeypatch.setattr(Kernel, "check", lambda self, config: None)
    rng = random.Random(seed)
    schedule = Schedule("random")
    values = [schedule.value(f"v{n}", rng.randrange(50), most=500) for n in range(3)]
    memory = {(1, DATA.address + 4 * n): rng.randrange(40) for n in range(64)}

    def argument():
        return rng.choice([rng.randrange(100), rng.choice(values), rng.choice(values) * rng.randrange(1, 7) + rng.randrange(9),
                           rng.choice(values) * 8 + rng.choice(values)])

    def block(depth):
        for _ in range(rng.randrange(1, 5)):
            match rng.randrange(9):
                case 0 | 1 | 2 | 3 | 4:
                    own = rng.choice(KERNELS)
                    schedule.launch(own, **{name: argument() for name in own.arguments if rng.random() < 0.7})
                case 5:
                    schedule.read(rng.choice(values), DATA, 4 * rng.randrange(64), settled=rng.random() < 0.5)
                case 6:
                    schedule.wait(rng.choice([None, *KERNELS]))
                case 7 if depth:
                    schedule.leave_if(rng.choice(values), rng.choice(["==", "!=", "<", ">="]), rng.randrange(60))
                case 8 if depth < 3:
                    with schedule.loop(rng.choice([0, 1, 2, 5, rng.choice(values)])) as loop:
                        if rng.random() < 0.5:
                            schedule.launch(C, base=loop.index * 12 + 5)
                        block(depth + 1)
        if depth and rng.random() < 0.5:
            schedule.set(values[0], rng.randrange(4))
        if not (schedule._open[-1].body if schedule._open else schedule.steps):
            schedule.launch(A)

    block(0)
    held, tile = Held(FIRST), Tile()
    for _ in range(2):                  # again, from what the first run leaves
        compiled, tile = check(schedule, config, held, tile, memory)
        held = compiled.held


def test_relaunch_sends_arguments_only_and_alternation_settles_in_the_shadows():
    schedule = Schedule()
    with schedule.loop(10) as loop:
        schedule.launch(A, base=loop.index * 64)
    compiled, _ = check(schedule)
    assert compiled.program_words == [("a", 1)]
    schedule = Schedule()
    with schedule.loop(10) as loop:
        schedule.launch(A, base=loop.index * 64)
        schedule.launch(B, base=loop.index * 4)
    compiled, _ = check(schedule)
    assert sum(number for _, number in compiled.program_words) <= 10, "two kernels in two banks: armed and exchanged"


def test_the_next_program_loads_while_a_result_is_awaited():
    schedule = Schedule()
    token = schedule.value("token")
    schedule.launch(A)
    schedule.read(token, DATA)
    schedule.launch(B, base=token * 4)
    compiled, _ = check(schedule)
    order = [line.split()[1] for line in compiled.listing.splitlines()]
    assert order == ["LOAD", "EXECUTE", "LOAD", "WAIT_IDLE", "READ", "COMPUTE", "ARGUMENT", "EXECUTE", "WAIT_IDLE", "END"]


def test_a_kernel_of_another_group_that_loses_a_unit_is_awaited_and_loaded_again():
    thief = kernel("thief", {0: words(9, 4)}, group=1)
    schedule = Schedule()
    schedule.launch(A)
    schedule.launch(thief)
    schedule.launch(A)
    compiled, _ = check(schedule)
    assert [line.split()[1] for line in compiled.listing.splitlines()].count("WAIT_IDLE") == 3


@pytest.mark.parametrize("build, message", [
    (lambda s, v: s.launch(A, rows=v), r"rows=v can be 0 to 4294967295, which does not fit in 16 bits \(declare"),
    (lambda s, v: s.launch(A, rows=1 << 16), "rows=65536 can be 65536 to 65536"),
    (lambda s, v: s.launch(A, height=1), "no argument 'height'; it has: base, columns, rows"),
    (lambda s, v: s.leave_if(v, "==", 1), "there is no loop to leave"),
    (lambda s, v: s.read(v, DATA, 256), "offset=256 must be a multiple of 4 inside the buffer of 256 bytes"),
    (lambda s, v: s.read(v, DATA, 6), "offset=6 must be a multiple of 4"),
    (lambda s, v: s.wait_memory(DATA, ">", 1), "wait_memory: compare='>' must be one of ==, !=, <, >="),
    (lambda s, v: s.set(v, v * v), "can be multiplied by an integer only"),
    (lambda s, v: s.set(v, "3"), "'3' is neither an integer nor a value"),
    (lambda s, v: s.set(v, Schedule().value("other")), "is not a value of this schedule"),
    (lambda s, v: s.value("v"), "there is a value 'v' already"),
    (lambda s, v: [s.value() for _ in range(13)], "13 values at most"),
    (lambda s, v: s.loop(-1).__enter__(), "count=-1 must fit in 32 bits"),
])
def test_refusals(build, message):
    schedule = Schedule("bad")
    value = schedule.value("v")
    with pytest.raises((ScheduleError, KernelError), match=message):
        build(schedule, value)


def test_refusals_when_it_is_compiled():
    for build, message in ((lambda s: s.wait_counter("pcu(9,9)", "busy", ">=", 1), "no unit 'pcu"),
                           (lambda s: s.wait_counter("agcu0", "sleep", ">=", 1), "agcu0 has no event 'sleep'"),
                           (lambda s: s.wait_token(4), "agcu=4 must be below 4")):
        schedule = Schedule("bad")
        build(schedule)
        with pytest.raises(ScheduleError, match=message):
            compile_schedule(schedule, CONFIG, Held(FIRST))
    with pytest.raises(ScheduleError, match="no value 'x'; values: none"):
        compile_schedule(Schedule(), CONFIG, Held(FIRST), x=1)
    deep = Schedule()
    with pytest.raises(ScheduleError, match="more than 4 loops"), deep.loop(2), deep.loop(2), deep.loop(2), deep.loop(2), deep.loop(2):
        pass
