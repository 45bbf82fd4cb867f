"""An AGCU with real memory: top-level network, controllers and the models of their devices."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped

from hw.agcu.agcu import AGCU
from hw.config import RDUConfig
from hw.dram.controller import DRAMController
from hw.tln.port import channel_tag_bits
from hw.tln.tln import TLN
from sim.dram import DRAMDevice

__all__ = ["AGCUWithDRAM"]


class AGCUWithDRAM(wiring.Component):
    """The ports of an AGCU except ``memory``; the TLN's other requesters are tied off. A broken DRAM rule ends the simulation."""

    def __init__(self, config: RDUConfig):
        self.config = config
        self.agcu = AGCU(config.agcu)
        super().__init__({name: member for name, member in self.agcu.signature.members.items() if name != "memory"})

    def elaborate(self, platform):
        m = Module()
        config, agcu = self.config, self.agcu
        m.submodules.agcu = agcu
        m.submodules.tln = tln = TLN(config)
        connect(m, agcu.memory, tln.requesters[0])
        channels = [(tier, port) for tier, ports in ((config.hbm, tln.hbm), (config.ddr, tln.ddr)) for port in ports]
        for number, (tier, channel) in enumerate(channels):
            controller = DRAMController(tier, beat_bytes=config.beat_bytes, tag_bits=channel_tag_bits(config))
            device = DRAMDevice(tier, number, config.beat_bytes)
            m.submodules[f"controller_{number}"], m.submodules[f"device_{number}"] = controller, device
            connect(m, channel, controller.port)
            connect(m, controller.dfi, device.dfi)
        for name, member in self.signature.members.items():
            outer, inner = getattr(self, name), getattr(agcu, name)
            for one, other in zip(outer, inner, strict=True) if member.dimensions else [(outer, inner)]:
                if member.is_signature:
                    connect(m, flipped(one), other)
                else:
                    m.d.comb += other.eq(one) if member.flow is In else one.eq(other)
        return m
