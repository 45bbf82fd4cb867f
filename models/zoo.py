"""The models by name, each with the inputs that it is measured with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from compiler.graph.builder import Builder
from compiler.graph.ir import DType

from . import digits, fft, gpt, plain, recurrent, training, vit

__all__ = ["ZOO", "Entry", "entry"]

Inputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Entry:
    """A model: ``describe`` fills a builder and returns sample inputs (float32, int64)."""

    name: str
    text: str
    describe: Callable[[Builder], Inputs]
    dtype: DType = DType.FP32
    opset: int = 23

    def build(self) -> tuple[onnx.ModelProto, Inputs]:
        """The ONNX model and its inputs in the model's types."""
        builder = Builder(self.name, dtype=self.dtype, opset=self.opset)
        inputs = self.describe(builder)
        return builder.model(), {name: value.astype(self.dtype.numpy) if value.dtype == np.float32 else value
                                 for name, value in inputs.items()}


def _entries() -> list[Entry]:
    both = [
        Entry("digits_mlp", "perceptron 64-48-10 trained on the digits, 16 pictures", digits.mlp),
        Entry("digits_cnn", "two convolutions and a linear layer trained on the digits, 4 pictures", digits.cnn),
        Entry("lstm", "LSTM cell, 8 steps unrolled, hidden size 16", recurrent.lstm),
        Entry("mamba", "selective state-space cell, 6 steps unrolled", recurrent.mamba),
        Entry("gpt_prefill", "2-layer decoder (RMSNorm, rotary, SwiGLU), 16 tokens at once", gpt.prefill),
        Entry("gpt_decode", "the same decoder, one token with a key and value cache", gpt.decode, opset=24),
        Entry("vit", "2-layer vision transformer over 16 patches", vit.vit),
        Entry("monarch", "Gemm - Mul - Transpose - Gemm, 32 x 32, 8 signals", fft.monarch),
        Entry("fft_conv", "circular convolution of 256 points by Monarch FFT and its inverse", fft.convolution),
        Entry("train_step", "one step of gradient descent of a perceptron: forward, backward, update", training.step),
    ]
    halves = [Entry(f"{each.name}_bf16", f"{each.text}, BF16", each.describe, DType.BF16, each.opset) for each in both]
    return [*both, *halves, Entry("digits_mlp_int8", "the digits perceptron with INT8 weights", digits.mlp_int8),
            Entry("axpy", "y = 2 x + z, 256 x 256: nothing but bandwidth", plain.axpy)]


ZOO = {each.name: each for each in _entries()}


def entry(name: str) -> Entry:
    """A model by name; ValueError with those that exist."""
    if name not in ZOO:
        raise ValueError(f"model {name!r} does not exist; there are {', '.join(ZOO)}")
    return ZOO[name]
