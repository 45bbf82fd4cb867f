"""The router: a perceptron over byte statistics that picks the expert of a prompt, and its kernel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from coe_app.network import WeightFileError
from hw.config import RDUConfig
from hw.fp import model as fp
from hw.fp.function import TailFunction
from hw.fp.tail_model import tail
from hw.pcu import library
from hw.pcu.program import Mask
from hw.pcu.stage import BodyStage
from sw_driver.kernel import Kernel

from .builder import DecoderKernel, beats
from .decoder import _product
from .features import FEATURES, features

__all__ = ["OUTPUTS", "ROUTER_ROWS", "Router", "router_kernel"]

HIDDEN, OUTPUTS = 64, 16
ROUTER_ROWS = 4          # prompts of a pass: the stages of a PCU
SHAPES = {"w1": (FEATURES, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN, OUTPUTS), "b2": (OUTPUTS,)}
SIZES = {name: (4 if name.startswith("b") else 2) * int(np.prod(shape)) for name, shape in SHAPES.items()}
PLACES = {"hidden": (0, 0), "outputs": (0, 2), "choose": (1, 1), "w1": "west0", "x": "west0", "b1": "west1", "b2": "west1",
          "w2": "east0", "scores": "east0", "best": "east0"}


@dataclass(frozen=True)
class Router:
    """A perceptron FEATURES -> 64 -> OUTPUTS with ReLU in BF16 patterns, of whose outputs the first ``classes`` count."""

    tensors: dict[str, np.ndarray]
    classes: int
    accuracy: float          # on held-out windows, as trained

    @classmethod
    def of(cls, tensors: dict[str, np.ndarray], accuracy: float) -> Router:
        """From trained tensors; the outputs are padded to OUTPUTS."""
        classes = tensors["w2"].shape[1]
        padded = tensors | {"w2": np.pad(tensors["w2"], ((0, 0), (0, OUTPUTS - classes))),
                            "b2": np.pad(tensors["b2"], (0, OUTPUTS - classes))}
        for name, shape in SHAPES.items():
            if padded[name].shape != shape or padded[name].dtype != np.uint16:
                raise WeightFileError(f"router: {name} is {padded[name].dtype}{list(padded[name].shape)}, expected uint16{list(shape)}")
        return cls(padded, classes, accuracy)

    def image(self) -> tuple[np.ndarray, dict[str, int]]:
        """The router as it lies in memory, uint8, and the offset of each tensor; biases are widened to FP32."""
        parts = [fp.bf16_to_fp32(self.tensors[name]) if name.startswith("b") else self.tensors[name] for name in SHAPES]
        return (np.concatenate([part.reshape(-1).view(np.uint8) for part in parts]),
                dict(zip(SHAPES, accumulate(SIZES.values(), initial=0), strict=False)))

    def inputs(self, prompts: list[bytes]) -> np.ndarray:
        """BF16 patterns [n, FEATURES]."""
        return fp.fp32_to_bf16(np.stack([features(prompt) for prompt in prompts]))

    def scores(self, prompts: list[bytes]) -> np.ndarray:
        """float32 [n, classes]: bit for bit what the kernel computes."""
        values = fp.bf16_to_fp32(self.inputs(prompts))
        wide = {name: fp.bf16_to_fp32(value) for name, value in self.tensors.items()}
        rows = len(prompts)
        hidden = tail(TailFunction.RELU, _product(values, wide["w1"], np.tile(wide["b1"], (rows, 1))))
        hidden = fp.bf16_to_fp32(fp.fp32_to_bf16(hidden))
        return fp.as_float(_product(hidden, wide["w2"], np.tile(wide["b2"], (rows, 1))))[:, :self.classes]


def router_kernel(config: RDUConfig, classes: int, resident=(), **places) -> Kernel:
    """x[rows, FEATURES] (BF16) -> scores[rows, OUTPUTS] (FP32), best[rows] (a vector with the argmax in each lane).

    Arguments: ``rows`` (1 to ROUTER_ROWS), HBM addresses ``w1``, ``b1``, ``w2``, ``b2``, ``x``, ``scores``, ``best``.
    """
    kernel = DecoderKernel(config, "router", PLACES | places, resident)
    lanes, rows = config.lanes, ROUTER_ROWS
    x_beats, out_beats = FEATURES // (2 * lanes), OUTPUTS // lanes
    w1 = kernel.load("w1", loops=beats(config, FEATURES * HIDDEN // (2 * lanes)))
    x = kernel.load("x", loops=beats(config, x_beats, (rows, x_beats)))
    b1, b2 = kernel.load("b1", loops=beats(config, HIDDEN // lanes)), kernel.load("b2", loops=beats(config, out_beats))
    w2 = kernel.load("w2", loops=beats(config, HIDDEN * OUTPUTS // (2 * lanes)))
    scores, best = kernel.store("scores", loops=beats(config, out_beats, (rows, out_beats))), kernel.store(
        "best", loops=beats(config, rows))
    hidden = kernel.unit("hidden", library.gemm(config.pcu, rows=rows, k=FEATURES, features=HIDDEN, relu=True, packed_output=True))
    outputs = kernel.unit("outputs", library.gemm(config.pcu, rows=rows, k=HIDDEN, features=OUTPUTS,
                                                  groups=-(-BodyStage.reuse_distance // out_beats)))
    choose = kernel.unit("choose", replace(
        library.argmax(config.pcu, rows=rows, n=OUTPUTS, to_vector=True), mask=Mask(bound=classes)))
    for stream, port in ((w1, hidden.input(0)), (x, hidden.input(1)), (b1, hidden.input(2)), (w2, outputs.input(0)),
                         (b2, outputs.input(2))):
        kernel.vector(stream.port, port, rate=0.3)
    kernel.vector(hidden.out(0), outputs.input(1), rate=0.1)
    kernel.vector(outputs.out(0), choose.input(0), scores.port, rate=0.1)
    kernel.vector(choose.out(0), best.port, rate=0.1)
    systolic = ("rows", "last_rows")
    kernel.fields("rows", hidden=systolic, outputs=systolic, choose="bounds[1]", x="bounds[1]", scores="bounds[1]", best="bounds[0]")
    kernel.bases("w1", "b1", "w2", "b2", "x", "scores", "best")
    return kernel.build()
