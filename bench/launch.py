"""What a launch costs: cycles between kernels, by the host's registers and by schedules.

    rdu bench launch [--access N] [--kernels N] [--pictures N]

Metric ``overhead_cycles_per_kernel``: (cycles of the whole sequence - cycles in which a kernel ran) / kernels, by the device's own
counters; ``program_words``: program words sent per kernel, arguments included. Cases of ``--kernels`` short kernels (four
kinds in turn): "so", the host launches each; "so_shadow", it loads the next while one runs; "ho", a schedule; "ho_shadow", a
schedule that loads into shadows; "relaunch", a schedule of one kernel with new arguments. "digits ...": router, then the
expert that it names, for each picture, all of them in HBM; "digits relaunch": the experts only; "coe ...": the expert's weights are
copied from DDR in between, as on a miss of the expert cache. ``image_words``, ``load_cycles``: a Program Load of each kernel, whole
and as the words that differ from the kernel before it. The host takes ``--access`` cycles for each register
access (100; "so, N cycles per access" varies it). Every case's results are compared with those of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from coe_app.kernels import copy_kernel, network_kernel
from coe_app.network import FEATURES, LAYOUT, OUTPUTS, load_held_out, load_networks
from compiler.fabric.kernel import KernelBuilder, PlacementError
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import RDUConfig
from hw.pcu import library
from hw.pcu.model import run as run_pcu
from sw_driver.device import DDR, HBM, Device
from sw_driver.kernel import Kernel, encode_image
from sw_driver.schedule import Schedule

from .common import metric, steps

DESCRIPTION = "launch overhead by registers and by schedules; --access CYCLES (100) --kernels N (100) --pictures N (12; --full 48)"

VECTORS, ROWS = 4, 2             # of a short kernel's piece: rows of that many vectors
VARIED = (1000, 10)              # cycles per register access, beside --access


class TimedHost:
    """A backend whose register accesses take ``access`` cycles each, at least what the bus takes."""

    def __init__(self, backend):
        self.backend, self.access, self.accesses = backend, 0, 0

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def _spend(self, action: Callable):
        begin = self.backend.cycles
        result = action()
        self.accesses += 1
        if (left := self.access - (self.backend.cycles - begin)) > 0:
            self.backend.run(left)
        return result

    def reg_read(self, address: int) -> int:
        return self._spend(lambda: self.backend.reg_read(address))

    def reg_write(self, address: int, value: int) -> None:
        self._spend(lambda: self.backend.reg_write(address, value))


def short_kernels(config: RDUConfig) -> list[tuple[Kernel, object]]:
    """Four kernels of one or two streams from HBM through one PCU and back, with the programs of their PCUs; arguments ``source``,
    ``target``."""
    shape = {"rows": ROWS, "n": VECTORS * config.lanes}
    last, found = len(config.agcu_ports) - 1, []
    programs = (("affine", (0, 0), library.affine(config.pcu, 0.5, 1.0, **shape), 1),
                ("silu", (1, 1), library.silu(config.pcu, **shape), 1),
                ("add", (0, 0), library.residual_add(config.pcu, **shape), 2), ("gelu", (1, 1), library.gelu(config.pcu, **shape), 1))
    for name, place, program, inputs in programs:
        builder = KernelBuilder(config, name)
        loops = (Loop(ROWS * VECTORS, config.beat_bytes),)
        source = builder.agcu(0, AGCUProgram(loads=tuple(LoadProgram(loops=loops) for _ in range(inputs))))
        target = builder.agcu(last, AGCUProgram(stores=(StoreProgram(loops=loops),)))
        unit = builder.pcu(*place, program)
        for port in range(inputs):
            builder.vector(source.out(port), unit.input(port))
        builder.vector(unit.out(0), target.input(0))
        builder.argument("source", *(source.field(f"load{port}.base") for port in range(inputs)))
        builder.argument("target", target.field("store0.base"))
        found.append((builder.build(), program))
    return found


@dataclass
class Sequence:
    """Launches in order: (kernel, arguments) by the host, or as a schedule."""

    launches: list[tuple[Kernel, dict[str, int]]]
    schedule: Callable[[bool], Schedule]
    check: Callable[[], None]


class Bench:
    """A device with a timed host, and what it measures."""

    def __init__(self, device: Device, host: TimedHost):
        self.device, self.host = device, host

    def so(self, sequence: Sequence, access: int, ahead: bool = False) -> dict[str, float]:
        device, launches = self.device, sequence.launches
        device.reset()
        self.host.access, self.host.accesses, words = access, 0, 0
        start, busy = device.cycles, self._busy()
        for number, (kernel, arguments) in enumerate(launches):
            arguments = arguments() if callable(arguments) else arguments
            if not ahead:
                words += device.load(kernel)
            words += device.set_arguments(kernel, **arguments) if number or not ahead else self._first(kernel, arguments)
            device.execute(kernel)
            if ahead and number + 1 < len(launches) and launches[number + 1][0] is not kernel:
                words += device.prepare(launches[number + 1][0])
            device.wait(kernel)
        return self._result(device.cycles - start, busy, len(launches), words, sequence)

    def _first(self, kernel: Kernel, arguments: dict[str, int]) -> int:
        return self.device.load(kernel) + self.device.set_arguments(kernel, **arguments)

    def ho(self, sequence: Sequence, shadow: bool) -> dict[str, float]:
        device, schedule = self.device, sequence.schedule(shadow)
        device.reset()
        self.host.access = 0
        busy = self._busy()
        count, words = _dynamic(schedule, device)
        run = device.run_schedule(schedule)
        return self._result(run.cycles, busy, count, words, sequence)

    def _busy(self) -> int:
        """Cycles in which a kernel ran, so far; no two of these sequences' kernels run at the same time."""
        return sum(self.device.read_register("KERNEL_TOTAL", group) for group in range(self.device.config.groups))

    def _result(self, cycles: int, busy: int, count: int, words: float, sequence: Sequence) -> dict[str, float]:
        self.host.access = 0
        ran = self._busy() - busy
        sequence.check()
        return {"overhead_cycles_per_kernel": (cycles - ran) / count, "program_words": words / count,
                "kernel_cycles": ran / count}


