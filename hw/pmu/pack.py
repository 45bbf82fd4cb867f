"""A checked program to bits, through the one declared layout."""

from __future__ import annotations

from hw.config import PMUConfig

from .address import Counter, Scalar, Sequence
from .geometry import BankMap, Geometry
from .layout import INDEX_COUNTER, INDEX_SCALAR, INDEX_SEQUENCE, pmu_layout
from .program import Element, Engine, PMUProgram, Read, Write

__all__ = ["pack_program", "spread_vectors"]


def pack_program(program: PMUProgram, config: PMUConfig) -> int:
    """The bits of ``program``; refuses nothing (see checks.py)."""
    bank_map = program.bank_map or BankMap.low(config)
    fields = {
        "buffers": program.buffers, "buffer_stride": program.halves(program.buffer_stride),
        "positions": list(bank_map.positions), "folds": list(bank_map.folds),
    }
    if program.inject:
        fields["ecc"] = {"flips": program.inject.flips, "lane": program.inject.half_lane, "access": program.inject.access}
    stages = []
    for name, engine in program.engines.items():
        fields[name] = _engine(program, engine, config)
        owner = 1 if name == "write" else 2 + int(name[4:])
        stages += [{"owner": owner, "operation": int(stage.operation), "to_y": stage.to_y, "base": int(stage.base),
                    "factor": int(stage.factor), "a": stage.a & 0xFFFFFFFF, "b": stage.b} for stage in engine.stages]
    if stages:
        fields["stages"] = stages + [{}] * (config.address_stages - len(stages))
    return pmu_layout(config).const(fields).as_value().value


def spread_vectors(program: PMUProgram, config: PMUConfig) -> list[int]:
    """For a transposed access: how the vector number changes when bit n of the half-lane number does."""
    g = Geometry(config)
    offset = 0 if program.element is Element.HALF else 1
    pitch_vectors = program.halves(program.pitch) >> g.lane_bits
    return [pitch_vectors << bit - offset if bit >= offset else 0 for bit in range(g.lane_bits)]


def _engine(program: PMUProgram, engine: Engine, config: PMUConfig) -> dict:
    g = Geometry(config)
    mask = (1 << g.logical_bits) - 1
    strides = [program.halves(loop.stride) & mask for loop in engine.loops]
    fields = engine.fields(config.counter_levels) | {
        "access": _access(program, engine, config),
        "base": program.halves(engine.base - (engine.shard.lower if engine.shard else 0)) & mask,
        "strides": strides + [0] * (config.counter_levels - len(strides)),
    }
    if engine.shard:
        fields |= {"extent": program.halves(engine.shard.size), "place": program.halves(engine.shard.place)}
    if isinstance(engine.index, Sequence):
        fields["index"] = INDEX_SEQUENCE
    elif isinstance(engine.index, Scalar):
        fields |= {"index": INDEX_SCALAR + engine.index.port, "index_level": engine.index.loops}
    elif isinstance(engine.index, Counter):
        fields["index"] = INDEX_COUNTER + engine.index.level
    if isinstance(engine, Write):
        fields["sources"] = sum(1 << port for port in engine.vectors) | \
            sum(1 << config.vector_inputs + port for port in engine.scalars)
    if isinstance(engine, Read):
        fields |= {"synchronised": engine.synchronised, "scalar": engine.scalar}
        order = engine.permute if not engine.word else None if engine.scalar else (0,) * config.lanes   # a word: in every lane
        if order:
            fields |= {"permute": 1, "lanes": list(order)}
    return fields


def _access(program: PMUProgram, engine: Engine, config: PMUConfig) -> dict:
    g = Geometry(config)
    access = {"word": engine.word, "unaligned": not engine.word and not program.pitch}
    if program.pitch:
        # A row of words moves its stripe by one lane, two half-lanes: bit 0 of the half-lane number stays.
        half = 0 if program.element is Element.HALF else 1
        access |= {"stripe_shift": program.halves(program.pitch).bit_length() - 1 - half,
                   "stripe_mask": (1 << g.lane_bits) - (1 << half)}
    if isinstance(engine, Read) and engine.transposed:
        bank_map = program.bank_map or BankMap.low(config)
        access |= {"column": 1, "spread": [bank_map.split(vector)[1] for vector in spread_vectors(program, config)]}
    return access
