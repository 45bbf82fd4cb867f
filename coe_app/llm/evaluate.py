"""Held-out perplexity of the BF16 hardware model, and of float64 arithmetic on the same and on the INT8 weights.

``python -m coe_app.llm.evaluate`` downloads the texts of corpus.py and writes data/perplexity.json. The hardware model is the bit-exact one
of decoder.py, so what it says holds for the RTL. The windows are those on which training measured FP32.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from .corpus import DOMAINS, load_domain
from .reference import float_logits, held_out_windows, nats_per_token, widened
from .weights import DATA, load_experts, load_int8

__all__ = ["evaluate"]


def evaluate(texts: Path, windows: int) -> list[dict]:
    """For each domain, its own expert: nats per byte by arithmetic, on ``windows`` held-out windows of the context's length."""
    rows = []
    for domain, expert, small in zip(DOMAINS, load_experts(), load_int8(), strict=True):
        cut = held_out_windows(load_domain(domain, texts).held_out, windows)
        inputs, following = cut[:, :-1], cut[:, 1:].reshape(-1)
        wide, int8 = widened(expert), widened(small)
        row = {"domain": domain.name,
               "float64": nats_per_token(np.concatenate([float_logits(wide, tokens) for tokens in inputs]), following),
               "hardware": nats_per_token(np.concatenate([expert.logits(tokens) for tokens in inputs]), following),
               "int8_float64": nats_per_token(np.concatenate([float_logits(int8, tokens) for tokens in inputs]), following)}
        row["perplexity_ratio"] = float(np.exp(row["hardware"] - row["float64"]))
        rows.append(row)
        print(row, flush=True)
    return rows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--texts", type=Path, default=Path("/tmp/coe_corpus/files"), help="where packages are unpacked")
    arguments.add_argument("--windows", type=int, default=64)
    options = arguments.parse_args()
    (DATA / "perplexity.json").write_text(json.dumps(evaluate(options.texts, options.windows), indent=1) + "\n")


if __name__ == "__main__":
    main()
