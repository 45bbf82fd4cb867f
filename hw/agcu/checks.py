"""What an AGCU cannot do, said before it is tried."""

from __future__ import annotations

from hw.config import AGCUConfig

from .program import Access, AGCUProgram, Engine, LoadProgram, ProgramError, StoreProgram

__all__ = ["check_program"]


def check_program(program: AGCUProgram, config: AGCUConfig) -> None:
    """Raises :class:`ProgramError` naming the field, its value and the limit."""
    for kind, engines, limit in (("load", program.loads, config.load_engines), ("store", program.stores, config.store_engines)):
        _require(len(engines) <= limit, f"{kind}s", len(engines), f"there are {limit} {kind} engines")
    for number in program.segments or {}:
        _require(0 <= number < config.segments, "segments", number, f"the table has {config.segments} entries")
    for name, engine in program.engines.items():
        _check_engine(name, engine, config)
        if isinstance(engine, LoadProgram):
            _require(0 <= engine.scalar_output < config.scalar_outputs, f"{name}.scalar_output", engine.scalar_output,
                     f"there are {config.scalar_outputs} scalar outputs")
        if isinstance(engine, StoreProgram):
            _check_store(name, engine, config)
    _check_sharing(program)


def _check_sharing(program: AGCUProgram) -> None:
    """Nothing is given to two engines at once."""
    outputs = [load.scalar_output for load in program.loads if load is not None and load.access == Access.WORD]
    inputs = [engine.index.scalar for engine in program.engines.values() if engine.index]
    inputs += [store.scalar_input for store in program.stores if store is not None and store.access == Access.WORD]
    waits = [wire for engine in program.engines.values() for wire in engine.wait_tokens]
    for field, used, what in (("loads.scalar_output", outputs, "scalar output"),
                              ("index.scalar, scalar_input", inputs, "scalar input"),
                              ("wait_tokens", waits, "control wire")):
        _require(len(used) == len(set(used)), field, used, f"two engines cannot share a {what}")


def _check_engine(name: str, engine: Engine, config: AGCUConfig) -> None:
    engine.check(name, config)
    _require(0 <= engine.base < 1 << 32, f"{name}.base", engine.base, "an offset of 32 bits")
    _require(0 <= engine.segment < config.segments, f"{name}.segment", engine.segment, f"the table has {config.segments} entries")
    for level, loop in enumerate(engine.loops):
        _require(-(1 << 31) <= loop.stride < 1 << 31, f"{name}.loops[{level}].stride", loop.stride, "a signed number of 32 bits")
    unit = {Access.VECTOR: config.beat_bytes, Access.UNALIGNED: 4, Access.WORD: 4, Access.FILL: 1}[engine.access]
    steps = {f"{name}.base": engine.base} | {f"{name}.loops[{level}].stride": loop.stride
                                             for level, loop in enumerate(engine.loops) if loop.bound > 1}
    if engine.index:
        _require(0 <= engine.index.scalar < config.scalar_inputs, f"{name}.index.scalar", engine.index.scalar,
                 f"there are {config.scalar_inputs} scalar inputs")
        _require(0 <= engine.index.loops <= len(engine.loops), f"{name}.index.loops", engine.index.loops,
                 f"from 0 to {len(engine.loops)}")
        _require(0 <= engine.index.stride < 1 << 32, f"{name}.index.stride", engine.index.stride, "32 bits")
        steps[f"{name}.index.stride"] = engine.index.stride
    for field, value in steps.items():
        _require(value % unit == 0, field, value, f"a multiple of {unit} bytes for access {engine.access.name}")


def _check_store(name: str, store: StoreProgram, config: AGCUConfig) -> None:
    _require(store.access != Access.FILL, f"{name}.access", "FILL", "a load engine fills; its stream can be stored")
    _require(0 <= store.scalar_input < config.scalar_inputs, f"{name}.scalar_input", store.scalar_input,
             f"there are {config.scalar_inputs} scalar inputs")
    _require(store.access != Access.WORD or store.tail_bytes == 0, f"{name}.tail_bytes", store.tail_bytes, "0 for access WORD")
    _require(0 <= store.tail_bytes <= config.beat_bytes, f"{name}.tail_bytes", store.tail_bytes,
             f"at most {config.beat_bytes}, one vector")


def _require(condition: bool, field: str, value, limit: str) -> None:
    if not condition:
        raise ProgramError(f"{field}={value}: {limit}")
