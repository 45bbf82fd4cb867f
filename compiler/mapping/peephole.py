"""PCUs joined: a tail function goes behind the unit that makes its operand, a map in front of the map or the reduction of its result."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from hw.fp.function import TailFunction
from hw.pcu.layout import Op, Reduce, Source
from hw.pcu.program import Operand, ProgramError, SimdProgram, Stage, SystolicProgram, constant, scalar, stage, vector

from ..fabric.netlist import Flow, Netlist, Port, VirtualUnit

__all__ = ["join_units"]


def join_units(net: Netlist) -> None:
    """Joins pairs of PCUs until there is no pair left that one PCU can do."""
    while any(_join(net, flow) for flow in list(net.flows)):
        pass


def _join(net: Netlist, flow: Flow) -> bool:
    first, second = flow.source.unit, flow.destinations[0].unit
    if len(flow.destinations) != 1:
        return all(port.unit is second for port in flow.destinations) and _chained(net, flow)
    if first.kind == "pcu" and second.kind == "pmu":
        return _tail_before(net, first, second)
    if first.kind != "pcu" or second.kind != "pcu" or not isinstance(second.program, SimdProgram):
        return False
    joined = _tail_behind(first.program, second.program) or _map_before(first.program, second.program, net)
    if joined is None:
        return _chained(net, flow)
    _replace(net, flow, first, second, joined)
    return True


def _tail_behind(first: SystolicProgram | SimdProgram, second: SimdProgram) -> SimdProgram | SystolicProgram | None:
    """``first`` with the tail function that is all that ``second`` does."""
    if first.function != TailFunction.BYPASS or first.packed_output or second.reduce != Reduce.NONE or second.mask:
        return None
    if len(second.vectors) + len(second.scalars) != 1:
        return None
    port = next(iter((*second.vectors.values(), *second.scalars.values())))
    plain = second.vectors and not second.stages and second.result in (None, vector(0))
    word = second.scalars and second.stages == (Stage(Op.OR, scalar(0), Source.ZERO),)
    if port.level or port.packed or not (plain or word) or first.to_scalar != second.to_scalar:
        return None
    if second.packed_output and isinstance(first, SystolicProgram) and first.feature_blocks % 2:
        return None
    if second.packed_output and isinstance(first, SimdProgram) and (first.accumulate is not None or first.loops[0] != second.loops[0]):
        return None
    return replace(first, function=second.function, packed_output=second.packed_output)


def _tail_before(net: Netlist, first: VirtualUnit, buffer: VirtualUnit) -> bool:
    """Joins ``first`` with a tail function that follows behind a PMU that puts rows in order."""
    fed = [flow for flow in net.flows if any(port.unit is buffer for port in flow.destinations)]
    given = [flow for flow in net.flows if flow.source.unit is buffer]
    if len(fed) != 1 or len(given) != 1 or given[0].fabric != "vector" or len(given[0].destinations) != 1:
        return False
    last = given[0].destinations[0].unit
    if last.kind != "pcu" or not isinstance(last.program, SimdProgram) or last.program.packed_output:
        return False
    joined = _tail_behind(first.program, last.program)
    if joined is None:
        return False
    first.program = joined
    _leave_out(net, given[0], buffer, last)
    return True


def _map_before(first, second: SimdProgram, net: Netlist) -> SimdProgram | None:
    """``second``, a reduction, of the values that ``first`` computes."""
    if not isinstance(first, SimdProgram) or second.reduce == Reduce.NONE or second.stages or first.reduce != Reduce.NONE:
        return None
    if first.function != TailFunction.BYPASS or first.packed_output or first.to_scalar or first.accumulate is not None:
        return None
    if first.loops[0] != second.loops[0] or prod(first.loops) != prod(second.loops):
        return None
    # The rows may be counted by one loop or by several; the first unit's loops are those its operands know.
    joined = replace(first, reduce=second.reduce, produce=1, function=second.function, to_vector=False, to_scalar=True,
                     mask=second.mask or first.mask)
    joined.check(net.config.pcu)
    return joined


def _chained(net: Netlist, flow: Flow) -> bool:
    """Joins two maps, or a map and a reduction of what another map makes of its result, if one PCU has room for the steps of both."""
    first, second = flow.source.unit, flow.destinations[0].unit
    a, b = first.program, second.program
    if not (isinstance(a, SimdProgram) and isinstance(b, SimdProgram)) or sum(other.source.unit is first for other in net.flows) != 1:
        return False
    if a.function != TailFunction.BYPASS or a.reduce != Reduce.NONE or a.rounding_seed or (a.accumulate, b.accumulate) != (None, None):
        return False
    ports = {Operand(flow.fabric, port.index) for port in flow.destinations}
    given = b.vectors if flow.fabric == "vector" else b.scalars
    loops = _common_loops(a, b)
    if loops is None or any(given[port.value].level or given[port.value].packed != a.packed_output for port in ports):
        return False
    if a.packed_output:                  # rounded as it would have been on its way
        a = replace(a, packed_output=False, stages=(*a.stages, Stage(Op.TO_BF16, a._result())), result=stage(len(a.stages)))
    joined, moved = _both(a, b, ports, loops)
    try:
        joined.check(net.config.pcu)
        joined._place(net.config.pcu)
    except ProgramError:
        return False
    net.flows.remove(flow)
    for other in net.flows:
        fabric = other.fabric
        other.destinations = [Port(first, moved[Operand(fabric, port.index)].value) if port.unit is second else port
                              for port in other.destinations]
        if other.source.unit is second:
            other.source = first.out(other.source.index)
    net.units.remove(second)
    net.units.remove(first)
    net.units.append(first)
    first.program, first.work = joined, max(first.work, second.work)
    return True


def _common_loops(a: SimdProgram, b: SimdProgram) -> tuple[int, ...] | None:
    """Loops for both; None if they count in different ways. The rows may be counted by one loop or by several."""
    if a.loops == b.loops:
        return a.loops
    if a.loops[:1] != b.loops[:1] or prod(a.loops) != prod(b.loops):
        return None
    return a.loops if _counts_rows_only(b) else b.loops if _counts_rows_only(a) else None


def _counts_rows_only(program: SimdProgram) -> bool:
    """Whether it is the same how rows are counted."""
    used = {operand.kind for step in program.stages for operand in (step.a, step.b, step.c) if isinstance(operand, Operand)}
    inputs = (*program.vectors.values(), *program.scalars.values())
    return "counter" not in used and program.produce <= 1 and all(port.level <= 1 for port in inputs)


def _both(a: SimdProgram, b: SimdProgram, ports: set[Operand], loops: tuple[int, ...]) -> tuple[SimdProgram, dict[Operand, Operand]]:
    """One program for both, and which of its inputs each input of ``b`` has become; ``ports``: inputs of b that a's result feeds."""
    constants = tuple(dict.fromkeys((*a.constants, *b.constants)))
    new: dict[Operand, Operand] = {port: a._result() for port in ports}
    vectors, scalars = dict(a.vectors), dict(a.scalars)
    for mine, others, make in ((vectors, b.vectors, vector), (scalars, b.scalars, scalar)):
        for index, port in others.items():
            if make(index) not in new:
                new[make(index)] = make(len(mine))
                mine[len(mine)] = port
    new |= {stage(number): stage(number + len(a.stages)) for number in range(len(b.stages))}
    new |= {constant(number): constant(constants.index(word)) for number, word in enumerate(b.constants)}
    own = {constant(number): constant(constants.index(word)) for number, word in enumerate(a.constants)}

    def renamed(step: Stage, names: dict) -> Stage:
        return Stage(step.op, *(names.get(operand, operand) for operand in (step.a, step.b, step.c)))
    stages = (*(renamed(step, own) for step in a.stages), *(renamed(step, new) for step in b.stages))
    return replace(b, loops=loops, vectors=vectors, scalars=scalars, constants=constants, stages=stages, result=new[b._result()],
                   mask=b.mask or a.mask), new


def _replace(net: Netlist, flow: Flow, first: VirtualUnit, second: VirtualUnit, program) -> None:
    first.program = program
    first.work = max(first.work, second.work)
    _leave_out(net, flow, first, second)


def _leave_out(net: Netlist, flow: Flow, first: VirtualUnit, second: VirtualUnit) -> None:
    """Takes ``second`` and the ``flow`` to it away; ``first`` sends what it sent."""
    net.flows.remove(flow)
    for other in net.flows:
        if other.source.unit is second:
            other.source = first.out(other.source.index)
    net.units.remove(second)
