"""PCUs joined: a tail function goes behind the unit that makes its operand, a map in front of the reduction of its result."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from hw.fp.function import TailFunction
from hw.pcu.layout import Op, Reduce, Source
from hw.pcu.program import SimdProgram, Stage, SystolicProgram, scalar, vector

from .netlist import Flow, Netlist, VirtualUnit

__all__ = ["join_units"]


def join_units(net: Netlist) -> None:
    """Joins pairs of PCUs until there is no pair left that one PCU can do."""
    while any(_join(net, flow) for flow in list(net.flows)):
        pass


def _join(net: Netlist, flow: Flow) -> bool:
    if len(flow.destinations) != 1:
        return False
    first, second = flow.source.unit, flow.destinations[0].unit
    if first.kind == "pcu" and second.kind == "pmu":
        return _tail_before(net, first, second)
    if first.kind != "pcu" or second.kind != "pcu" or not isinstance(second.program, SimdProgram):
        return False
    joined = _tail_behind(first.program, second.program) or _map_before(first.program, second.program, net)
    if joined is None:
        return False
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
