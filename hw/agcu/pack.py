"""Typed programs to bits."""

from __future__ import annotations

from hw.common.program import words_of
from hw.config import AGCUConfig

from .layout import agcu_layout
from .program import AGCUProgram, Engine, program_words

__all__ = ["pack_program"]


def pack_program(program: AGCUProgram, config: AGCUConfig) -> list[int]:
    """The words of ``program`` (see :meth:`AGCUProgram.pack`)."""
    layout = agcu_layout(config)
    bits = layout.const({name: _engine(engine, config) for name, engine in program.engines.items()}).as_bits()
    words = [bits >> 32 * word & 0xFFFFFFFF for word in range(words_of(layout))]
    table = program_words(config)
    if not program.segments:
        return words[:table]
    for number, segment in program.segments.items():
        words[table + 2 * number:table + 2 * number + 2] = segment.words()
    return words


def _engine(engine: Engine, config: AGCUConfig) -> dict:
    """Fields of one engine; loops that are not used have bound 1."""
    own = {name: getattr(engine, name) for name in ("scalar_output", "scalar_input", "tail_bytes") if hasattr(engine, name)}
    unused = config.counter_levels - len(engine.loops)
    if engine.index:
        own |= {"indexed": 1, "index_input": engine.index.scalar, "index_level": engine.index.loops,
                "index_stride": engine.index.stride % (1 << 32)}
    return own | {
        "enable": 1, "access": engine.access, "segment": engine.segment, "base": engine.base, "handover": engine.buffer_loops,
        "wait_tokens": sum(1 << wire for wire in engine.wait_tokens),
        "send_tokens": sum(1 << wire for wire in engine.send_tokens),
        "bounds": [loop.bound for loop in engine.loops] + [1] * unused,
        "strides": [loop.stride % (1 << 32) for loop in engine.loops] + [0] * unused,
    }
