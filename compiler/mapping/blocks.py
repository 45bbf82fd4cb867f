"""Results in blocks on their way to memory: a channel that reads and writes by turns of a few beats spends a third of its time between.

A PMU in front of a store collects a block before the first vector of it leaves. With one buffer nothing comes in meanwhile, so that
all channels only write; with two, the store is a chunk behind the load, which then reads from the other channel.
"""

from __future__ import annotations

from math import prod

from hw.agcu.program import Access
from hw.pcu.program import SimdProgram
from hw.pmu.program import Loop, PMUProgram, Read, Write
from hw.tln.interleave import DEFAULT_GRANULARITY

from ..fabric.netlist import Netlist, Port, VirtualUnit

__all__ = ["CHUNK", "collected", "store_in_blocks"]

CHUNK = 1 << DEFAULT_GRANULARITY         # beats that lie in one channel before the next one's
LEAST = 8 * CHUNK                        # beats of a store below which it does not pay
INTERLEAVED = 1.5                        # cycles of a channel for a beat where reads and writes overlap (measured)


def collected(net: Netlist, source: Port, beats: int, block: int, buffers: int = 1) -> Port:
    """The stream in blocks, each complete before the first vector of it leaves; with one buffer nothing comes in meanwhile."""
    lanes = net.config.lanes
    loops = (Loop(block, lanes), Loop(beats // block))
    program = PMUProgram(write=Write(loops=loops, handover=1, vectors=(0,)), reads=(Read(loops=loops, handover=1),), buffers=buffers,
                         buffer_stride=block * lanes)
    unit = net.add("pmu", "block", program, work=beats)
    net.connect("vector", source, unit.input(0), beats)
    return unit.out(0)


def store_in_blocks(net: Netlist) -> None:
    """Collects what all stores of a kernel of maps and reductions take, if they are long and there are PMUs for it."""
    config, loads, stores = net.config, [*net.of_kind("load")], [*net.of_kind("store")]
    pmus = sum(not config.is_pcu(*point) for point in config.grid) - net.used().pmu
    read, written = (sum(unit.program.iterations for unit in units) for units in (loads, stores))
    if not stores or len(stores) > pmus or 2 * read < written or not all(map(_is_long, stores)) or not all(
            isinstance(unit.program, SimdProgram) for unit in net.of_kind("pcu")):
        return
    channels, room = config.hbm.channels, config.pmu.words // config.lanes
    busy = max((prod(unit.program.loops) for unit in net.of_kind("pcu")), default=0)
    in_turn = max(busy, read / channels) + written / min(channels, len(stores))
    phased = in_turn < INTERLEAVED * (read + written) / channels
    most = room if phased else min(2 * CHUNK, room // 2)
    blocks = [max(size for size in range(1, most + 1) if unit.program.iterations % size == 0) for unit in stores]
    if min(blocks) < CHUNK:
        return
    for unit, block in zip(stores, blocks, strict=True):
        flow = next(flow for flow in net.flows if any(port.unit is unit for port in flow.destinations))
        flow.destinations = [port for port in flow.destinations if port.unit is not unit]
        if not flow.destinations:
            net.flows.remove(flow)
        net.connect("vector", collected(net, flow.source, unit.program.iterations, block, 1 if phased else 2), unit.input(),
                    unit.program.iterations)
        unit.note["phased"] = phased


def _is_long(unit: VirtualUnit) -> bool:
    return unit.program.access is not Access.WORD and unit.program.index is None and unit.program.iterations >= LEAST
