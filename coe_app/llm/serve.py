"""Serving the language Composition of Experts: router, expert cache, prefill and decode, and what each request cost."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import numpy as np

from sw_driver.device import DDR, HBM, Device, DeviceError
from sw_driver.expert_cache import ExpertCache
from sw_driver.memory import Buffer

from .decoder import Expert, KeyValues
from .engine import Engine
from .kernels import TILE
from .request import PHASES, Reply, RequestError, check_experts, check_requests
from .router import OUTPUTS, ROUTER_ROWS, Router, router_kernel
from .schedules import decode_schedule, prefill_schedule
from .shape import CONTEXT
from .streams import expert_image
from .weights import Prompt

__all__ = ["PHASES", "LanguageServer", "Reply", "RequestError"]

class LanguageServer:
    """Runs prompts on a device.

    Parameters
    ----------
    device: an open device.
    router, experts: the networks; experts live in DDR. Experts beyond the router's classes are reached by :attr:`choose` only.
    resident: experts that the HBM region holds.
    look_ahead: the next request's expert is copied while the present one runs.
    hardware: prefill and greedy decode are schedules that the device walks by itself, not launches by the host.
    verify: compare with the numpy model: every token, and the logits that the host gets to see.
    check_images: compare the checksum of an expert's image after it was copied to HBM (the host reads it back).
    """

    def __init__(self, device: Device, router: Router, experts: list[Expert], *, resident: int = 4, look_ahead: bool = False,
                 verify: bool = True, check_images: bool = False, hardware: bool = False):
        check_experts(len(experts), resident, look_ahead, hardware)
        self.device, self.router, self.experts, self.hardware = device, router, experts, hardware
        self.verify, self.check_images, self.look_ahead = verify, check_images, look_ahead
        config = device.config
        image, layout = expert_image(experts[0], config)
        self.image_bytes = layout.size
        self.engine = Engine(device, layout, self._launch, look_ahead=look_ahead)
        self.router_kernel = router_kernel(config, router.classes)
        self.stored, self._checksums = [], []
        for expert in experts:
            image = expert_image(expert, config)[0]
            self.stored.append(device.upload(DDR, image))
            self._checksums.append(zlib.crc32(image))
        self.cache = ExpertCache([device.allocate(HBM, layout.size) for _ in range(resident)], self._copy)
        router_image, self._offsets = router.image()
        self._router = device.upload(HBM, router_image)
        self._features = device.allocate(HBM, ROUTER_ROWS * 2 * router.tensors["w1"].shape[0])
        self._scores = device.allocate(HBM, ROUTER_ROWS * 4 * OUTPUTS)
        self._best = device.allocate(HBM, ROUTER_ROWS * config.beat_bytes)
        self._decode = decode_schedule(self.engine)
        self._kernel_cycles = 0
        self.launches = 0
        self._copying: int | None = None           # the expert on its way to HBM
        self.choose: Callable[[int, int], int] | None = None        # (request, router's class) -> expert

    # Requests -------------------------------------------------------------------------------------------------------------
    def serve(self, prompts: list[Prompt], *, tokens: int, batch: int = 4, temperature: float = 0.0, seed: int = 0,
              reorder: bool = False, stream: Callable[[Reply, int], None] | None = None) -> Iterator[Reply]:
        """Answers ``prompts`` with ``tokens`` new tokens each, in batches: the router once, then prompt by prompt.

        ``reorder``: within a batch, prompts of resident experts first, prompts of one expert together; else first come, first
        served. ``temperature`` 0: greedy, by the device's own argmax. ``stream`` is called with every token as it comes.
        A request that fails says so in its reply; the others go on. Raises :class:`RequestError` for numbers out of range.
        """
        check_requests(prompts, tokens=tokens, batch=batch, temperature=temperature)
        for first in range(0, len(prompts), batch):
            replies = self._route(prompts[first:first + batch], first)
            if reorder:
                resident = set(self.cache.resident)
                replies.sort(key=lambda reply: (reply.expert not in resident, reply.expert, reply.index))
            for number, reply in enumerate(replies):
                following = replies[number + 1].expert if number + 1 < len(replies) else None
                if not reply.error:
                    self._attempt(reply, lambda reply=reply, following=following: self._answer(
                        reply, following, tokens, temperature, np.random.default_rng((seed, reply.index)), stream))
                yield reply

    def _attempt(self, reply: Reply, run: Callable[[], None]) -> None:
        """Runs; a failure of the device goes into the reply. For those that follow the device is reset, and the expert copied again."""
        try:
            run()
        except (DeviceError, RequestError) as error:
            reply.error = f"{type(error).__name__}: {error}"
            self._copying = None
            self.device.reset()
            self.cache.drop(reply.expert)

    def _route(self, prompts: list[Prompt], first: int) -> list[Reply]:
        device, texts = self.device, [prompt.text for prompt in prompts]
        replies = [Reply(first + number, prompt.text, prompt.domain, 0, "", False) for number, prompt in enumerate(prompts)]

        def run() -> None:
            begin, self._kernel_cycles = device.cycles, 0
            device.write(self._features, self.router.inputs(texts))
            addresses = {name: self._router.address + offset for name, offset in self._offsets.items()}
            self._launch(self.router_kernel, rows=len(texts), x=self._features.address, scores=self._scores.address,
                         best=self._best.address, **addresses)
            found = device.read(self._best, np.int32, (len(texts), device.config.lanes))[:, 0]
            spent = (device.cycles - begin) // len(texts)
            scores = device.read(self._scores, np.float32, (len(texts), OUTPUTS))[:, :self.router.classes]
            exact = not self.verify or np.array_equal(scores, self.router.scores(texts))
            for reply, choice in zip(replies, found, strict=True):
                reply.expert = int(choice) if self.choose is None else self.choose(reply.index, int(choice))
                reply.start, reply.cycles["router"] = begin, spent
                reply.kernel_cycles["router"] = self._kernel_cycles // len(texts)
                reply.bit_exact = exact and int(choice) == int(scores[reply.index - first].argmax())

        self._attempt(replies[0], run)
        for reply in replies:
            reply.error = replies[0].error
            reply.name, reply.perturbed = self.experts[reply.expert].name, self.experts[reply.expert].perturbed
        return replies

    def _answer(self, reply: Reply, following: int | None, tokens: int, temperature: float, rng, stream) -> None:
        engine, expert = self.engine, self.experts[reply.expert]
        with _Phase(self, reply, "switch"):
            self._finish_copy()
            found = self.cache.lookup(reply.expert)
        reply.hit = found.hit
        if self.look_ahead and following is not None and following not in self.cache.resident:
            self._begin_copy(following)
        state, text = KeyValues.empty(), reply.prompt[-(CONTEXT - tokens):]
        reply.dropped, prompt = len(reply.prompt) - len(text), np.frombuffer(text, dtype=np.uint8)
        engine.restart()
        with _Phase(self, reply, "prefill"):
            self._prefill(found.buffer, prompt)
            token = self._pick(temperature, rng, found.buffer)
        self._said(reply, expert, prompt, state, token, temperature, stream)
        if self.hardware and temperature == 0 and tokens > 1:
            self._decode_by_device(reply, expert, found.buffer, state, token, tokens - 1, stream)
            return
        for _ in range(tokens - 1):
            before = np.array([token])
            with _Phase(self, reply, "decode"):
                engine.step(found.buffer)
                token = self._pick(temperature, rng, found.buffer)
            self._said(reply, expert, before, state, token, temperature, stream)

    def _prefill(self, weights: Buffer, prompt: np.ndarray) -> None:
        if not self.hardware:
            self.engine.prefill(weights, prompt)
            return
        self.device.write(self.engine.tokens, prompt.astype(np.int32))
        run = self.device.run_schedule(prefill_schedule(self.engine, len(prompt)), weights=weights.address)
        self._kernel_cycles += run.cycles
        self.engine.position = len(prompt)

    def _decode_by_device(self, reply: Reply, expert: Expert, weights: Buffer, state: KeyValues, token: int, count: int, stream) -> None:
        """``count`` greedy steps in one schedule; the tokens are read when it has ended."""
        position = self.engine.position
        with _Phase(self, reply, "decode"):
            run = self.device.run_schedule(self._decode, weights=weights.address, position=position, full=position // TILE,
                                           column=position % TILE, count=count)
            self._kernel_cycles += run.cycles
            tokens = self.device.read(self.engine.tokens, np.int32, (count + 1,))[1:]
        self.engine.position += count
        for step, following in enumerate(tokens):
            last = step == count - 1
            self._said(reply, expert, np.array([token]), state, int(following), 0.0, stream, logits=last)
            token = int(following)

    def _said(self, reply: Reply, expert: Expert, tokens: np.ndarray, state: KeyValues, token: int, temperature: float, stream, *,
              logits: bool = True) -> None:
        """Notes a token, after comparing it (and the logits on the device) with the model's answer to ``tokens``."""
        if self.verify:
            expected = expert.logits(tokens, state, self.device.config.lanes)[-1]
            same = not logits or np.array_equal(self.engine.read_logits().view(np.uint32), expected.view(np.uint32))
            reply.bit_exact &= same and (temperature > 0 or token == int(expected.argmax()))
        reply.text += bytes([token & 0xFF])
        if stream:
            stream(reply, token)

    def _pick(self, temperature: float, rng: np.random.Generator, weights: Buffer) -> int:
        """The next token: the device's argmax, or drawn by the host from the logits (its embedding then follows)."""
        if temperature == 0:
            return self.engine.read_best()
        logits = self.engine.read_logits().astype(np.float64) / temperature
        token = int((logits + rng.gumbel(size=logits.size)).argmax())
        self.device.write(self.engine.tokens, np.array([token], dtype=np.int32))
        self.engine.embed(weights, self.engine.tokens.address, 1)
        return token

    # Experts --------------------------------------------------------------------------------------------------------------
    def _launch(self, kernel, **arguments: int) -> None:
        self._kernel_cycles += self.device.launch(kernel, **arguments).cycles
        self.launches += 1

    def _copy_arguments(self, expert: int, slot: Buffer) -> dict[str, int]:
        return {"source": self.stored[expert].address, "destination": slot.address,
                "vectors": self.image_bytes // self.device.config.beat_bytes}

    def _copy(self, expert: int, slot: Buffer) -> None:
        """DDR -> HBM; with look-ahead it is only begun."""
        copy = self.engine.copy
        if self._ahead:
            self.device.load(copy)
            self.device.set_arguments(copy, **self._copy_arguments(expert, slot))
            self.device.execute(copy)
            self._copying = expert
        else:
            self._launch(copy, **self._copy_arguments(expert, slot))
            self._check_image(expert, slot)

    _ahead = False

    def _begin_copy(self, expert: int) -> None:
        self._ahead = True
        try:
            self.cache.lookup(expert)
        finally:
            self._ahead = False

    def _finish_copy(self) -> None:
        if self._copying is not None:
            self._copying = None
            self.device.wait(self.engine.copy)

    def _check_image(self, expert: int, slot: Buffer) -> None:
        if self.check_images and zlib.crc32(self.device.read(slot, np.uint8, (self.image_bytes,))) != self._checksums[expert]:
            raise RequestError(f"the image of expert {expert} ({self.experts[expert].name}) is damaged: its checksum differs")


class _Phase:
    """Adds the cycles of its body, and of the kernels in it, to a phase of a reply."""

    def __init__(self, server: LanguageServer, reply: Reply, name: str):
        self.server, self.reply, self.name = server, reply, name

    def __enter__(self) -> None:
        self.begin, self.server._kernel_cycles = self.server.device.cycles, 0

    def __exit__(self, *_error) -> None:
        if _error[0] is None:
            self.reply.cycles[self.name] += self.server.device.cycles - self.begin
            self.reply.kernel_cycles[self.name] += self.server._kernel_cycles
