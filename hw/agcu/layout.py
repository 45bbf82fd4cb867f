"""The program of an AGCU: one declaration read by the hardware, the assembler and the docs."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

from hw.common.packet import Tier
from hw.common.program import program_layout
from hw.config import AGCUConfig

__all__ = ["PAGE_BITS", "Access", "agcu_layout", "load_layout", "segment_layout", "store_layout"]

PAGE_BITS = 12


class Access(enum.Enum, shape=2):
    """What one iteration of an engine moves."""

    VECTOR = 0       # one beat; the address must be a multiple of a beat
    UNALIGNED = 1    # a vector that begins at any word
    WORD = 2         # one word, from or to the scalar fabric
    FILL = 3         # loads only: a vector whose every word is ``base``; memory is not read


def _engine_layout(config: AGCUConfig, **own) -> data.Layout:
    """What load and store engines share.

    ``indexed``: every run of counters 0..index_level-1 takes a word from scalar input ``index_input`` and moves the address by
    that word times ``index_stride`` bytes. ``handover``: a buffer is finished when counters 0..handover-1 are all on their last
    iteration (0: after every iteration).
    """
    return program_layout({
        "enable": 1,
        "access": Access,
        "segment": 4,
        "handover": range(config.counter_levels + 1),
        "wait_tokens": config.control_wires,
        "send_tokens": config.control_wires,
        "indexed": 1,
        "index_input": range(max(2, config.scalar_inputs)),
        "index_level": range(config.counter_levels + 1),
        **own,
        "base": unsigned(32),
        "index_stride": unsigned(32),
        "bounds": data.ArrayLayout(unsigned(config.counter_bits), config.counter_levels),
        "strides": data.ArrayLayout(unsigned(32), config.counter_levels),
    })


def load_layout(config: AGCUConfig) -> data.Layout:
    """Program of a load engine. ``scalar_output``: where an engine with access WORD sends its words."""
    return _engine_layout(config, scalar_output=range(max(2, config.scalar_outputs)))


def store_layout(config: AGCUConfig) -> data.Layout:
    """Program of a store engine.

    ``scalar_input``: where an engine with access WORD takes its words. ``tail_bytes``: bytes stored by the last iteration of
    level 0 (0: all of them); it has a word of its own.
    """
    return _engine_layout(config, scalar_input=range(max(2, config.scalar_inputs)), tail_bytes=unsigned(32))


def segment_layout() -> data.StructLayout:
    """An entry of the segment table, two words: physical ``base`` and ``limit`` (length) in pages of 4 KiB."""
    return data.StructLayout({"base": 28, "tier": Tier, "read": 1, "write": 1, "limit": 21, "valid": 1, "unused": 10})


def agcu_layout(config: AGCUConfig) -> data.Layout:
    """The whole program. The segment table comes last: a kernel's words end before it and leave it as the driver set it."""
    engines = {f"load{engine}": load_layout(config) for engine in range(config.load_engines)}
    engines |= {f"store{engine}": store_layout(config) for engine in range(config.store_engines)}
    return program_layout(engines | {"segments": data.ArrayLayout(segment_layout(), config.segments)})
