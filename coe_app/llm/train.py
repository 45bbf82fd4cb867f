"""Trains the eight language experts and the router: ``python -m coe_app.llm.train`` (needs PyTorch; see docs/coe_llm.md).

Everything is seeded: the same PyTorch gives the same weights. Written to coe_app/llm/data: ``experts.npz`` (BF16 patterns, norm gains
folded into the products that follow them), ``experts_int8.npz``, ``router.npz`` and ``held_out.npz`` (perplexities; no text).
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from .corpus import DOMAINS, Split, load_domain
from .features import FEATURES, WINDOW, features
from .shape import CONTEXT, DIM, EPSILON, HEAD_DIM, HEADS, HIDDEN, LAYERS, ROPE_BASE, VOCABULARY

SEED = 20241113
BATCH, STEPS, RATE = 16, 1200, 4e-3
ROUTER_HIDDEN, ROUTER_STEPS = 64, 3000


class Layer(nn.Module):
    """x + attention(norm(x)) + mlp(norm(x)): attention and SwiGLU beside each other, one key and value head for all queries."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(DIM))
        self.qkv = nn.Linear(DIM, DIM + 2 * HEAD_DIM, bias=False)
        self.gate, self.up = (nn.Linear(DIM, HIDDEN, bias=False) for _ in range(2))
        self.out = nn.Linear(DIM + HIDDEN, DIM, bias=False)
        nn.init.normal_(self.out.weight, std=0.5 / math.sqrt((DIM + HIDDEN) * LAYERS))

    def forward(self, x, cos, sin, mask):
        y = norm(x) * self.gain
        batch, length, _ = x.shape
        q, k, v = self.qkv(y).split([DIM, HEAD_DIM, HEAD_DIM], dim=-1)
        q = rotate(q.view(batch, length, HEADS, HEAD_DIM).transpose(1, 2), cos, sin)
        k = rotate(k[:, None], cos, sin)
        scores = q @ k.transpose(-1, -2) / math.sqrt(HEAD_DIM) + mask
        attended = (scores.softmax(-1) @ v[:, None]).transpose(1, 2).reshape(batch, length, DIM)
        return x + self.out(torch.cat([attended, functional.silu(self.gate(y)) * self.up(y)], dim=-1))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, DIM)
        nn.init.normal_(self.embedding.weight, std=0.5)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.gain = nn.Parameter(torch.full((DIM,), 0.25))
        angles = torch.arange(CONTEXT)[:, None] * ROPE_BASE ** (-torch.arange(HEAD_DIM // 2) / (HEAD_DIM // 2))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.register_buffer("mask", torch.full((CONTEXT, CONTEXT), -math.inf).triu(1), persistent=False)

    def forward(self, tokens):
        length = tokens.shape[1]
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, self.cos[:length], self.sin[:length], self.mask[:length, :length])
        return (norm(x) * self.gain) @ self.embedding.weight.T


def norm(x):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + EPSILON)


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def train_decoder(data: np.ndarray, seed: int, steps: int) -> Decoder:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model, text = Decoder(), torch.from_numpy(data.astype(np.int64))
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.05)
    window = torch.arange(CONTEXT + 1)
    for _ in range(steps):
        batch = text[torch.randint(len(text) - CONTEXT - 1, (BATCH, 1), generator=generator) + window]
        loss = functional.cross_entropy(model(batch[:, :-1]).reshape(-1, VOCABULARY), batch[:, 1:].reshape(-1))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model


@torch.no_grad()
def nats(model: Decoder, data: np.ndarray, windows: int = 64) -> float:
    """Mean negative log likelihood per byte on evenly spaced windows of CONTEXT bytes."""
    starts = np.linspace(0, len(data) - CONTEXT - 1, windows).astype(int)
    batch = torch.from_numpy(np.stack([data[start:start + CONTEXT + 1] for start in starts]).astype(np.int64))
    return float(functional.cross_entropy(model(batch[:, :-1]).reshape(-1, VOCABULARY), batch[:, 1:].reshape(-1)))


