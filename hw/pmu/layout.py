"""The program of a PMU: one declaration read by the hardware, the assembler and the docs."""

from amaranth.hdl import unsigned
from amaranth.lib import data

from hw.common.program import program_layout
from hw.config import PMUConfig

from .ecc import ecc_layout
from .geometry import Geometry

__all__ = ["INDEX_COUNTER", "INDEX_SCALAR", "INDEX_SEQUENCE", "access_layout", "engine_layout", "pmu_layout",
           "read_fields", "stage_layout", "write_fields"]

INDEX_SEQUENCE, INDEX_SCALAR, INDEX_COUNTER = 1, 2, 8        # values of ``index``: +input, +loop level; 0: none


def stage_layout(config: PMUConfig) -> data.Layout:
    """One stage of the address pipeline: works on the pair (x, y) of an access of engine ``owner`` (0: unused, 1: write,
    2 + r: read engine r) and puts the result in y if ``to_y``, else in x; see address.py."""
    return program_layout({"owner": 3, "operation": unsigned(2), "to_y": 1, "base": unsigned(2), "factor": unsigned(2),
                           "b": Geometry(config).logical_bits, "a": unsigned(32)})


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
    ``index``: what the address pipeline gets as y; ``index_level``: a scalar serves until counters 0..index_level-1 are all on
    their last iteration. ``extent``: if not 0, an address of that or more is dropped; ``place``: what is added to those kept.
    """
    return program_layout({
        "enable": 1,
        "handover": range(config.counter_levels + 1),
        "wait_tokens": config.control_wires,
        "send_tokens": config.control_wires,
        "index": 4, "index_level": range(config.counter_levels + 1),
        **own,
        "access": access_layout(config),
        "extent": unsigned(32), "place": unsigned(32), "base": unsigned(32),
        "bounds": data.ArrayLayout(unsigned(config.counter_bits), config.counter_levels),
        "strides": data.ArrayLayout(unsigned(32), config.counter_levels),
    })


def write_fields(config: PMUConfig) -> dict:
    """The fields of the write engine alone. ``sources``: one bit per vector input, then one per scalar input."""
    return {"sources": config.vector_inputs + config.scalar_inputs}


def read_fields(config: PMUConfig) -> dict:
    """The fields of a read engine alone. ``synchronised``: takes part in the semaphores; ``scalar``: emits words;
    ``permute``: lane i of the output is lane ``lanes[i]`` of what was read."""
    return {"synchronised": 1, "scalar": 1, "permute": 1,
            "lanes": data.ArrayLayout(unsigned(8), config.lanes)}


def pmu_layout(config: PMUConfig) -> data.Layout:
    """The whole program.

    ``buffers``: how many buffers write and read engines rotate through; ``buffer_stride``: distance between two of them;
    ``positions``, ``folds``: the bank map; ``ecc``: errors to inject (a PMU with ECC only).
    """
    g = Geometry(config)
    fields = {
        "buffers": g.vector_bits + 1,
        "buffer_stride": unsigned(32),
        "positions": data.ArrayLayout(unsigned(8), g.bank_bits),
        "folds": data.ArrayLayout(unsigned(16), g.bank_bits),
    }
    if config.address_stages:
        fields["stages"] = data.ArrayLayout(stage_layout(config), config.address_stages)
    fields["write"] = engine_layout(config, **write_fields(config))
    for engine in range(config.vector_outputs):
        fields[f"read{engine}"] = engine_layout(config, **read_fields(config))
    if config.ecc:
        fields["ecc"] = ecc_layout(config)
    return program_layout(fields)
