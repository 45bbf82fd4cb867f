"""Typed programs to bits."""

from __future__ import annotations

import dataclasses

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
    fields = {field.name: getattr(engine, field.name) for field in dataclasses.fields(engine) if field.name != "loops"}
    unused = config.counter_levels - len(engine.loops)
    return fields | {
        "enable": 1,
        "bounds": [loop.bound for loop in engine.loops] + [1] * unused,
        "strides": [loop.stride % (1 << 32) for loop in engine.loops] + [0] * unused,
    }
