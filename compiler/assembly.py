"""Netlists in their order to a program: which kernels are the same, symbols and where they lie, launches and their arguments."""

from __future__ import annotations

import dataclasses

from hw.config import RDUConfig

from .fabric.netlist import Netlist
from .graph.ir import Graph
from .mapping.homes import Layout
from .mapping.memory import Symbol, allocate
from .program import KernelRecord, Launch, Program

IMAGES = 2 << 20         # bytes of HBM kept for kernel images

__all__ = ["Piece", "assemble"]


@dataclasses.dataclass
class Piece:
    """A netlist and how its engines move from launch to launch (numbers of steps by launch dimension)."""

    net: Netlist
    launches: list[tuple[int, ...]]
    nodes: tuple[str, ...]


def assemble(graph: Graph, where: Layout, pieces: list[Piece], config: RDUConfig, seed: int, fuse: str, tell,
             settings: dict[str, bool]) -> Program:
    """The program of the pieces in their order; netlists that differ in addresses only are one kernel. ``settings``: of its kernels."""
    symbols = {symbol.name: symbol for symbol in allocate(_symbols(where, pieces), config, min(IMAGES, config.hbm.bytes // 4))}
    records: dict[str, KernelRecord] = {}
    launches: list[Launch] = []
    for number, piece in enumerate(pieces):
        for unit in piece.net.units:
            if unit.symbol:
                unit.program = dataclasses.replace(unit.program, segment=symbols[unit.symbol].tier)
        key = _key(piece.net)
        if key not in records:
            tell(f"placing kernel {len(records) + 1} ({number + 1} of {len(pieces)}: {piece.net.name})")
            records[key] = KernelRecord.of(piece.net, len(records), seed, piece.nodes, **settings)
        record = records[key]
        for step in piece.launches:
            arguments = {}
            for index, unit in enumerate(piece.net.units):
                if unit.symbol:
                    moved = sum(count * stride for count, stride in zip(step, unit.note.get("launch", ()), strict=False))
                    symbol = symbols[unit.symbol]
                    arguments[f"{unit.kind}{index}"] = (symbol.tier, symbol.address + unit.program.base + moved)
            launches.append(Launch(record.index, arguments, piece.nodes))
    return Program(config=config, graph=graph, fuse=fuse, kernels=list(records.values()), launches=launches, symbols=symbols,
                   homes={name: where.homes[name].symbol for name in (*graph.inputs, *where.graph.outputs)},
                   outputs={name: where.homes[held].symbol for name, held in zip(graph.outputs, where.graph.outputs, strict=True)},
                   constants={name: tensor for name, tensor in where.roots.items() if tensor.is_constant and name in symbols})


def _key(net: Netlist) -> str:
    """What two netlists have in common that can be one kernel."""
    numbers = {unit: index for index, unit in enumerate(net.units)}

    def program(unit):
        return dataclasses.replace(unit.program, base=0) if unit.symbol else unit.program
    units = [(unit.kind, repr(program(unit)), bool(unit.symbol)) for unit in net.units]
    flows = [(flow.fabric, numbers[flow.source.unit], flow.source.index, flow.packets,
              [(numbers[port.unit], port.index) for port in flow.destinations]) for flow in net.flows]
    return repr((units, flows))


def _symbols(where: Layout, pieces: list[Piece]) -> list[Symbol]:
    """Symbols with their lifetimes in pieces."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    traffic: dict[str, int] = {}
    for number, piece in enumerate(pieces):
        for unit in piece.net.units:
            if unit.symbol:
                first.setdefault(unit.symbol, number)
                last[unit.symbol] = number
                traffic[unit.symbol] = traffic.get(unit.symbol, 0) + unit.bytes * len(piece.launches)
    end = len(pieces)
    inputs = {where.homes[name].symbol for name in where.graph.inputs}
    outputs = {where.homes[name].symbol for name in where.graph.outputs}
    found = []
    for name, tensor in where.roots.items():
        if name not in first and name not in inputs | outputs:
            continue
        constant = tensor.is_constant
        found.append(Symbol(
            name, tensor.elements, where.homes[name].size, first=-1 if constant or name in inputs else first.get(name, 0),
            last=end if constant or name in outputs else last.get(name, -1), traffic=traffic.get(name, 0), read_only=constant))
    return found
