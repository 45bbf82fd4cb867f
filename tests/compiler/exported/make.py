"""Makes the models beside this file: ``python -m tests.compiler.exported.make`` (with torch 2.13 and onnxscript 0.7).

``old``: the exporter that traces (opset 17); ``new``: the one by torch.export (opset 20). Weights are random, seeds fixed.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional as F

FOLDER = Path(__file__).parent


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.deep = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(6, 4, 2, 2), nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, x):
        wide = F.relu(self.down(x))
        return self.out(torch.cat((self.up(F.relu(self.deep(F.max_pool2d(wide, 2)))), wide), 1)).sigmoid()


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.out = nn.GRU(6, 9, bidirectional=True), nn.Linear(18, 3)

    def forward(self, x):
        y, state = self.layer(x)
        return self.out(y).softmax(-1), state


class Positions(nn.Module):
    """Position numbers counted from a padding mask, and the last token's embedding."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(40, 8, padding_idx=1)

    def forward(self, tokens):
        mask = tokens.ne(1).int()
        positions = (torch.cumsum(mask, 1).type_as(mask) * mask).long() + 1
        return self.table(positions)[torch.arange(tokens.shape[0]), mask.sum(1) - 1], positions


class Masked(nn.Module):
    """Attention with a mask of truth values (rows that are masked out wholly are made 0) and with a causal one."""

    def forward(self, q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask), F.scaled_dot_product_attention(q, k, v, is_causal=True)


class Experts(nn.Module):
    def __init__(self, width=10, count=4):
        super().__init__()
        self.gate = nn.Linear(width, count)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(width, 17), nn.ReLU(), nn.Linear(17, width)) for _ in range(count))

    def forward(self, x):
        best, chosen = self.gate(x).softmax(-1).topk(2, -1)
        total = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            total = total + torch.where(chosen == number, best, torch.zeros_like(best)).sum(-1, keepdim=True) * expert(x)
        return total


class Encoder(nn.Module):
    """Token and position embedding and one layer as in BERT, with an additive mask."""

    def __init__(self, width=24, heads=3):
        super().__init__()
        self.heads, self.tokens, self.places = heads, nn.Embedding(50, width), nn.Embedding(16, width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.norms, self.up, self.down = nn.ModuleList(nn.LayerNorm(width) for _ in range(3)), nn.Linear(width, 37), nn.Linear(37, width)

    def forward(self, tokens, mask):
        batch, length = tokens.shape
        x = self.norms[0](self.tokens(tokens) + self.places(torch.arange(length))[None])
        q, k, v = (layer(x).view(batch, length, self.heads, -1).transpose(1, 2) for layer in (self.q, self.k, self.v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + (1.0 - mask[:, None, None, :].float()) * -10000.0
        x = self.norms[1](x + self.o((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, -1)))
        return self.norms[2](x + self.down(F.gelu(self.up(x))))


class Adam(nn.Module):
    """One step of a linear layer: loss, gradient, moments, weights."""

    def forward(self, x, target, w, m, n):
        p = (x @ w.T).softmax(1)
        loss = -(target * p.clamp(min=1e-9).log()).sum(1).mean()
        gradient = ((p - target) / x.shape[0]).T @ x
        m, n = 0.9 * m + 0.1 * gradient, 0.999 * n + 0.001 * gradient * gradient
        return loss, w - 0.01 * (m / 0.1) / ((n / 0.001).sqrt() + 1e-8), m, n


def mobile():
    return nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU6(), nn.Conv2d(6, 6, 3, 1, 1, groups=6), nn.Hardswish(),
                         nn.Conv2d(6, 10, 1), nn.GroupNorm(2, 10), nn.Hardsigmoid(), nn.Flatten(), nn.Linear(360, 4))


def upscaled():
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), nn.Upsample(scale_factor=2, mode="bilinear"), nn.PReLU(3))


MODELS = {
    "unet.old": (UNet, lambda: (torch.randn(1, 1, 10, 10),)), "recurrent.old": (Recurrent, lambda: (torch.randn(4, 3, 6),)),
    "positions.old": (Positions, lambda: (torch.tensor([[3, 4, 5, 1, 1], [7, 8, 1, 1, 1]]),)),
    "masked.new": (Masked, lambda: (torch.randn(2, 2, 5, 6), torch.randn(2, 2, 7, 6), torch.randn(2, 2, 7, 6),
                                    torch.rand(2, 1, 5, 7) > 0.3)),
    "experts.new": (Experts, lambda: (torch.randn(7, 10),)),
    "encoder.new": (Encoder, lambda: (torch.randint(0, 50, (2, 7)), torch.tensor([[1] * 7, [1] * 5 + [0] * 2]))),
    "adam.new": (Adam, lambda: (torch.randn(5, 11), F.one_hot(torch.tensor([0, 1, 2, 1, 0]), 3).float(), torch.randn(3, 11),
                                torch.rand(3, 11) / 10, torch.rand(3, 11) / 10)),
    "mobile.old": (mobile, lambda: (torch.randn(3, 3, 11, 11),)), "upscaled.new": (upscaled, lambda: (torch.randn(1, 2, 5, 7),)),
}


def _bare(path: Path) -> None:
    """Without the exporter's notes about where the model's source lies."""
    model = onnx.load(path)
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info,
                 *model.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    del model.graph.value_info[:]
    onnx.save(model, path)


def main() -> None:
    for name, (kind, sample) in MODELS.items():
        torch.manual_seed(1)
        module, inputs = kind().eval(), sample()
        path, names = FOLDER / f"{name}.onnx", [f"in{number}" for number in range(len(inputs))]
        options = {"dynamo": False, "opset_version": 17} if name.endswith("old") else {"dynamo": True, "external_data": False}
        torch.onnx.export(module, inputs, path, input_names=names, **options)
        _bare(path)
        np.savez(path.with_suffix(".npz"), **{each: value.numpy() for each, value in zip(names, inputs, strict=True)})


if __name__ == "__main__":
    main()
