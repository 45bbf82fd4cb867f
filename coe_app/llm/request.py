"""Requests to the language composition: what can be asked, and what a reply says."""

from __future__ import annotations

from dataclasses import dataclass, field

from .router import ROUTER_ROWS
from .shape import CONTEXT
from .weights import Prompt

__all__ = ["PHASES", "Reply", "RequestError", "check_experts", "check_requests"]

PHASES = ("router", "switch", "prefill", "decode")


class RequestError(ValueError):
    """A request that the server cannot take."""


def check_experts(experts: int, resident: int, look_ahead: bool = False, hardware: bool = False) -> None:
    """Raises :class:`RequestError` for what a :class:`LanguageServer` cannot be."""
    if not 1 <= resident <= experts:
        raise RequestError(f"resident={resident} must be from 1 to the number of experts, {experts}")
    if look_ahead and resident < 2:
        raise RequestError("look_ahead=True needs resident >= 2: one expert runs while the next is copied")
    if look_ahead and hardware:
        raise RequestError("look_ahead=True with hardware=True: a schedule waits for the copy; choose one of them")


def check_requests(prompts: list[Prompt], *, tokens: int, batch: int = 1, temperature: float = 0.0) -> None:
    """Raises :class:`RequestError` for numbers out of range or an empty prompt."""
    if not 1 <= batch <= ROUTER_ROWS:
        raise RequestError(f"batch={batch} must be from 1 to {ROUTER_ROWS}, the prompts that one pass of the router takes")
    if not 1 <= tokens < CONTEXT:
        raise RequestError(f"tokens={tokens} must be from 1 to {CONTEXT - 1}: the context holds {CONTEXT}")
    if not 0 <= temperature < float("inf"):
        raise RequestError(f"temperature={temperature} must not be negative")
    if any(not prompt.text for prompt in prompts):
        raise RequestError("a prompt is empty: it needs at least one byte")


@dataclass
class Reply:
    """What happened to one prompt. ``dropped``: bytes at its beginning for which the context has no room. ``cycles`` by phase include the
    host's register and memory accesses, not the comparison with the model; the router's are this prompt's share of its batch.
    ``kernel_cycles``: from Execute to finished, by the device's counter. ``error``: why it failed ("" if it did not)."""

    index: int
    prompt: bytes
    domain: str
    expert: int
    name: str
    perturbed: bool
    hit: bool = False
    dropped: int = 0
    text: bytes = b""
    bit_exact: bool = True       # tokens and logits equal the numpy model, or were not compared
    error: str = ""
    start: int = 0
    cycles: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PHASES, 0))
    kernel_cycles: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PHASES, 0))
