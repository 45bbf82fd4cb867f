"""What moves along the body with the data: the context of a SIMD iteration and the control of a systolic step."""

from amaranth.hdl import unsigned
from amaranth.lib import data

from hw.config import PCUConfig

from .layout import levels

__all__ = ["accumulator_address", "broadcast_vectors", "context_layout", "emit_layout", "step_layout"]


def broadcast_vectors(config: PCUConfig) -> int:
    """Vectors of one half of the broadcast buffer, per stage: ``broadcast_depth`` packed BF16 values."""
    return config.broadcast_depth // (2 * config.lanes)


def emit_layout(config: PCUConfig) -> data.StructLayout:
    """What the tail must know of a vector: ``half`` it fills of a packed output vector, ``flush``: the output vector is
    complete with it, ``mask``: the lanes that are kept (the others become zero)."""
    return data.StructLayout({"half": 1, "flush": 1, "mask": config.lanes})


def context_layout(config: PCUConfig) -> data.StructLayout:
    """Travels with a SIMD iteration. ``element`` is the counter of the mask's level; ``first`` and ``last``: of the
    iterations that make one output; ``accumulate``: the iteration is valid and has the
    accumulator ``sum``, which ``zero`` begins; ``packet``: how the tail packs that output."""
    return data.StructLayout({
        "scalars": data.ArrayLayout(unsigned(32), config.scalar_inputs),
        "counters": data.ArrayLayout(unsigned(config.counter_bits), levels(config)),
        "element": config.counter_bits,
        "first": 1,
        "last": 1,
        "accumulate": 1,
        "sum": accumulator_address(config),
        "zero": 1,
        "packet": emit_layout(config),
    })


def accumulator_address(config: PCUConfig):
    """Address of a sum: bank (tile parity) and number."""
    return range(2 * config.accumulators)


def step_layout(config: PCUConfig) -> data.StructLayout:
    """Travels with a weight vector, one stage a cycle. ``vector`` and ``element`` address the stage's scalar in its broadcast
    memory, ``sum`` the accumulator; ``zero``: start from zero; ``finish``: last step of the tile; ``release``: last step
    that reads this half of the broadcast buffer."""
    return data.StructLayout({
        "valid": 1,
        "vector": range(2 * broadcast_vectors(config)),
        "element": range(2 * config.lanes),
        "sum": accumulator_address(config),
        "zero": 1,
        "finish": 1,
        "release": 1,
    })