def _dynamic(schedule: Schedule, device: Device) -> tuple[int, float]:
    """Launches that a schedule makes and the program words that they send: it runs on the model of the sequencer."""
    from hw.host.model import play
    from hw.host.schedule_model import run_schedule

    compiled = device.compile_schedule(schedule)
    places = [(0, 1 << 30 | number << 20) for number in range(len(compiled.images))]
    images = dict(zip(places, compiled.images, strict=True))
    outcome = run_schedule(compiled.place(places).tolist(), lambda tier, address: int.from_bytes(
        device.backend.mem_read(tier, address, 4).tobytes(), "little"))
    words = sum(event[0] == "argument" and event[1] != 0x3FFF for event in outcome.events)
    words += sum(len(play(images[event[3], event[4]])[0]) for event in outcome.events if event[0] == "load")
    return sum(event[0] == "execute" for event in outcome.events), words


def short_sequence(device: Device, count: int, same: bool = False) -> Sequence:
    """``count`` launches of the four short kernels in turn (``same``: of the first only), piece by piece through a buffer."""
    config = device.config
    kernels = short_kernels(config)[:1] if same else short_kernels(config)
    size = ROWS * VECTORS * config.beat_bytes
    values = np.random.default_rng(5).normal(size=(count + 1, size // 4)).astype(np.float32)
    source, target = device.upload(HBM, values), device.allocate(HBM, values.nbytes)
    launches = [(kernels[n % len(kernels)][0], {"source": source.address + n * size, "target": target.address + n * size})
                for n in range(count)]

    def schedule(shadow: bool) -> Schedule:
        found = Schedule("short kernels", shadow=shadow)
        with found.loop(count // len(kernels)) as loop:
            for number, (kernel, _) in enumerate(kernels):
                piece = loop.index * (size * len(kernels)) + number * size
                found.launch(kernel, source=piece + source.address, target=piece + target.address)
        return found

    def check() -> None:
        got = device.read(target, np.uint32, values.shape)
        for number in range(count // len(kernels) * len(kernels)):
            kernel, program = kernels[number % len(kernels)]
            stream = values[number].view(np.uint32).reshape(-1, config.lanes)
            model = run_pcu(program.pack(config.pcu), config.pcu, {port: stream for port in range(2 if kernel.name == "add" else 1)})
            if not np.array_equal(got[number], model.vector.reshape(-1)):
                raise AssertionError(f"launch {number} of {kernel.name!r} differs from its model")
        device.write(target, np.zeros_like(values))

    return Sequence(launches[:count // len(kernels) * len(kernels)], schedule, check)


def digits_sequence(device: Device, pictures: int, route: bool = True, copied: bool = False) -> Sequence:
    """The digits composition: router and expert for each picture (``route`` False: expert 0 only). ``copied``: the expert's weights
    come from DDR each time."""
    config, held = device.config, load_held_out()
    router, experts = load_networks()
    kernel, copy = network_kernel(config), copy_kernel(config)
    images = device.upload(DDR if copied else HBM, np.stack([expert.image() for expert in experts]))
    stride = images.size // len(experts)
    slot = device.allocate(HBM, stride)
    vectors = stride // config.beat_bytes
    weights = device.upload(HBM, router.image())
    inputs = device.upload(HBM, held.pictures[:pictures])
    picture = 2 * FEATURES
    logits, probabilities = (device.allocate(HBM, 4 * OUTPUTS * pictures) for _ in range(2))
    answers = device.allocate(HBM, config.beat_bytes * pictures)
    best = device.allocate(HBM, config.beat_bytes)
    routes = [int(router.run(held.pictures[n:n + 1], config.lanes).best[0]) if route else 0 for n in range(pictures)]

    def arguments(base, number, classes: int, where) -> dict:
        return {"rows": 1, "classes": classes, "pictures": inputs.address + number * picture, "best": where,
                "logits": logits.address + number * (4 * OUTPUTS), "probabilities": probabilities.address + number * (4 * OUTPUTS),
                **{name: base + offset for name, offset in LAYOUT.items()}}

    def expert_arguments(number: int) -> dict:
        expert = int(device.read(best, np.int32, (1,))[0]) if route else 0
        return arguments(slot.address if copied else images.address + expert * stride, number, 10,
                         answers.address + number * config.beat_bytes)

    def copy_arguments() -> dict:
        expert = int(device.read(best, np.int32, (1,))[0])
        return {"source": images.address + expert * stride, "destination": slot.address, "vectors": vectors}

    launches = []
    for number in range(pictures):
        if route:
            launches.append((kernel, arguments(weights.address, number, router.classes, best.address)))
        if copied:
            launches.append((copy, copy_arguments))
        launches.append((kernel, lambda number=number: expert_arguments(number)))

    def schedule(shadow: bool) -> Schedule:
        found = Schedule("digits", shadow=shadow)
        expert = found.value("expert", most=len(experts) - 1)
        with found.loop(pictures) as loop:
            if route:
                found.launch(kernel, **arguments(weights.address, loop.index, router.classes, best.address))
                found.read(expert, best)
            if copied:
                found.launch(copy, source=expert * stride + images.address, destination=slot.address, vectors=vectors)
                found.wait(copy)
            found.launch(kernel, **arguments(slot.address if copied else expert * stride + images.address, loop.index, 10,
                                             loop.index * config.beat_bytes + answers.address))
        return found

    def check() -> None:
        got = device.read(answers, np.int32, (pictures, config.lanes))[:, 0]
        model = [int(experts[expert].run(held.pictures[n:n + 1], config.lanes).best[0]) for n, expert in enumerate(routes)]
        if got.tolist() != model:
            raise AssertionError(f"answers {got.tolist()} differ from the model's {model}")
        device.write(answers, np.full(answers.size, 0xFF, np.uint8))

    return Sequence(launches, schedule, check)


def run(config: RDUConfig, console, *, full: bool = False, access: int = 100, kernels: int = 100, pictures: int = 12) -> list[dict]:
    """All cases; the digits composition only where it fits."""
    from sim.device import open_backend

    pictures = 48 if full else pictures
    for name, value, most in (("access", access, 1_000_000), ("kernels", kernels, 10_000), ("pictures", pictures, 300)):
        if not (4 if name == "kernels" else 1) <= value <= most:
            raise ValueError(f"{name}={value} must be from {4 if name == 'kernels' else 1} to {most}")
    metrics: list[dict] = []
    with steps(console, f"building the simulator of {config.name} (once; some minutes)", 20) as step:
        host = TimedHost(open_backend(config))
        with Device(host) as device:
            bench = Bench(device, host)
            metrics += _sizes(device)

            def measure(case: str, action: Callable[[], dict]) -> None:
                step(case)
                for name, value in action().items():
                    unit = "words" if name == "program_words" else "cycles"
                    metrics.append(metric(name, case, float(value), unit))

            _cases(measure, bench, config, lambda same: short_sequence(device, kernels, same), "", access)
            try:
                _cases(measure, bench, config, lambda same: digits_sequence(device, pictures, not same), "digits ", access)
                _cases(measure, bench, config, lambda same: digits_sequence(device, pictures, copied=True), "coe ", access)
            except PlacementError as error:
                console.print(f"no digits composition: {error}")
    return metrics


def _cases(measure, bench: Bench, config: RDUConfig, build: Callable[[bool], Sequence], prefix: str, access: int) -> None:
    """``build(same)``: the sequence, or that of one kernel again and again."""
    sequence = build(False)
    measure(f"{prefix}so", lambda: bench.so(sequence, access))
    for cycles in VARIED:
        measure(f"{prefix}so, {cycles} cycles per access", lambda cycles=cycles: bench.so(sequence, cycles))
    if config.shadow and not prefix:
        measure(f"{prefix}so_shadow", lambda: bench.so(sequence, access, ahead=True))
    measure(f"{prefix}ho", lambda: bench.ho(sequence, False))
    if config.shadow:
        measure(f"{prefix}ho_shadow", lambda: bench.ho(sequence, True))
    if prefix != "coe ":
        measure(f"{prefix}relaunch", lambda: bench.ho(build(True), True))


def _sizes(device: Device) -> list[dict]:
    """Image sizes and load times, full and delta: the short kernels and the digits network in turn, and the copy kernel after a reset."""
    metrics, config = [], device.config
    kernels = [kernel for kernel, _ in short_kernels(config)]
    with suppress(PlacementError):
        kernels.append(network_kernel(config))
    for delta in (False, True):
        device.delta = delta
        for kernel in kernels:
            device.load(kernel)
        for kernel in kernels:
            metrics += _load(device, kernel, "delta" if delta else "full")
    device.reset()
    device.delta = False
    metrics += _load(device, copy_kernel(config), "full")
    device.delta = True
    return metrics


def _load(device: Device, kernel: Kernel, form: str) -> list[dict]:
    """A Program Load, timed; the image is in memory before the clock starts."""
    words = device.image_words(kernel)[form]
    device._resident(encode_image(device._changes(kernel, device._wanted(kernel), "active")))
    begin = device.backend.cycles
    device.load(kernel)
    name = f"{kernel.name}, {form}"
    return [metric("image_words", name, words, "words"), metric("load_cycles", name, device.backend.cycles - begin, "cycles")]
