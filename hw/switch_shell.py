"""The shell around a switch: its program and its events."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .common.program import UNIT_BITS, ConfigRegister, ConfigWrite, shadow_words
from .config import RDNConfig
from .rdn.node import SwitchNode, switch_events, switch_program

__all__ = ["PORT_NAMES", "SwitchShell"]

PORT_NAMES = ("north", "east", "south", "west", "local0", "local1")


class SwitchShell(wiring.Component):
    """A :class:`SwitchNode` on the config network. ``shadow``: its program has a shadow.

    Members: ``unit_id``, ``write``, ``events`` as of :class:`hw.shell.UnitShell`; all others are the node's own.
    """

    def __init__(self, rdn: RDNConfig, *, shadow: bool = False):
        self.identity, self.shadow = (rdn, shadow), shadow
        self.verilog_name = "switch_shell"
        self.node = node = SwitchNode(rdn)
        node._MustUse__silence = True        # of all shells alike, one is elaborated
        self.program_layout = switch_program(rdn)
        self.event_names = [f"{fabric}_{event}_{PORT_NAMES[port]}" for fabric, events in switch_events(rdn).members.items()
                            for event, ports in events.members.items() for port in range(ports)]
        self._links = {name: member for name, member in node.signature.members.items() if name not in ("program", "events")}
        super().__init__({
            "unit_id": In(UNIT_BITS), "write": In(ConfigWrite()), "events": Out(len(self.event_names)), **self._links,
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.node = node = self.node
        m.submodules.config = config = ConfigRegister(
            self.program_layout, shadow_words(self.program_layout) if self.shadow else 0)
        connect(m, config.write, ConfigWrite.registered(m, self.write))
        m.d.comb += [
            config.unit_id.eq(self.unit_id), node.program.eq(config.program), self.events.eq(node.events),
        ]
        for name, member in self._links.items():
            ports = [(getattr(self, name), getattr(node, name))]
            if member.dimensions:
                ports = zip(*ports[0], strict=True)
            for outer, inner in ports:
                if member.is_signature:
                    connect(m, flipped(outer), inner)
                else:
                    m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        return m
