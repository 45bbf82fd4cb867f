"""The flattened ports of a component: their names in Python, in Verilog, and which of them form streams and links."""

from __future__ import annotations

import re
from dataclasses import dataclass

from amaranth.hdl import Shape, Signal, Value
from amaranth.lib import stream, wiring

from hw.rdn.link import Link

__all__ = ["LinkPorts", "Port", "Ports", "StreamPorts"]


@dataclass(frozen=True)
class Port:
    """One Verilog port. ``name`` as in Python ("vector_in[0].valid"), ``verilog`` as generated, ``shape`` as declared."""

    name: str
    verilog: str
    width: int
    input: bool
    shape: object


@dataclass(frozen=True)
class StreamPorts:
    """A stream by port names; a member that is a constant (always ready, always valid) or has no bits is None."""

    name: str
    valid: str | None
    ready: str | None
    payload: str | None
    input: bool


@dataclass(frozen=True)
class LinkPorts:
    name: str
    valid: str
    label: str | None
    payload: str | None
    credit: str
    input: bool
    labels: int


class Ports:
    """All ports, streams and links of ``component`` whose Verilog is ``verilog`` (its module: ``top``).

    ``ports`` is in order of declaration, the clock and reset (if the design has them) last. A port without bits does not exist.
    """

    def __init__(self, component: wiring.Component, verilog: str, top: str):
        self.ports: list[Port] = []
        for path, member, value in component.signature.flatten(component):
            cast = Value.cast(value)
            if isinstance(cast, Signal) and len(cast):
                flat = "__".join(map(str, path))
                self.ports.append(Port(_dotted(path), flat, len(cast), member.flow is wiring.In, member.shape))
        header = re.search(rf"^module {re.escape(top)}\((.*?)\);", verilog, re.MULTILINE | re.DOTALL)[1].split(",")
        for pin in ("clk", "rst"):
            if pin in {word.strip() for word in header}:
                self.ports.append(Port(pin, pin, 1, True, Shape(1)))
        self.index = {port.name: number for number, port in enumerate(self.ports)}
        self.streams: dict[str, StreamPorts] = {}
        self.links: dict[str, LinkPorts] = {}
        self._walk(component.signature.members, (), True)

    def _walk(self, members, path: tuple, outward: bool) -> None:
        for name, member in members.items():
            self._member((*path, name), member, member.dimensions if hasattr(member, "dimensions") else (), outward)

    def _member(self, path: tuple, member: wiring.Member, dimensions, outward: bool) -> None:
        if member.is_port:
            return
        if dimensions:
            for number in range(dimensions[0]):
                self._member((*path, number), member, dimensions[1:], outward)
            return
        signature = member.signature             # of an In member: already flipped
        flipped = isinstance(signature, wiring.FlippedSignature)
        unflipped, out = signature.flip() if flipped else signature, outward != flipped
        name = _dotted(path)

        def port(part: str) -> str | None:
            return f"{name}.{part}" if f"{name}.{part}" in self.index else None

        if isinstance(unflipped, stream.Signature):
            self.streams[name] = StreamPorts(name, port("valid"), port("ready"), port("payload"), not out)
        elif isinstance(unflipped, Link):
            self.links[name] = LinkPorts(name, port("valid"), port("label"), port("payload"), port("credit"), not out,
                                         unflipped.labels + unflipped.slots)
        else:
            self._walk(unflipped.members, path, out)


def _dotted(path: tuple) -> str:
    return re.sub(r"^\.", "", "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path))
