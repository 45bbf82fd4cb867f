"""The program of a PMU: one declaration read by the hardware, the assembler and the docs."""

from amaranth.hdl import unsigned
from amaranth.lib import data

from hw.common.program import program_layout
from hw.config import PMUConfig

from .geometry import Geometry

__all__ = ["access_layout", "engine_layout", "pmu_layout", "read_fields", "write_fields"]


def access_layout(config: PMUConfig) -> data.Layout:
    """How an engine turns an address into one SRAM access. All zero: an aligned vector in a linear buffer.

    ``word``: the access is one word (the low address bits name it), not a vector.
    ``unaligned``: a vector may start at any word; lanes before the start come from the next vector.
    ``stripe_shift``, ``stripe_mask``: the buffer is striped: half-lane p of a vector at address a holds the element
    ``p ^ ((a >> stripe_shift) & stripe_mask)``.
    ``column``: the access takes one element of each of several rows of a striped buffer (a transposed read);
    ``spread[n]``: the row bits that differ between half-lanes whose numbers differ in bit n.
    """
    g = Geometry(config)
    return program_layout({
        "word": 1, "unaligned": 1, "column": 1,
        "stripe_shift": 5, "stripe_mask": g.lane_bits,
        "spread": data.ArrayLayout(unsigned(16), g.lane_bits),
    })


def engine_layout(config: PMUConfig, **own) -> data.Layout:
    """What write and read engines share; ``own`` are the fields of one kind.

    ``handover``: a buffer is finished when counters 0..handover-1 are all on their last iteration (0: after every access).
    """
    g = Geometry(config)
    return program_layout({
        "enable": 1,
        "handover": range(config.counter_levels + 1),
        "wait_tokens": config.control_wires,
        "send_tokens": config.control_wires,
        **own,
        "access": access_layout(config),
        "base": unsigned(32),
        "bounds": data.ArrayLayout(unsigned(config.counter_bits), config.counter_levels),
        "strides": data.ArrayLayout(unsigned(g.argument_bits), config.counter_levels),
    })


def write_fields(config: PMUConfig) -> dict:
    """The fields of the write engine alone. ``sources``: one bit per vector input, then one per scalar input."""
    return {"sources": config.vector_inputs + config.scalar_inputs}


def read_fields(config: PMUConfig) -> dict:
    """The fields of a read engine alone. ``synchronised``: takes part in the semaphores; ``scalar``: emits words."""
    return {"synchronised": 1, "scalar": 1}


def pmu_layout(config: PMUConfig) -> data.Layout:
    """The whole program.

    ``buffers``: how many buffers write and read engines rotate through; ``buffer_stride``: distance between two of them;
    ``positions``, ``folds``: the bank map.
    """
    g = Geometry(config)
    fields = {
        "buffers": g.vector_bits + 1,
        "buffer_stride": unsigned(32),
        "positions": data.ArrayLayout(unsigned(8), g.bank_bits),
        "folds": data.ArrayLayout(unsigned(16), g.bank_bits),
        "write": engine_layout(config, **write_fields(config)),
    }
    for engine in range(config.vector_outputs):
        fields[f"read{engine}"] = engine_layout(config, **read_fields(config))
    return program_layout(fields)
