"""What a PMU program may not do: every refusal names the field, its value and the limit."""

from __future__ import annotations

import numpy as np

from hw.config import PMUConfig

from .address import Counter, Operation, Scalar, Sequence
from .geometry import CODE_BITS, BankMap, Geometry
from .program import Engine, PMUProgram, ProgramError, Read, Write, vector_elements, visited

__all__ = ["check_program", "kept"]


def check_program(program: PMUProgram, config: PMUConfig) -> None:
    """Raises :class:`ProgramError` if the hardware cannot run ``program`` as it is meant."""
    g = Geometry(config)
    try:
        (program.bank_map or BankMap.low(config)).check(config)
    except ValueError as error:
        raise ProgramError(str(error)) from None
    _require(len(program.reads) <= config.vector_outputs,
             f"reads: {len(program.reads)} engines, the PMU has {config.vector_outputs}")
    _require(bool(program.engines), "write, reads: no engine is used")
    _require(1 <= program.buffers <= g.vectors, f"buffers={program.buffers} must be from 1 to {g.vectors}")
    _check_pitch(program, config)
    for name, engine in program.engines.items():
        _check_engine(name, program, engine, config)
    _check_source(program, config)
    _check_buffers(program, config)
    _check_handovers(program)
    _check_injection(program, config)
    stages = sum(len(engine.stages) for engine in program.engines.values())
    _require(stages <= config.address_stages, f"stages: the engines use {stages}, the PMU has {config.address_stages}")
    ports = [engine.index.port for engine in program.engines.values() if isinstance(engine.index, Scalar)]
    ports += program.write.scalars if program.write else ()
    _require(len(ports) == len(set(ports)), f"scalar inputs {sorted(ports)}: one is used twice; a word is taken once")
    waits = [wire for engine in program.engines.values() for wire in engine.wait_tokens]
    _require(len(waits) == len(set(waits)), f"wait_tokens: two engines wait on one wire ({sorted(waits)}); a token is taken once")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ProgramError(message)


def _check_injection(program: PMUProgram, config: PMUConfig) -> None:
    inject = program.inject
    if inject is None:
        return
    _require(config.ecc, f"inject={inject}: this PMU has no ECC (PMUConfig.ecc)")
    _require(0 <= inject.flips < 1 << CODE_BITS, f"inject.flips={inject.flips:#x} must be a mask of {CODE_BITS} bits")
    _require(0 <= inject.half_lane < 2 * config.lanes, f"inject.half_lane={inject.half_lane} must be from 0 to {2 * config.lanes - 1}")
    _require(0 <= inject.access < 1 << 32, f"inject.access={inject.access} must be from 0 to 2**32 - 1")


def _check_pitch(program: PMUProgram, config: PMUConfig) -> None:
    pitch, vector = program.pitch, vector_elements(program, config)
    if not pitch:
        return
    _require(pitch & (pitch - 1) == 0 and pitch >= vector,
             f"pitch={pitch} must be a power of two of at least one vector ({vector} elements): stripes are XORed; pad the rows")
    capacity = config.words * program.halves(1)
    _require(pitch <= capacity, f"pitch={pitch} exceeds the scratchpad")


def _check_engine(name: str, program: PMUProgram, engine: Engine, config: PMUConfig) -> None:
    engine.check(name, config)
    _check_pipeline(name, program, engine, config)
    addresses = visited(engine.loops, engine.base)
    if addresses.size == 0 or engine.stages:
        return              # a computed address is known at run time only
    addresses = kept(engine, addresses)
    if addresses.size == 0:
        return
    _check_extent(name, program, engine, config, addresses)
    vector = vector_elements(program, config)
    if isinstance(engine, Read):
        _require(not engine.scalar or engine.word, f"{name}.scalar=True needs word=True: a scalar output carries words")
        if engine.transposed:
            _check_transposed(name, program, config, addresses)
            return
    if engine.word:
        words = addresses * program.halves(1) % 2 == 0
        _require(bool(words.all()), f"{name}.word=True: an address of {engine.base} + loops is not a whole word")
    elif program.pitch:
        odd = addresses[addresses % vector != 0]
        _require(odd.size == 0, f"{name}: address {odd[:1]} in a striped buffer (pitch={program.pitch}) must be a multiple of "
                                f"a vector, {vector} elements")
    else:
        _require(bool((addresses * program.halves(1) % 2 == 0).all()), f"{name}: a vector must start at a whole word")


