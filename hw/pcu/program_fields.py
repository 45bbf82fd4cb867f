"""What both kinds of program of a PCU share: checks, loops, outputs."""

from __future__ import annotations

from hw.common.errors import ProgramError
from hw.config import PCUConfig

from .layout import levels

__all__ = ["bounds", "output_fields", "require"]


def require(condition: bool, message: str) -> None:
    """Raises :class:`ProgramError` with ``message`` unless ``condition``."""
    if not condition:
        raise ProgramError(message)


def bounds(loops: dict[str, int], config: PCUConfig) -> list[int]:
    """The bounds of the counter chain for ``loops``, innermost first, each by the name it has in the program."""
    available, limit = levels(config), (1 << config.counter_bits) - 1
    require(len(loops) <= available, f"loops: {len(loops)} are used; the counter chain has {available}")
    for name, bound in loops.items():
        require(0 < bound <= limit, f"{name}={bound} must be from 1 to {limit}")
    return [*loops.values(), *[1] * (available - len(loops))]


def output_fields(program) -> dict:
    """The words of a program's output."""
    require(program.to_vector or program.to_scalar, "to_vector and to_scalar are both off: the results go nowhere")
    require(not (program.to_scalar and not program.to_vector and program.packed_output),
            "packed_output=True needs to_vector: a scalar is one FP32 or INT32 word")
    seed = program.rounding_seed
    require(seed is None or program.packed_output, f"rounding_seed={seed} needs packed_output=True: an FP32 result is not rounded again")
    require(seed is None or 0 <= seed < 1 << 32, f"rounding_seed={seed} must be from 0 to 2**32 - 1")
    return {"function": program.function, "to_vector": int(program.to_vector), "to_scalar": int(program.to_scalar),
            "output_packed": int(program.packed_output), "stochastic": int(seed is not None), "seed": seed or 0}
