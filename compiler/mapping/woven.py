"""Long element-wise kernels at the speed of memory: a pipeline for each HBM channel, and reads and writes in turn.

A channel that reads and writes by turns of a few beats loses a third of its time in between. So the tensors are dealt to the
pipelines chunk by chunk, as the TLN deals them to the channels, and each pipeline collects its results in a PMU, as many as fit;
while they are stored, it stands still, and its channel only writes. What does not fill whole blocks goes through a pipeline of its
own.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from hw.agcu.program import Access, Loop
from hw.pcu.layout import Reduce
from hw.pcu.program import Operand, SimdProgram

from ..errors import CompileError
from ..fabric.netlist import Netlist, Port, VirtualUnit
from ..graph.factors import factors
from .blocks import CHUNK, collected

__all__ = ["woven"]

LEAST = 2 * CHUNK                        # beats of a block, below which it does not pay


def woven(net: Netlist) -> Netlist | None:
    """The kernel dealt to pipelines; None if it is not element-wise over whole tensors in HBM, or too short."""
    count = _length(net)
    config, pipelines = net.config, net.config.hbm.channels * _per_channel(net)
    room = config.pmu.words // config.lanes // CHUNK
    chunks = (count or 0) // (pipelines * CHUNK)
    if not chunks or not room:
        return None
    phases = -(-chunks // room)
    block = chunks // phases * CHUNK
    if block < LEAST:
        return None
    made, rest = Netlist(config, net.name), count - pipelines * block * phases
    for pipeline in range(pipelines):
        _pipeline(made, net, block * phases, first=pipeline * CHUNK, loops=(CHUNK, block * phases // CHUNK), step=pipelines, block=block)
        _bind(made, pipeline)
    if rest:
        try:
            loops = tuple(factors(rest, "beats"))
        except CompileError:
            return None
        _pipeline(made, net, rest, first=count - rest, loops=loops)
    return made


def _length(net: Netlist) -> int | None:
    """Beats of every tensor of an element-wise kernel over contiguous tensors of one size; None if it is anything else."""
    engines = [unit for unit in net.units if unit.symbol]
    lengths = {unit.program.iterations for unit in engines}
    if len(lengths) != 1 or {unit.kind for unit in engines} != {"load", "store"}:
        return None
    beat = net.config.beat_bytes
    for unit in engines:
        program, step = unit.program, beat
        if program.access is not Access.VECTOR or program.index or program.segment or getattr(program, "tail_bytes", 0):
            return None
        for loop in program.loops:
            if loop.stride != step:
                return None
            step *= loop.bound
    [length] = lengths
    others = [unit for unit in net.units if not unit.symbol]
    if all(unit.kind == "pcu" and _element_wise(unit.program) for unit in others) and all(flow.packets == length for flow in net.flows):
        return length
    return None


def _per_channel(net: Netlist) -> int:
    """Pipelines that take a beat a cycle from a channel together: one, or more where a PCU needs several cycles for a packed beat."""
    beats = next((unit.program.iterations for unit in net.units if unit.symbol), 1)
    cycles = max((prod(unit.program.loops) for unit in net.of_kind("pcu") if isinstance(unit.program, SimdProgram)), default=beats)
    return max(1, -(-cycles // (beats * max(1, len([*net.of_kind("load")])))))


def _element_wise(program) -> bool:
    if not isinstance(program, SimdProgram) or program.scalars or program.mask or program.reduce != Reduce.NONE or program.to_scalar:
        return False
    used = {operand.kind for step in program.stages for operand in (step.a, step.b, step.c) if isinstance(operand, Operand)}
    return program.accumulate is None and not program.produce and not used & {"counter", "element"} and not any(
        port.level for port in program.vectors.values())


def _pipeline(made: Netlist, net: Netlist, beats: int, *, first: int, loops: tuple[int, ...], step: int = 1, block: int = 0) -> None:
    """Adds the kernel over ``beats`` beats from ``first`` on, every ``step``-th chunk; results in blocks (0: as they come)."""
    beat = net.config.beat_bytes
    strides = (beat, step * CHUNK * beat) if block else tuple(beat * prod(loops[:level]) for level in range(len(loops)))
    total = next(unit.program.iterations for unit in net.units if unit.symbol)
    twin: dict[VirtualUnit, VirtualUnit] = {}
    for unit in net.units:
        if unit.symbol:
            program = replace(unit.program, base=unit.program.base + first * beat,
                              loops=tuple(Loop(bound, stride) for bound, stride in zip(loops, strides, strict=True)))
        else:
            per_beat = prod(unit.program.loops) // total         # 2 where beats are packed
            program = replace(unit.program, loops=(loops[0] * per_beat, *loops[1:]))
        twin[unit] = made.add(unit.kind, unit.name, program, symbol=unit.symbol, work=unit.work * beats // total,
                              bytes=unit.bytes * beats // total, note=dict(unit.note))
    for flow in net.flows:
        for port in flow.destinations:
            source = twin[flow.source.unit].out(flow.source.index)
            if block and port.unit.kind == "store":
                source = collected(made, source, beats, block)
                twin[port.unit].note["phased"] = True
            made.connect(flow.fabric, source, Port(twin[port.unit], port.index), beats)


def _bind(made: Netlist, pipeline: int) -> None:
    """Gives the engines of the last pipeline made their AGCUs, apart from those of the pipeline of the other channel, as far as there are
    enough: streams that are read at the same time come from different ones."""
    agcus, count = len(made.config.agcu_ports), {"load": made.config.agcu.load_engines, "store": made.config.agcu.store_engines}
    own = max(1, agcus // made.config.hbm.channels)
    for kind in ("load", "store"):
        bound = [unit.note["agcu"] for unit in made.of_kind(kind) if "agcu" in unit.note]
        for number, unit in enumerate(unit for unit in made.of_kind(kind) if "agcu" not in unit.note):
            wanted = (pipeline * own + (number if kind == "load" else own - 1 - number) % own) % agcus
            unit.note["agcu"] = next((agcu for agcu in (wanted, *range(agcus)) if bound.count(agcu) < count[kind]), 0)
            bound.append(unit.note["agcu"])
