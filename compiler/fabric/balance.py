"""A check before any hardware runs: every flow carries as many packets as its source makes and each destination takes."""

from __future__ import annotations

from math import prod

from hw.config import RDUConfig
from hw.pcu.layout import SCALE_INPUT, Initial
from hw.pcu.program import SimdProgram, SystolicProgram
from hw.pmu.address import Scalar

from .netlist import Netlist, Port, VirtualUnit

__all__ = ["Imbalance", "check_balance", "made", "taken"]


class Imbalance(AssertionError):
    """A netlist that would hang, or leave packets behind: a defect of the compiler, not of the graph."""


def check_balance(net: Netlist) -> None:
    """Raises :class:`Imbalance` naming the flow."""
    fed: set[tuple[str, Port]] = set()
    for flow in net.flows:
        count = made(flow.source, flow.fabric, net.config)
        for port in flow.destinations:
            if (flow.fabric, port) in fed:
                raise Imbalance(f"{net.name}: {port.unit.name} input {port.index} is fed twice")
            fed.add((flow.fabric, port))
            if (wanted := taken(port, flow.fabric, net.config)) != count:
                raise Imbalance(f"{net.name}: {flow.source.unit.name} makes {count} packets, {port.unit.name} input {port.index} "
                                f"takes {wanted}: {flow.source.unit.program} -> {port.unit.program}")
    for unit in net.units:
        for fabric, index in needs(unit):
            if (fabric, Port(unit, index)) not in fed:
                raise Imbalance(f"{net.name}: {fabric} input {index} of {unit.name} is not fed: {unit.program}")


def needs(unit: VirtualUnit) -> list[tuple[str, int | str]]:
    """Inputs that a unit's program takes packets from."""
    program = unit.program
    if unit.kind == "pcu" and isinstance(program, SimdProgram):
        return [*(("vector", i) for i in program.vectors), *(("scalar", i) for i in program.scalars)]
    if unit.kind == "pcu":
        return [("vector", 0), ("vector", 1), *([("vector", 2)] if program.initial != Initial.ZERO else []),
                *([("vector", SCALE_INPUT)] if program.int8_weights else [])]
    if unit.kind == "pmu":
        write = program.write
        return [*(("vector", i) for i in write.vectors), *(("scalar", i) for i in write.scalars),
                *(("scalar", e.index.port) for e in program.engines.values() if isinstance(e.index, Scalar))]
    found = [("scalar" if unit.is_word else "vector", 0)] if unit.kind == "store" else []
    return [*found, *([("scalar", "index")] if program.index else [])]


def made(port: Port, fabric: str, config: RDUConfig) -> int:
    """Packets that an output gives in one execution."""
    program = port.unit.program
    if port.unit.kind == "load":
        return program.iterations
    if port.unit.kind == "pmu":
        return prod(loop.bound for loop in program.reads[port.index].loops)
    if isinstance(program, SystolicProgram):
        rows = program.rows * (program.row_tiles - 1) + (program.rows if program.last_rows is None else program.last_rows)
        blocks = -(-program.feature_blocks // 2) if program.packed_output else program.feature_blocks
        return rows * program.column_tiles * blocks
    loops = list(program.loops)
    if program.accumulate is not None:
        loops = [*loops[:program.accumulate], *loops[program.produce:]]
        level = 0
    else:
        level = program.produce
    return _packets(loops, level, program.packed_output and fabric == "vector")


def taken(port: Port, fabric: str, config: RDUConfig) -> int:
    """Packets that an input takes in one execution."""
    program = port.unit.program
    if port.index == "index":
        return program.indices
    if port.unit.kind == "store":
        return program.iterations
    if port.unit.kind == "pmu":
        for engine in program.engines.values():
            if fabric == "scalar" and isinstance(engine.index, Scalar) and engine.index.port == port.index:
                return prod(loop.bound for loop in engine.loops[engine.index.loops:])
        return prod(loop.bound for loop in program.write.loops)
    if isinstance(program, SystolicProgram):
        tiles = program.row_tiles * program.column_tiles
        rows = program.rows * (program.row_tiles - 1) + (program.rows if program.last_rows is None else program.last_rows)
        blocks = program.feature_blocks
        return {0: tiles * program.chunks * program.k * -(-blocks // (4 if program.int8_weights else 1 + program.packed_weights)),
                1: rows * program.row_vectors(config.pcu) * program.chunks * (1 if program.reuse else program.column_tiles),
                2: tiles * blocks, SCALE_INPUT: tiles * blocks}[port.index]
    given = (program.vectors if fabric == "vector" else program.scalars)[port.index]
    return _packets(program.loops, given.level, given.packed)


def _packets(loops, level: int, packed: bool) -> int:
    inner = loops[level] if level < len(loops) else 1
    return (-(-inner // 2) if packed else inner) * prod(loops[level + 1:])
