"""The perceptron that router and experts share: its tensors, its memory image, and its bit-exact numpy model."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from hw.fp import model as fp
from hw.fp.function import TailFunction
from hw.fp.tail_model import tail

__all__ = ["DATA", "FEATURES", "HIDDEN", "LAYOUT", "NETWORK_BYTES", "OUTPUTS", "Answer", "HeldOut", "Network", "WeightFileError",
           "load_held_out", "load_networks"]

DATA = Path(__file__).parent / "data"
FEATURES = HIDDEN = 64
PARTIALS = 4             # interleaved sums over time of a PCU's reduction (hw.pcu.reduce)
OUTPUTS = 16
SHAPES = {"w1": (FEATURES, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN, OUTPUTS), "b2": (OUTPUTS,)}
# A network's memory image: weights in BF16, biases (the accumulators' initial values) widened to FP32.
SIZES = {name: (4 if name.startswith("b") else 2) * int(np.prod(shape)) for name, shape in SHAPES.items()}
LAYOUT = dict(zip(SIZES, accumulate(SIZES.values(), initial=0), strict=False))       # byte offset of each tensor
NETWORK_BYTES = sum(SIZES.values())


class WeightFileError(ValueError):
    """A weight or picture file that is missing, damaged or of another shape."""


@dataclass(frozen=True)
class Answer:
    """What a network says of each row: ``logits`` and ``probabilities`` [rows, classes] float32, ``best`` [rows] int32."""

    logits: np.ndarray
    probabilities: np.ndarray
    best: np.ndarray


@dataclass(frozen=True)
class Network:
    """A perceptron 64 -> 64 -> 16 in BF16 (bit patterns, uint16), of whose outputs the first ``classes`` are used."""

    name: str
    classes: int
    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray

    def __post_init__(self) -> None:
        for name, shape in SHAPES.items():
            value = getattr(self, name)
            if value.shape != shape or value.dtype != np.uint16:
                raise WeightFileError(f"network {self.name!r}: {name} is {value.dtype}{list(value.shape)}, "
                                      f"expected uint16{list(shape)} (BF16 bit patterns)")

    def image(self) -> np.ndarray:
        """The network as it lies in device memory: all tensors row-major, one after the other, uint8 [NETWORK_BYTES]."""
        return np.concatenate([self.w1.reshape(-1).view(np.uint8), fp.bf16_to_fp32(self.b1).view(np.uint8),
                               self.w2.reshape(-1).view(np.uint8), fp.bf16_to_fp32(self.b2).view(np.uint8)])

    def run(self, pictures: np.ndarray, lanes: int) -> Answer:
        """Bit for bit what the kernel of :mod:`coe_app.kernels` computes from pictures uint16 [rows, 64] (BF16).

        Orders: products are added to the bias one by one in k; a row's exponentials are added by a tree over the lanes of
        each vector, then over the vectors.
        """
        hidden = _layer(fp.bf16_to_fp32(pictures), self.w1, self.b1)
        logits = _layer(fp.bf16_to_fp32(fp.fp32_to_bf16(tail(TailFunction.RELU, hidden))), self.w2, self.b2)[:, :self.classes]
        values = fp.as_float(logits)
        shifted = fp.fp32_sub(logits, fp.to_bits(values.max(axis=1, keepdims=True)))
        exponentials = tail(TailFunction.EXP, shifted)
        scale = tail(TailFunction.RECIPROCAL, _row_sum(exponentials, lanes))
        probabilities = fp.fp32_mul(exponentials, scale[:, None])
        return Answer(values, fp.as_float(probabilities), values.argmax(axis=1).astype(np.int32))


def _layer(rows: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Bias plus products in order of k, FP32 bit patterns [rows, features]."""
    weights = fp.bf16_to_fp32(weights)
    total = np.broadcast_to(fp.bf16_to_fp32(bias), (len(rows), weights.shape[1]))
    for k in range(weights.shape[0]):
        total = fp.mac(total, rows[:, k:k + 1], weights[k])
    return total


