"""The host port with the flat names that AXI masters expect."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped

from hw.host.host_port import HostPort

__all__ = ["HostTop"]


class HostTop(wiring.Component):
    """All ports of :class:`HostPort` under their own names, except ``axil`` and ``axi``: ``s_axil_*`` and ``s_axi_*``."""

    def __init__(self, config):
        self.host = HostPort(config)
        members = dict(self.host.signature.members)
        for bus, prefix in (("axil", "s_axil_"), ("axi", "s_axi_")):
            for name, member in members.pop(bus).signature.members.items():
                members[prefix + name] = member
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.host = host = self.host
        for name, member in host.signature.members.items():
            if name in ("axil", "axi"):
                continue
            if member.is_signature and member.dimensions:
                for outer, inner in zip(getattr(self, name), getattr(host, name), strict=True):
                    connect(m, flipped(outer), inner)
            elif member.is_signature:
                connect(m, flipped(getattr(self, name)), getattr(host, name))
            elif member.flow is In:
                m.d.comb += getattr(host, name).eq(getattr(self, name))
            else:
                m.d.comb += getattr(self, name).eq(getattr(host, name))
        for bus, prefix in (("axil", "s_axil_"), ("axi", "s_axi_")):
            inside = getattr(host, bus)
            for name, member in inside.signature.members.items():
                outer, inner = getattr(self, prefix + name), getattr(inside, name)
                m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        return m
