"""The committed weights: experts, router, and what training measured of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coe_app.network import WeightFileError
from hw.fp import model as fp

from .decoder import SHAPES, Expert
from .router import Router

__all__ = ["DATA", "Prompt", "load_experts", "load_int8", "load_prompts", "load_router", "many_experts"]

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Prompt:
    """A prompt and the domain that its author had in mind ("" if unknown)."""

    text: bytes
    domain: str = ""


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise WeightFileError(f"{path} does not exist: make it with python -m coe_app.llm.train") from None
    except Exception as error:       # a damaged file makes zipfile, zlib and numpy raise a dozen kinds
        raise WeightFileError(f"{path} is damaged ({error}): make it again with python -m coe_app.llm.train") from None


def load_experts(path: Path = DATA / "experts.npz") -> list[Expert]:
    """The trained experts in the order of their training. Raises :class:`WeightFileError`."""
    arrays = _arrays(path)
    names = list(dict.fromkeys(name.partition(".")[0] for name in arrays))
    return [Expert(name, {tensor: arrays[f"{name}.{tensor}"] for tensor in SHAPES if f"{name}.{tensor}" in arrays}) for name in names]


def load_int8(path: Path = DATA / "experts_int8.npz") -> list[Expert]:
    """The INT8 experts, widened: every weight is a BF16 value (an 8-bit integer times a power of two is exact)."""
    arrays = _arrays(path)
    names = list(dict.fromkeys(name.partition(".")[0] for name in arrays))
    wide = {name: value.astype(np.float32) for name, value in arrays.items() if not name.endswith(".scale")}
    return [Expert(f"{name}-int8", {tensor: fp.fp32_to_bf16(wide[f"{name}.{tensor}"] * arrays[f"{name}.{tensor}.scale"])
                                    for tensor in SHAPES}) for name in names]


def many_experts(experts: list[Expert], count: int) -> list[Expert]:
    """``count`` experts: the trained ones first, then copies of them with perturbed weights, marked as such."""
    return [experts[index] if index < len(experts) else experts[index % len(experts)].perturb(index) for index in range(count)]


def load_router(path: Path = DATA / "router.npz") -> Router:
    """The router. Raises :class:`WeightFileError`."""
    arrays = _arrays(path)
    return Router.of({name: arrays[name] for name in ("w1", "b1", "w2", "b2")}, float(arrays["accuracy"]))


def load_prompts(path: Path = DATA / "prompts.json") -> list[Prompt]:
    """Prompts from JSON (a list of {"text", "domain"}) or, from any other file, one per line."""
    text = Path(path).read_bytes()
    if Path(path).suffix != ".json":
        return [Prompt(line) for line in text.splitlines() if line.strip()]
    try:
        return [Prompt(entry["text"].encode(), entry.get("domain", "")) for entry in json.loads(text)]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: expected a JSON list of objects with \"text\" (and \"domain\"): {error}") from None
