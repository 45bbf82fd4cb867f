"""Sequences of launches that ``rdu bench launch`` measures: four short kernels in turn, and the digits composition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from coe_app.kernels import copy_kernel, network_kernel
from coe_app.network import FEATURES, LAYOUT, OUTPUTS, load_held_out, load_networks
from compiler.fabric.kernel import KernelBuilder
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import RDUConfig
from hw.pcu import library
from hw.pcu.model import run as run_pcu
from sw_driver.device import DDR, HBM, Device
from sw_driver.kernel import Kernel
from sw_driver.schedule import Schedule

__all__ = ["Sequence", "digits_sequence", "short_kernels", "short_sequence"]

VECTORS, ROWS = 4, 2             # of a short kernel's piece: rows of that many vectors


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