def _row_sum(rows: np.ndarray, lanes: int) -> np.ndarray:
    """Sum of each row, in the order of a PCU: a binary tree over each vector's lanes (lanes beyond the row count as -0);
    vector v is added to partial sum v mod PARTIALS; the partial sums are added pairwise."""
    count, width = rows.shape
    vectors = -(-width // lanes)
    padded = np.full((count, vectors * lanes), 0x8000_0000, dtype=np.uint32)
    padded[:, :width] = rows
    level = padded.reshape(count, vectors, lanes)
    while level.shape[2] > 1:
        level = fp.fp32_add(level[..., 0::2], level[..., 1::2])
    partial = [level[:, vector, 0] for vector in range(min(vectors, PARTIALS))]
    for vector in range(PARTIALS, vectors):
        partial[vector % PARTIALS] = fp.fp32_add(partial[vector % PARTIALS], level[:, vector, 0])
    while len(partial) > 1:
        pairs = [fp.fp32_add(*partial[i:i + 2]) for i in range(0, len(partial) - 1, 2)]
        partial = pairs + partial[len(pairs) * 2:]
    return partial[0]


def load_networks(path: Path = DATA / "weights.npz") -> tuple[Network, list[Network]]:
    """(router, experts) from a weight file made by :mod:`coe_app.train`. Raises :class:`WeightFileError`."""
    arrays = _arrays(path)
    names = sorted({key.split(".")[0] for key in arrays}, key=lambda name: (len(name), name))
    experts = [name for name in names if name.startswith("expert")]
    if "router" not in names or not experts:
        raise WeightFileError(f"{path} holds {names or 'nothing'}, expected 'router' and 'expert0', 'expert1', ...: "
                              "make it again with python -m coe_app.train")
    if len(experts) > OUTPUTS:
        raise WeightFileError(f"{path} holds {len(experts)} experts, the router can tell {OUTPUTS} apart")

    def network(name: str, classes: int) -> Network:
        missing = [tensor for tensor in SHAPES if f"{name}.{tensor}" not in arrays]
        if missing:
            raise WeightFileError(f"{path}: network {name!r} lacks {missing}: make the file again with python -m coe_app.train")
        return Network(name, classes, **{tensor: arrays[f"{name}.{tensor}"] for tensor in SHAPES})

    return network("router", len(experts)), [network(name, 10) for name in experts]


@dataclass(frozen=True)
class HeldOut:
    """Requests: ``pictures`` uint16 [n, 64] (BF16), their ``digits`` and ``views`` [n]."""

    pictures: np.ndarray
    digits: np.ndarray
    views: np.ndarray


def load_held_out(path: Path = DATA / "held_out.npz") -> HeldOut:
    """The held-out requests. Raises :class:`WeightFileError` for a damaged file or pictures of another shape."""
    arrays = _arrays(path)
    missing = [name for name in ("pictures", "digits", "views") if name not in arrays]
    if missing:
        raise WeightFileError(f"{path} lacks {missing}: make it again with python -m coe_app.train")
    pictures = arrays["pictures"]
    if pictures.ndim != 2 or pictures.shape[1] != FEATURES or pictures.dtype != np.uint16:
        raise WeightFileError(f"{path}: pictures are {pictures.dtype}{list(pictures.shape)}, expected uint16[n, {FEATURES}] "
                              "(8 x 8 pixels, BF16 bit patterns)")
    for name in ("digits", "views"):
        if arrays[name].shape != pictures.shape[:1]:
            raise WeightFileError(f"{path}: {name} are {list(arrays[name].shape)}, "
                                  f"expected one for each of {len(pictures)} pictures")
    return HeldOut(pictures, arrays["digits"].astype(np.int32), arrays["views"].astype(np.int32))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not Path(path).exists():
        raise WeightFileError(f"{path} does not exist: make it with python -m coe_app.train")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:       # a damaged file makes zipfile, zlib and numpy raise a dozen kinds
        raise WeightFileError(f"{path} is damaged ({error}): make it again with python -m coe_app.train") from None
