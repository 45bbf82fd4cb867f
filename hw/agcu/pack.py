"""Typed programs to bits."""

from __future__ import annotations

from hw.config import AGCUConfig

from .layout import agcu_layout
from .program import AGCUProgram, Engine, program_words

__all__ = ["pack_program"]


def pack_program(program: AGCUProgram, config: AGCUConfig) -> int:
    """The bits of ``program``; refuses nothing (see checks.py)."""
    bits = agcu_layout(config).const({name: _engine(engine, config) for name, engine in program.engines.items()}).as_value().value
    for number, segment in (program.segments or {}).items():
        for at, word in enumerate(segment.words(), program_words(config) + 2 * number):
            bits |= word << 32 * at
    return bits


def _engine(engine: Engine, config: AGCUConfig) -> dict:
    """Fields of one engine."""
    own = {name: getattr(engine, name) for name in ("scalar_output", "scalar_input", "tail_bytes") if hasattr(engine, name)}
    if engine.index:
        own |= {"indexed": 1, "index_input": engine.index.scalar, "index_level": engine.index.loops,
                "index_stride": engine.index.stride % (1 << 32)}
    strides = [loop.stride % (1 << 32) for loop in engine.loops]
    return own | engine.fields(config.counter_levels) | {
        "access": engine.access, "segment": engine.segment, "base": engine.base,
        "strides": strides + [0] * (config.counter_levels - len(strides)),
    }
