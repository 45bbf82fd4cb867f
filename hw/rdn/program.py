"""The program of a switch node as a person or the compiler writes it: who goes where, by port and label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..common.program import field_position, words_of
from .node import PORT_NAMES, SCALAR_PORTS, switch_program, vector_ports

__all__ = ["End", "SwitchProgram", "SwitchProgramError", "end_name"]

End = tuple[int, int]                # (port, label), or (port, wire) of the control fabric


class SwitchProgramError(ValueError):
    """A program that the switch cannot hold."""


def end_name(end: End) -> str:
    """``"east:2"``."""
    return f"{PORT_NAMES[end[0]]}:{end[1]}"


@dataclass(frozen=True)
class SwitchProgram:
    """What one switch node does.

    Attributes
    ----------
    vector, scalar: (input port, label) -> the (output port, next label) pairs that get a copy of each packet.
    control: (output port, wire) -> the (input port, wire) that it follows.

    Errors: :class:`SwitchProgramError` from :meth:`pack` naming fabric, port, value and limit.
    """

    vector: Mapping[End, frozenset[End]] = field(default_factory=dict)
    scalar: Mapping[End, frozenset[End]] = field(default_factory=dict)
    control: Mapping[End, End] = field(default_factory=dict)

    def values(self, config) -> dict[str, int]:
        """Field path -> value of every entry in use; ``config`` is an RDNConfig."""
        values = {}
        for fabric, ports in (("vector", vector_ports(config)), ("scalar", SCALAR_PORTS)):
            for source, branches in getattr(self, fabric).items():
                self._check(fabric, ports, config.labels, "label", [source, *branches])
                if branches:
                    mask = sum(1 << port * config.labels + label for port, label in branches)
                    values[f"{fabric}[{source[0] * config.labels + source[1]}].branches"] = mask
        wires = config.control_wires
        for target, source in self.control.items():
            self._check("control", SCALAR_PORTS, wires, "wire", [source, target])
            values[f"control[{target[0]}].select[{target[1]}]"] = 1 + source[0] * wires + source[1]
        return values

    def pack(self, config) -> int:
        """The bits of the program (:func:`hw.rdn.node.switch_program`)."""
        layout = switch_program(config)
        return sum(value << field_position(layout, path)[0] for path, value in self.values(config).items())

    def words(self, config) -> dict[int, int]:
        """Word index -> value of the words in use, and of all control words: a wire that nobody uses is off."""
        layout, bits = switch_program(config), self.pack(config)
        first = field_position(layout, "control")[0] // 32
        used = set(range(first, words_of(layout)))
        for path in self.values(config):
            bit, width = field_position(layout, path)
            used |= set(range(bit // 32, -(-(bit + width) // 32)))
        return {index: bits >> 32 * index & 0xFFFFFFFF for index in sorted(used)}

    @classmethod
    def unpack(cls, config, bits: int) -> SwitchProgram:
        """Inverse of :meth:`pack`."""
        layout, tables = switch_program(config), {}
        const = layout.from_bits(bits)
        for fabric, ports in (("vector", vector_ports(config)), ("scalar", SCALAR_PORTS)):
            ends = [(port, label) for port in range(ports) for label in range(config.labels)]
            masks = {end: int(const[fabric][index].branches) for index, end in enumerate(ends)}
            tables[fabric] = {source: frozenset(end for index, end in enumerate(ends) if mask >> index & 1)
                              for source, mask in masks.items() if mask}
        wires, control = config.control_wires, {}
        for port in range(SCALAR_PORTS):
            for wire in range(wires):
                if select := int(const.control[port].select[wire]):
                    control[port, wire] = divmod(select - 1, wires)
        return cls(control=control, **tables)

    def merged(self, other: SwitchProgram) -> SwitchProgram:
        """Both programs in one; the caller has made sure that they share no entry."""
        return SwitchProgram({**self.vector, **other.vector}, {**self.scalar, **other.scalar}, {**self.control, **other.control})

    def describe(self) -> str:
        """One line per entry, for people."""
        lines = [f"{fabric:7} {end_name(source)} -> {', '.join(map(end_name, sorted(branches)))}"
                 for fabric in ("vector", "scalar") for source, branches in sorted(getattr(self, fabric).items())]
        lines += [f"control {end_name(source)} -> {end_name(target)}" for target, source in sorted(self.control.items())]
        return "\n".join(lines)

    @staticmethod
    def _check(fabric: str, ports: int, labels: int, kind: str, ends: list[End]) -> None:
        for port, label in ends:
            if not 0 <= port < ports:
                raise SwitchProgramError(f"{fabric}: port={port} must be below {ports} ({', '.join(PORT_NAMES[:ports])})")
            if not 0 <= label < labels:
                raise SwitchProgramError(f"{fabric}: {kind}={label} at port {PORT_NAMES[port]} must be below {labels}")
