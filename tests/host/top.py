"""The host port with the flat names that AXI masters expect, and with defects that its tests must find."""

from __future__ import annotations

import enum

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped

from hw.host.axi_signature import Burst, Response
from hw.host.host_port import HostPort

__all__ = ["HostTop", "Sabotage"]


class Sabotage(enum.IntEnum):
    """Defects of an AXI slave, one at a time."""

    NONE = 0
    RVALID_FALLS = 1        # when the master does not take the beat at once
    RDATA_CHANGES = 2       # while it waits
    RLAST_EARLY = 3
    RID_WRONG = 4
    RRESP_LOST = 5          # always OKAY
    BVALID_FALLS = 6
    BID_WRONG = 7
    BRESP_LOST = 8
    WRAP_AS_INCR = 9
    FIXED_AS_INCR = 10
    STROBES_LOST = 11       # every byte of a beat is written
    SIZE_LOST = 12          # every transfer taken as full width
    BVALID_TWICE = 13


class HostTop(wiring.Component):
    """All ports of :class:`HostPort` under their own names, except ``axil`` and ``axi``: ``s_axil_*`` and ``s_axi_*``.
    ``sabotage`` In: a :class:`Sabotage` of the window."""

    def __init__(self, config):
        self.host = HostPort(config)
        members = dict(self.host.signature.members)
        for bus, prefix in (("axil", "s_axil_"), ("axi", "s_axi_")):
            for name, member in members.pop(bus).signature.members.items():
                members[prefix + name] = member
        super().__init__(members | {"sabotage": In(4)})

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
        self._sabotage(m)
        return m

    def _sabotage(self, m: Module) -> None:
        """Later assignments win over the straight connection."""
        axi, cycle, again = self.host.axi, Signal(8), Signal()
        m.d.sync += cycle.eq(cycle + 1)
        stalled = {channel: Signal(name=f"{channel}_stalled") for channel in "rb"}
        for channel, signal in stalled.items():
            m.d.sync += signal.eq(getattr(self, f"s_axi_{channel}valid") & ~getattr(self, f"s_axi_{channel}ready") & ~signal)
        m.d.sync += again.eq(self.s_axi_bvalid & self.s_axi_bready & ~again)
        with m.Switch(self.sabotage):
            with m.Case(Sabotage.RVALID_FALLS):
                m.d.comb += [self.s_axi_rvalid.eq(axi.rvalid & ~stalled["r"]), axi.rready.eq(self.s_axi_rready & ~stalled["r"])]
            with m.Case(Sabotage.RDATA_CHANGES):
                m.d.comb += self.s_axi_rdata.eq(axi.rdata ^ ~self.s_axi_rready)
            with m.Case(Sabotage.RLAST_EARLY):
                m.d.comb += self.s_axi_rlast.eq(1)
            with m.Case(Sabotage.RID_WRONG):
                m.d.comb += self.s_axi_rid.eq(axi.rid ^ 1)
            with m.Case(Sabotage.RRESP_LOST):
                m.d.comb += self.s_axi_rresp.eq(Response.OKAY)
            with m.Case(Sabotage.BVALID_FALLS):
                m.d.comb += [self.s_axi_bvalid.eq(axi.bvalid & ~stalled["b"]), axi.bready.eq(self.s_axi_bready & ~stalled["b"])]
            with m.Case(Sabotage.BID_WRONG):
                m.d.comb += self.s_axi_bid.eq(axi.bid ^ 4)
            with m.Case(Sabotage.BRESP_LOST):
                m.d.comb += self.s_axi_bresp.eq(Response.OKAY)
            for defect, burst in ((Sabotage.WRAP_AS_INCR, Burst.WRAP), (Sabotage.FIXED_AS_INCR, Burst.FIXED)):
                with m.Case(defect):
                    for channel in ("aw", "ar"):
                        asked = getattr(self, f"s_axi_{channel}burst")
                        m.d.comb += getattr(axi, f"{channel}burst").eq(Mux(asked == burst, Burst.INCR, asked))
            with m.Case(Sabotage.STROBES_LOST):
                m.d.comb += axi.wstrb.eq(~0)
            with m.Case(Sabotage.SIZE_LOST):
                full = (len(axi.wstrb) - 1).bit_length()
                m.d.comb += [axi.awsize.eq(full), axi.arsize.eq(full)]
            with m.Case(Sabotage.BVALID_TWICE), m.If(again):
                m.d.comb += [self.s_axi_bvalid.eq(1), axi.bready.eq(0)]
