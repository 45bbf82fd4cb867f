"""What a PMU program may not do: every refusal names the field, its value and the limit."""

from __future__ import annotations

import numpy as np

from hw.config import PMUConfig

from .geometry import BankMap, Geometry
from .program import Engine, PMUProgram, ProgramError, Read, Write, vector_elements, visited

__all__ = ["check_program"]


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
    waits = [wire for engine in program.engines.values() for wire in engine.wait_tokens]
    _require(len(waits) == len(set(waits)), f"wait_tokens: two engines wait on one wire ({sorted(waits)}); a token is taken once")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ProgramError(message)


def _check_pitch(program: PMUProgram, config: PMUConfig) -> None:
    pitch, vector = program.pitch, vector_elements(program, config)
    if not pitch:
        return
    _require(pitch & (pitch - 1) == 0 and pitch >= vector,
             f"pitch={pitch} must be a power of two of at least one vector ({vector} elements): stripes are XORed; pad the rows")
    capacity = config.words * program.halves(1)
    _require(pitch <= capacity, f"pitch={pitch} exceeds the scratchpad")


def _check_engine(name: str, program: PMUProgram, engine: Engine, config: PMUConfig) -> None:
    _require(1 <= len(engine.loops) <= config.counter_levels,
             f"{name}.loops has {len(engine.loops)} levels, the PMU has {config.counter_levels}")
    for level, loop in enumerate(engine.loops):
        _require(0 <= loop.bound < 1 << config.counter_bits,
                 f"{name}.loops[{level}].bound={loop.bound} must be from 0 to {(1 << config.counter_bits) - 1}")
    _require(0 <= engine.buffer_loops <= len(engine.loops),
             f"{name}.handover={engine.handover} must be from 0 to the number of loops, {len(engine.loops)}")
    for field in ("wait_tokens", "send_tokens"):
        for wire in getattr(engine, field):
            _require(0 <= wire < config.control_wires, f"{name}.{field}: wire {wire}, the PMU has {config.control_wires}")
    addresses = visited(engine.loops, engine.base)
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
        addresses = visited(engine.loops, engine.base)
        if addresses.size and (isinstance(engine, Write) or engine.synchronised):
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