@torch.no_grad()
def exported(model: Decoder) -> dict[str, np.ndarray]:
    """Float32 matrices [k, features] with the norm gains and the score scale folded in."""
    arrays = {"embedding": model.embedding.weight, "head": (model.embedding.weight * model.gain).T}
    for index, layer in enumerate(model.layers):
        qkv = (layer.qkv.weight * layer.gain).T.clone()
        qkv[:, :DIM] /= math.sqrt(HEAD_DIM)
        arrays |= {f"qkv{index}": qkv, f"gate{index}": (layer.gate.weight * layer.gain).T,
                   f"up{index}": (layer.up.weight * layer.gain).T, f"out{index}": layer.out.weight.T}
    return {name: np.ascontiguousarray(value.numpy().astype(np.float32)) for name, value in arrays.items()}


def bf16(values: np.ndarray) -> np.ndarray:
    import ml_dtypes

    return values.astype(ml_dtypes.bfloat16).view(np.uint16)


def int8(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric INT8 with one power-of-two scale per output feature (the column)."""
    scale = np.exp2(np.ceil(np.log2(np.abs(values).max(axis=0) / 127))).astype(np.float32)
    return np.clip(np.rint(values / scale), -127, 127).astype(np.int8), scale


def train_router(splits: list[Split], steps: int) -> tuple[dict[str, np.ndarray], float, np.ndarray]:
    """The perceptron over byte statistics, its accuracy on held-out windows, and the confusion matrix."""
    rng = np.random.default_rng(SEED)
    torch.manual_seed(SEED)

    def windows(part: str, count: int):
        xs, ys = [], []
        for label, split in enumerate(splits):
            data = getattr(split, part)
            for start in rng.integers(0, len(data) - WINDOW, count):
                xs.append(features(data[start:start + rng.integers(WINDOW // 2, WINDOW + 1)]))
                ys.append(label)
        return torch.from_numpy(np.stack(xs).astype(np.float32)), torch.tensor(ys)

    train_x, train_y = windows("train", 4000)
    test_x, test_y = windows("held_out", 400)
    model = nn.Sequential(nn.Linear(FEATURES, ROUTER_HIDDEN), nn.ReLU(), nn.Dropout(0.2), nn.Linear(ROUTER_HIDDEN, len(splits)))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for _ in range(steps):
        pick = torch.randint(len(train_y), (256,))
        loss = functional.cross_entropy(model(train_x[pick]), train_y[pick])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        answers = model(test_x).argmax(-1)
        confusion = np.zeros((len(splits), len(splits)), dtype=np.int32)
        np.add.at(confusion, (test_y.numpy(), answers.numpy()), 1)
        first, last = model[0], model[3]
        arrays = {"w1": first.weight.T, "b1": first.bias, "w2": last.weight.T, "b2": last.bias}
        return ({name: np.ascontiguousarray(value.numpy()) for name, value in arrays.items()},
                float((answers == test_y).float().mean()), confusion)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--texts", type=Path, default=Path("/tmp/coe_corpus/files"), help="where packages are unpacked")
    arguments.add_argument("--steps", type=int, default=STEPS)
    arguments.add_argument("--output", type=Path, default=Path(__file__).parent / "data")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    splits = [load_domain(domain, options.texts) for domain in DOMAINS]
    router, accuracy, confusion = train_router(splits, ROUTER_STEPS)
    np.savez_compressed(options.output / "router.npz", accuracy=accuracy, confusion=confusion,
                        **{name: bf16(value) for name, value in router.items()})
    print(f"router: {accuracy:.3f}\n{confusion}", flush=True)
    words, bytes_, matrix = {}, {}, np.zeros((len(DOMAINS), len(DOMAINS)))
    for index, (domain, split) in enumerate(zip(DOMAINS, splits, strict=True)):
        model = train_decoder(split.train, SEED + index, options.steps)
        matrix[index] = [nats(model, other.held_out) for other in splits]
        for name, value in exported(model).items():
            words[f"{domain.name}.{name}"] = bf16(value)
            bytes_[f"{domain.name}.{name}"], bytes_[f"{domain.name}.{name}.scale"] = int8(value)
        print(f"{domain.name}: {np.round(matrix[index], 3)} after {time.perf_counter() - begin:.0f} s", flush=True)
        np.savez_compressed(options.output / "experts.npz", **words)
        np.savez_compressed(options.output / "experts_int8.npz", **bytes_)
        np.savez_compressed(options.output / "held_out.npz", nats=matrix, names=np.array([domain.name for domain in DOMAINS]))


if __name__ == "__main__":
    main()
