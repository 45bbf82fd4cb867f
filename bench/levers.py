"""What each lever gains on the language decoder: launch by host or device, bank bits, throttling, on prefill and decode.

    rdu bench levers [--tokens N] [--prompt N]

Metric ``cycles``: of the whole prefill (decode: per token, greedy), host accesses included; case: workload, kernels (fused: two for a
layer; unfused: one for each operator, 14 for a layer), launch (so: by the host, ho: a schedule), bank bits chosen or
lowest, senders throttled automatically (compiler/fabric/senders.py) or not. Every run's logits are compared with the numpy model.
"""

from __future__ import annotations

import itertools

import numpy as np

from coe_app.llm.builder import Levers
from coe_app.llm.decoder import Expert, KeyValues
from coe_app.llm.engine import Engine
from coe_app.llm.kernels import TILE
from coe_app.llm.roofline import decode_bound
from coe_app.llm.schedules import decode_schedule, prefill_schedule
from coe_app.llm.streams import expert_image
from coe_app.llm.unfused import UnfusedEngine
from coe_app.llm.weights import load_experts, load_prompts
from hw.config import RDUConfig
from sim.device import VerilatedBackend
from sw_driver.device import HBM, Device

from .common import metric, steps

DESCRIPTION = "levers on the language decoder: fused/unfused, SO/HO, bank bits, throttling; --tokens N (8) --prompt N (8)"


class _Workload:
    """Prefill and decode of one expert on one engine, checked against the model."""

    def __init__(self, engine: Engine, expert: Expert, weights, prompt: np.ndarray, tokens: int):
        self.engine, self.device, self.weights, self.prompt, self.tokens = engine, engine.device, weights, prompt, tokens
        state = KeyValues.empty()
        logits = expert.logits(prompt, state)[-1]
        self.after_prefill = logits
        for _ in range(tokens):
            logits = expert.logits([logits.argmax()], state)[-1]
        self.after_decode = logits

    def _timed(self, run, expected: np.ndarray) -> int:
        begin = self.device.cycles
        run()
        cycles = self.device.cycles - begin
        if not np.array_equal(self.engine.read_logits(), expected):
            raise AssertionError("the logits differ from the numpy model")
        return cycles

    def host(self) -> tuple[int, float]:
        engine = self.engine
        engine.restart()
        prefill = self._timed(lambda: engine.prefill(self.weights, self.prompt), self.after_prefill)

        def decode() -> None:
            for _ in range(self.tokens):
                engine.step(self.weights)
                engine.read_best()
        return prefill, self._timed(decode, self.after_decode) / self.tokens

    def hardware(self) -> tuple[int, float]:
        engine, device, position = self.engine, self.device, len(self.prompt)
        device.write(engine.tokens, self.prompt.astype(np.int32))
        prefill = self._timed(lambda: device.run_schedule(prefill_schedule(engine, position), weights=self.weights.address),
                              self.after_prefill)
        decode = self._timed(lambda: device.run_schedule(
            decode_schedule(engine), weights=self.weights.address, position=position, full=position // TILE,
            column=position % TILE, count=self.tokens), self.after_decode)
        return prefill, decode / self.tokens


def run(config: RDUConfig, console, *, full: bool = False, tokens: int = 8, prompt: int = 8) -> list[dict]:
    """The rows of every combination that is built."""
    if full:
        tokens, prompt = max(tokens, 16), max(prompt, 64)
    if not prompt >= 1 or not tokens >= 1 or prompt + tokens > 128:
        raise ValueError(f"prompt={prompt}, tokens={tokens}: at least 1 each, 128 together")
    expert = load_experts()[0]
    text = np.frombuffer((load_prompts()[0].text * 2)[:prompt], dtype=np.uint8)
    image, layout = expert_image(expert, config)
    rows = []
    combinations = list(itertools.product((True, False), (False, True)))
    with (steps(console, f"building the simulator of {config.name}", len(combinations)) as step,
          Device(VerilatedBackend(config)) as device):
        weights = device.upload(HBM, image)
        for bank_bits, throttle in combinations:
            suffix = f"bank-bits-{'on' if bank_bits else 'off'}, throttle-{'on' if throttle else 'off'}"
            step(suffix)
            for fused, kind in (("fused", Engine), ("unfused", UnfusedEngine)):
                engine = kind(device, layout, levers=Levers(bank_bits=bank_bits, throttle=throttle))
                workload = _Workload(engine, expert, weights, text, tokens)
                for launch, measure in (("so", workload.host), ("ho", workload.hardware)):
                    prefill, decode = measure()
                    rows.append(metric("cycles", f"prefill, {fused}, {launch}, {suffix}", prefill, "cycles"))
                    rows.append(metric("cycles", f"decode, {fused}, {launch}, {suffix}", float(decode), "cycles/token"))
                    bound = np.mean([decode_bound(config, prompt + number) for number in range(tokens)])
                    rows.append(metric("hbm_share", f"decode, {fused}, {launch}, {suffix}", float(bound / decode), "of the bound"))
    return rows
