"""The simulated device: a socket with the DRAM device models at its borders and flat host ports."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from hw.config import RDUConfig
from hw.hierarchy import instantiate
from hw.socket import Socket

from .dram.device import DRAMDevice

__all__ = ["SimulationTop", "channel_index"]


def channel_index(config: RDUConfig, tier: str, channel: int) -> int:
    """The number of a tier's channel among the device models: those of the HBM first."""
    return channel + (config.hbm.channels if tier == "ddr" else 0)


class SimulationTop(wiring.Component):
    """What Verilator builds: ``s_axil_*`` (AXI4-Lite registers), ``s_axi_*`` (AXI4 window), ``irq``; memory inside.

    The port names are those that cocotbext-axi finds by the prefixes ``s_axil`` and ``s_axi``. ``fatal``: a broken timing rule of
    a DRAM device stops the simulation. With peer links: ``peer_tx_K_*``, ``peer_rx_K_*``, the members of :class:`hw.peer.link.PeerLink`.
    """

    def __init__(self, config: RDUConfig, *, fatal: bool = True):
        self.config, self.fatal = config, fatal
        self.socket = Socket(config)
        members = {f"s_{bus}_{name}": In(port.shape) if port.flow is wiring.In else Out(port.shape)
                   for bus in ("axil", "axi") for name, port in getattr(self.socket, bus).signature.members.items()}
        links = {f"{name}_{member}": In(port.shape) if port.flow is wiring.In else Out(port.shape)
                 for name, link in self._links() for member, port in link.signature.members.items()}
        super().__init__(members | links | {"irq": Out(1)})

    def _links(self):
        """Each end of a peer link, by its name."""
        return [(f"peer_{way}_{number}", link) for way in ("tx", "rx") if self.config.peer.links
                for number, link in enumerate(getattr(self.socket, f"peer_{way}"))]

    def elaborate(self, platform):
        m = Module()
        socket = self.socket
        m.submodules.socket = instantiate(platform, socket)
        m.d.comb += self.irq.eq(socket.irq)
        for prefix, inner in [("s_axil", socket.axil), ("s_axi", socket.axi), *self._links()]:
            for name, port in inner.signature.members.items():
                outside, inside = getattr(self, f"{prefix}_{name}"), getattr(inner, name)
                m.d.comb += inside.eq(outside) if port.flow is wiring.In else outside.eq(inside)
        for tier, memory in (("hbm", self.config.hbm), ("ddr", self.config.ddr)):
            for channel, dfi in enumerate(getattr(socket, tier)):
                device = DRAMDevice(memory, channel_index(self.config, tier, channel), self.config.beat_bytes, fatal=self.fatal)
                m.submodules[f"{tier}_device_{channel}"] = device
                connect(m, dfi, device.dfi)
        return m