def _check_pipeline(name: str, program: PMUProgram, engine: Engine, config: PMUConfig) -> None:
    g = Geometry(config)
    if isinstance(engine.index, Sequence):
        _require(isinstance(engine, Write), f"{name}.index=Sequence(): only the write engine has packets with a sequence ID")
    if isinstance(engine.index, Scalar):
        _require(0 <= engine.index.port < config.scalar_inputs,
                 f"{name}.index={engine.index}: scalar inputs are 0 to {config.scalar_inputs - 1}")
        _require(0 <= engine.index.loops <= len(engine.loops),
                 f"{name}.index={engine.index}: there are {len(engine.loops)} loops")
    if isinstance(engine.index, Counter):
        _require(0 <= engine.index.level < config.counter_levels,
                 f"{name}.index={engine.index}: levels are 0 to {config.counter_levels - 1}")
    for number, stage in enumerate(engine.stages):
        limit = g.logical_bits if stage.operation is Operation.RANGE else 5
        _require(0 <= stage.b < 1 << limit, f"{name}.stages[{number}].b={stage.b} must be from 0 to {(1 << limit) - 1}")
        _require(-(1 << g.logical_bits - 1) <= stage.a < 1 << g.logical_bits,
                 f"{name}.stages[{number}].a={stage.a} exceeds {g.logical_bits} bits")
    if engine.shard:
        _require(engine.shard.size > 0, f"{name}.shard.size={engine.shard.size} must be at least 1")
    if isinstance(engine, Read) and engine.permute is not None:
        _require(len(engine.permute) == config.lanes and all(0 <= lane < config.lanes for lane in engine.permute),
                 f"{name}.permute={engine.permute} must name {config.lanes} lanes from 0 to {config.lanes - 1}")


def kept(engine: Engine, addresses: np.ndarray) -> np.ndarray:
    """Where in the scratchpad the accesses go that the engine's shard does not drop."""
    if not engine.shard:
        return addresses
    inside = addresses[(addresses >= engine.shard.lower) & (addresses < engine.shard.lower + engine.shard.size)]
    return inside - engine.shard.lower + engine.shard.place


def _check_extent(name: str, program: PMUProgram, engine: Engine, config: PMUConfig, addresses: np.ndarray) -> None:
    capacity = config.words * 2 // program.halves(1)
    low, high = _reach(program, engine, config, addresses)
    rotating = program.buffers - 1 if isinstance(engine, Write) or engine.synchronised else 0
    end = high + rotating * program.buffer_stride
    _require(low >= 0 and end <= capacity,
             f"{name}: elements {low} to {end - 1} (base={engine.base}, buffers={program.buffers}, "
             f"buffer_stride={program.buffer_stride}) leave the scratchpad of {capacity} elements")


def _reach(program: PMUProgram, engine: Engine, config: PMUConfig, addresses: np.ndarray) -> tuple[int, int]:
    """First element and end of what the engine touches in buffer 0."""
    vector = vector_elements(program, config)
    if engine.word:
        width = 2 // program.halves(1)
    elif isinstance(engine, Read) and engine.transposed:
        width = program.pitch * (vector - 1) + 1
    else:
        width = vector
    return int(addresses[0]), int(addresses[-1]) + width


def _check_transposed(name: str, program: PMUProgram, config: PMUConfig, addresses: np.ndarray) -> None:
    from .pack import spread_vectors
    vector = vector_elements(program, config)
    _require(program.pitch > 0, f"{name}.transposed=True needs a striped buffer: pitch=0")
    rows = addresses // program.pitch
    odd = rows[rows % vector != 0]
    _require(odd.size == 0, f"{name}.transposed=True: row {odd[:1]} is not a multiple of {vector}, the rows of one vector")
    bank_map = program.bank_map or BankMap.low(config)
    for bit, moved in enumerate(spread_vectors(program, config)):
        _require(bank_map.split(moved)[0] == 0,
                 f"{name}.transposed=True: with bank_map {bank_map} the rows of one vector (vector-number bit "
                 f"{moved.bit_length() - 1}, half-lane bit {bit}) lie in different banks; keep that bit out of the bank bits")


def _check_source(program: PMUProgram, config: PMUConfig) -> None:
    write = program.write
    if write is None:
        return
    _require(bool(write.vectors or write.scalars), "write.vectors, write.scalars: the write engine has no input")
    _require(all(0 <= port < config.vector_inputs for port in write.vectors),
             f"write.vectors={write.vectors}: vector inputs are 0 to {config.vector_inputs - 1}")
    _require(all(0 <= port < config.scalar_inputs for port in write.scalars),
             f"write.scalars={write.scalars}: scalar inputs are 0 to {config.scalar_inputs - 1}")
    _require(not write.scalars or write.word, f"write.scalars={write.scalars} needs word=True: scalars are written word by word")


def _check_buffers(program: PMUProgram, config: PMUConfig) -> None:
    """Whatever engines touch in one buffer must end before the next begins."""
    if program.buffers == 1:
        return
    low, high = [], []
    for engine in program.engines.values():
        addresses = kept(engine, visited(engine.loops, engine.base))
        if addresses.size and not engine.stages and (isinstance(engine, Write) or engine.synchronised):
            first, end = _reach(program, engine, config, addresses)
            low.append(first)
            high.append(end)
    _require(not low or max(high) - min(low) <= program.buffer_stride,
             f"buffers overlap: the engines touch elements {min(low, default=0)} to {max(high, default=0) - 1} of a buffer, "
             f"buffer_stride={program.buffer_stride}")


def _check_handovers(program: PMUProgram) -> None:
    for name, engine in program.engines.items():
        if not isinstance(engine, Read) or not engine.synchronised:
            continue
        _require(program.write is not None, f"{name}.synchronised=True but there is no write engine to wait for")
        _require(engine.handovers == program.write.handovers,
                 f"{name} takes {engine.handovers} buffers, the write engine hands over {program.write.handovers}")
