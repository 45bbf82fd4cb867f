"""Serving the digits Composition of Experts on a device: router, expert cache, experts, and what each request cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hw.config import RDUConfig
from sw_driver.device import DDR, HBM, Device
from sw_driver.expert_cache import ExpertCache
from sw_driver.memory import Buffer

from .kernels import copy_kernel, network_kernel, rows_per_pass
from .network import FEATURES, LAYOUT, NETWORK_BYTES, OUTPUTS, Answer, HeldOut, Network

__all__ = ["PHASES", "Request", "RequestError", "Server", "check_sizes"]

PHASES = ("router", "switch", "expert")


class RequestError(ValueError):
    """Pictures that the server cannot take."""


@dataclass(frozen=True)
class Request:
    """What happened to one picture. ``cycles``, by phase, include the host's register and memory accesses; the router's are
    this picture's share of its batch. ``start`` is the device's clock when its first phase began."""

    index: int
    expert: int
    digit: int
    hit: bool
    correct: bool
    routed: bool                 # the expert is the one for the picture's true view
    bit_exact: bool              # logits, probabilities and argmax of router and expert equal the numpy model
    start: int
    cycles: dict[str, int]
    kernel_cycles: dict[str, int]      # from Execute to finished, by the device's counter


@dataclass(frozen=True)
class _Run:
    """One launch: the device's answer, whether it equals the numpy model bit for bit, and the kernel's cycles."""

    answer: Answer
    exact: bool
    cycles: int


def check_sizes(config: RDUConfig, experts: int, *, resident: int = 1, batch: int = 1) -> None:
    """Raises :class:`RequestError` for a number that no server on ``config`` takes."""
    if not 1 <= resident <= experts:
        raise RequestError(f"resident={resident} must be from 1 to the number of experts, {experts}")
    if not 1 <= batch <= rows_per_pass(config):
        raise RequestError(f"batch={batch} must be from 1 to {rows_per_pass(config)}, the rows that one pass of the kernel takes")


class Server:
    """Runs requests on a device.

    Parameters
    ----------
    device: an open device.
    router, experts: the networks; experts live in DDR.
    resident: experts that the HBM region holds.
    """

    def __init__(self, device: Device, router: Network, experts: list[Network], *, resident: int = 4):
        check_sizes(device.config, len(experts), resident=resident)
        self.device, self.router, self.experts = device, router, experts
        config = device.config
        self.rows = rows_per_pass(config)
        self.kernel, self.copy = network_kernel(config), copy_kernel(config)
        self._router = device.upload(HBM, router.image())
        self._experts = [device.upload(DDR, expert.image()) for expert in experts]
        self.cache = ExpertCache([device.allocate(HBM, NETWORK_BYTES) for _ in range(resident)], self._switch)
        self._pictures = device.allocate(HBM, 2 * self.rows * FEATURES)
        self._logits = device.allocate(HBM, 4 * self.rows * OUTPUTS)
        self._probabilities = device.allocate(HBM, 4 * self.rows * OUTPUTS)
        self._best = device.allocate(HBM, self.rows * config.beat_bytes)

    def serve(self, requests: HeldOut, *, batch: int = 4) -> Iterator[Request]:
        """Serves ``requests`` in batches: the router once per batch, then picture by picture the chosen expert."""
        check_sizes(self.device.config, len(self.experts), batch=batch)
        pictures = requests.pictures
        if pictures.ndim != 2 or pictures.shape[1] != FEATURES or pictures.dtype != np.uint16:
            raise RequestError(f"pictures are {pictures.dtype}{list(pictures.shape)}, expected uint16[n, {FEATURES}] "
                               "(8 x 8 pixels, BF16 bit patterns)")
        for first in range(0, len(pictures), batch):
            group = slice(first, min(first + batch, len(pictures)))
            begin = self.device.cycles
            routed = self._run(self.router, self._router, pictures[group])
            rows = len(routed.answer.best)
            share = {"cycles": (self.device.cycles - begin) // rows, "kernel": routed.cycles // rows}
            for row, expert in enumerate(routed.answer.best):
                yield self._answer(requests, first + row, int(expert), share, routed.exact)

    def _answer(self, requests: HeldOut, index: int, expert: int, router: dict[str, int], router_exact: bool) -> Request:
        device = self.device
        before, self._copied = device.cycles, 0
        found = self.cache.lookup(expert)
        switched = device.cycles
        run = self._run(self.experts[expert], found.buffer, requests.pictures[index:index + 1])
        digit = int(run.answer.best[0])
        return Request(
            index=index, expert=expert, digit=digit, hit=found.hit, correct=digit == int(requests.digits[index]),
            routed=expert == int(requests.views[index]), bit_exact=run.exact and router_exact, start=before - router["cycles"],
            cycles={"router": router["cycles"], "switch": 0 if found.hit else switched - before,
                    "expert": device.cycles - switched},
            kernel_cycles={"router": router["kernel"], "switch": self._copied, "expert": run.cycles})

    def _run(self, network: Network, weights: Buffer, pictures: np.ndarray) -> _Run:
        """One launch of the network kernel."""
        device, rows = self.device, len(pictures)
        device.write(self._pictures, pictures)
        launched = device.launch(
            self.kernel, rows=rows, classes=network.classes, pictures=self._pictures.address, logits=self._logits.address,
            probabilities=self._probabilities.address, best=self._best.address,
            **{name: weights.address + offset for name, offset in LAYOUT.items()})
        logits = device.read(self._logits, np.float32, (rows, OUTPUTS))[:, :network.classes]
        probabilities = device.read(self._probabilities, np.float32, (rows, OUTPUTS))[:, :network.classes]
        best = device.read(self._best, np.int32, (rows, device.config.lanes))[:, 0]
        model = network.run(pictures, device.config.lanes)
        exact = all(np.array_equal(got.view(np.uint32), want.view(np.uint32)) for got, want in
                    ((logits, model.logits), (probabilities, model.probabilities), (best, model.best)))
        return _Run(Answer(logits, probabilities, best), exact, launched.cycles)

    def _switch(self, expert: int, slot: Buffer) -> None:
        """DDR -> HBM copy of an expert's weights by the copy kernel."""
        launched = self.device.launch(
            self.copy, source=self._experts[expert].address, destination=slot.address,
            vectors=NETWORK_BYTES // self.device.config.beat_bytes)
        self._copied = launched.cycles
