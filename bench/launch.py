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

from coe_app.kernels import copy_kernel, network_kernel
from compiler.fabric.kernel import PlacementError
from hw.config import RDUConfig
from sw_driver.device import Device
from sw_driver.kernel import Kernel, encode_image
from sw_driver.schedule import Schedule

from .common import metric, steps
from .launch_sequences import Sequence, digits_sequence, short_kernels, short_sequence

DESCRIPTION = "launch overhead by registers and by schedules; --access CYCLES (100) --kernels N (100) --pictures N (12; --full 48)"

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
