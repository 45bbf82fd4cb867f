"""The shell around a unit's core: its program, its links to the switch, its launch and its events."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .common.packet import scalar_packet, vector_packet
from .common.program import UNIT_BITS, ConfigRegister, ConfigWrite, shadow_words
from .common.unit import DataflowUnit
from .config import RDNConfig
from .programs import ports_of_link, unit_program
from .rdn.node import link_of
from .rdn.receiver import RdnReceiver
from .rdn.sender import SENDER_EVENTS, RdnSender

__all__ = ["UnitShell", "event_names"]

def event_names(core: DataflowUnit, links: int) -> list[str]:
    """Every counter of a unit in index order: the core's events, then those of its senders."""
    senders = [f"vector_link_{link}" for link in range(links)] + ["scalar_link"]
    return core.event_names + [f"{sender}_{event}" for sender in senders for event in SENDER_EVENTS]


class UnitShell(wiring.Component):
    """Joins a core (PCU, PMU or AGCU) to its switch, the config network and the launch logic.

    Parameters
    ----------
    core: the unit itself.
    rdn: configuration of the network.
    groups: number of launch groups.
    links: vector links to the switch, each way (2 for a PCU or PMU, 1 for an AGCU).
    shadow: its program has a shadow (an AGCU's segment table has none: it is of the device, not of a kernel).

    Members
    -------
    ``unit_id`` In, number on the config network; ``write`` In(ConfigWrite); ``execute`` In, pulse per group;
    ``busy`` Out, bit g: the core works for group g; ``events`` Out, one bit per name of
    ``event_names``, a cycle late.
    ``vector_in[l]``, ``scalar_in`` In(Link) from the switch; ``vector_out[l]``, ``scalar_out`` Out(Link) to it;
    ``control_in`` In, ``control_out`` Out, token wires. Members of the core that are none of these (an AGCU's memory
    port) appear under their own names.

    Contract: the core gets ``execute``, a cycle later, only if its program is enabled for that group; a word of ``write`` is in the
    program two cycles later; core input i is label
    ``i // links`` of local link ``i % links``, and core output o likewise.
    """

    def __init__(self, core: DataflowUnit, rdn: RDNConfig, *, groups: int, links: int, shadow: bool = False):
        self.core, self.rdn, self.groups, self.links, self.shadow = core, rdn, groups, links, shadow
        core._MustUse__silence = True        # of all shells alike, one is elaborated
        self.core_name = type(core).__name__.lower()
        self.verilog_name = f"{self.core_name}_shell"
        self.identity = (type(core).__name__, core.identity, rdn, groups, links, shadow)
        self.program_layout = unit_program(core.program_layout, rdn, links=links, vector_outputs=len(core.vector_out),
                                           scalar_outputs=len(core.scalar_out))
        self.event_names = event_names(core, links)
        self._vector = vector_packet(rdn.lanes, rdn.sequence_bits)
        self._scalar = scalar_packet(rdn.sequence_bits)
        vector, scalar = link_of(self._vector, rdn), link_of(self._scalar, rdn)
        inner = {"program", "execute", "busy", "vector_in", "vector_out", "scalar_in", "scalar_out", "events"}
        self._own_members = {name: member for name, member in core.signature.members.items()
                             if name not in inner | {"control_in", "control_out"}}
        super().__init__({
            "unit_id": In(UNIT_BITS),
            "write": In(ConfigWrite()),
            "execute": In(groups),
            "busy": Out(groups),
            "events": Out(len(self.event_names)),
            "vector_in": In(vector).array(links),
            "vector_out": Out(vector).array(links),
            "scalar_in": In(scalar),
            "scalar_out": Out(scalar),
            "control_in": In(core.config.control_wires),
            "control_out": Out(core.config.control_wires),
            **self._own_members,
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = self.core
        m.submodules.config = config = ConfigRegister(
            self.program_layout, shadow_words(self.program_layout) if self.shadow else 0)
        program, execute = config.program, Signal(self.groups)
        connect(m, config.write, ConfigWrite.registered(m, self.write))
        m.d.sync += execute.eq(self.execute)
        m.d.comb += [
            config.unit_id.eq(self.unit_id),
            core.program.eq(program.core),
            core.execute.eq(program.launch.enable & execute.bit_select(program.launch.group, 1)),
            self.busy.eq(core.busy << program.launch.group),
            core.control_in.eq(self.control_in), self.control_out.eq(core.control_out),
        ]
        for name in self._own_members:
            self._pass_through(m, name)
        events = [core.events]
        for link in range(self.links):
            ports = {"used_in": ports_of_link(len(core.vector_in), link, self.links),
                     "used_out": ports_of_link(len(core.vector_out), link, self.links)}
            self._receive(m, f"vector_{link}", self._vector, self.vector_in[link], [core.vector_in[i] for i in ports["used_in"]])
            events += self._send(m, f"vector_link_{link}", self._vector, self.vector_out[link],
                                 [core.vector_out[i] for i in ports["used_out"]], program, core.execute)
        self._receive(m, "scalar", self._scalar, self.scalar_in, list(core.scalar_in))
        events += self._send(m, "scalar_link", self._scalar, self.scalar_out, list(core.scalar_out), program, core.execute)
        m.d.sync += self.events.eq(Cat(events))
        return m

    def _pass_through(self, m: Module, name: str) -> None:
        outer, inner = getattr(self, name), getattr(self.core, name)
        member = self._own_members[name]
        if member.is_signature:
            connect(m, flipped(outer), inner)
        else:
            m.d.comb += (inner.eq(outer) if member.flow is In else outer.eq(inner))

    def _receive(self, m: Module, name: str, payload, link, streams: list) -> None:
        receiver = RdnReceiver(payload, self.rdn, len(streams))
        m.submodules[f"{name}_receiver"] = receiver
        connect(m, flipped(link), receiver.link)
        for source, target in zip(receiver.streams, streams, strict=True):
            connect(m, source, target)

    def _send(self, m: Module, name: str, payload, link, streams: list, program, restart) -> list:
        sender = RdnSender(payload, self.rdn, len(streams))
        m.submodules[f"{name}_sender"] = sender
        connect(m, sender.link, flipped(link))
        m.d.comb += [sender.program.eq(program[name]), sender.restart.eq(restart)]
        for source, target in zip(streams, sender.streams, strict=True):
            connect(m, source, target)
        return [getattr(sender.events, event).any() for event in SENDER_EVENTS]
