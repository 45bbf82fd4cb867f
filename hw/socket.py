"""One RDU socket: tile, top-level network, memory controllers and host port."""

from __future__ import annotations

import functools
import operator

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .common.event_counters import EventCounters
from .config import RDUConfig
from .dram.controller import EVENTS, DRAMController
from .dram.dfi import DFI
from .dram.timing import dram_timing
from .hierarchy import instantiate
from .host.axi_signature import Axi4, AxiLite
from .host.host_port import HostPort
from .host.registers import ADDRESS_BITS
from .peer.link import PeerLink
from .peer.port import EVENTS as LINK_EVENTS
from .peer.port import PeerPort
from .tile import Tile, counter_names
from .tln.port import channel_tag_bits
from .tln.tln import TLN

__all__ = ["Socket", "channel_events", "event_counters"]

WINDOW_ADDRESS_BITS, WINDOW_ID_BITS = 42, 4


def channel_events(name: str) -> list[str]:
    """The event counters of a channel ("hbm0", "ddr0", "link0"), in index order: the network's in front of it and its own."""
    return ["requests", "stalls", *(LINK_EVENTS if name.startswith("link") else EVENTS)]


def event_counters(config: RDUConfig) -> dict[str, list[str]]:
    """The event counters of each kind of unit of a tile and of each kind of channel, in index order."""
    return counter_names(config) | {name.rstrip("0123456789"): channel_events(name) for name in config.channels}


class Socket(wiring.Component):
    """The whole chip up to its DRAM borders.

    Members: ``axil`` In(AxiLite), registers; ``axi`` In(Axi4), the window into device memory; ``irq`` Out;
    ``hbm[c]``, ``ddr[c]`` Out(DFI), the memory channels. With ``config.peer.links``: ``peer_tx[k]`` Out, ``peer_rx[k]`` In, link k
    to another socket.

    Contract: the counters of the tile's units start again with every reset of the tile, those of channels and links only with
    the socket's own.
    """

    def __init__(self, config: RDUConfig):
        self.config = self.identity = config
        super().__init__({
            "axil": In(AxiLite(address_bits=ADDRESS_BITS)),
            "axi": In(Axi4(address_bits=WINDOW_ADDRESS_BITS, data_bits=8 * config.beat_bytes, id_bits=WINDOW_ID_BITS)),
            "irq": Out(1),
            **{name: Out(DFI(dram_timing(tier, config.beat_bytes), config.beat_bytes if tier.ecc else 0)).array(tier.channels)
               for name, tier in (("hbm", config.hbm), ("ddr", config.ddr))},
            **({"peer_tx": Out(PeerLink(config.beat_bytes)).array(config.peer.links),
                "peer_rx": In(PeerLink(config.beat_bytes)).array(config.peer.links)} if config.peer.links else {}),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        tile, tln, host = Tile(config), TLN(config), HostPort(config)
        m.submodules.tile = instantiate(platform, tile)
        m.submodules.tln = instantiate(platform, tln)
        m.submodules.host = instantiate(platform, host)
        ends = [*self._channels(m, platform, tln), *self._peers(m, platform, tln, host)]

        connect(m, flipped(self.axil), host.axil)
        connect(m, flipped(self.axi), host.axi)
        for requester, port in zip(tln.requesters, [*tile.memory, *host.memory], strict=True):
            connect(m, port, requester)
        connect(m, host.config_write, tile.write)
        m.d.comb += [
            self.irq.eq(host.irq), tile.reset.eq(host.tile_reset),
            tile.execute.eq(host.execute), host.busy.eq(tile.busy), host.fault.eq(tile.fault),
            tile.quiesce.eq(host.quiesce), host.drained.eq(tile.drained), host.token.eq(tile.token),
            tile.select.eq(host.counter_select), host.counter_value.eq(tile.value | self._count(m, platform, tln, ends, host)),
            tln.interleave.eq(host.interleave),
        ]
        return m

    def _channels(self, m: Module, platform, tln: TLN) -> list:
        ends = []
        for name, tier, ports in (("hbm", self.config.hbm, tln.hbm), ("ddr", self.config.ddr, tln.ddr)):
            for index, port in enumerate(ports):
                controller = DRAMController(tier, beat_bytes=self.config.beat_bytes, tag_bits=channel_tag_bits(self.config))
                m.submodules[f"{name}_{index}"] = instantiate(platform, controller)
                connect(m, port, controller.port)
                connect(m, controller.dfi, flipped(getattr(self, name)[index]))
                ends.append(controller)
        return ends

    def _peers(self, m: Module, platform, tln: TLN, host: HostPort) -> list:
        ends = []
        for index in range(self.config.peer.links):
            end = PeerPort(self.config)
            m.submodules[f"peer_{index}"] = instantiate(platform, end)
            connect(m, tln.peer[index], end.port)
            connect(m, end.tx, flipped(self.peer_tx[index]))
            connect(m, flipped(self.peer_rx[index]), end.rx)
            m.d.comb += end.flush.eq(host.quiesce)
            ends.append(end)
        return ends

    def _count(self, m: Module, platform, tln: TLN, ends: list, host: HostPort):
        """The event counters of channels and links, beside them; returns the selected value, as late as the tile's."""
        values = []
        for index, (name, end) in enumerate(zip(self.config.channels, ends, strict=True)):
            counters = EventCounters(channel_events(name))
            counters.verilog_name, counters.instance_name = f"{name.rstrip('0123456789')}_counters", f"{name}_counters"
            m.submodules[counters.instance_name] = instantiate(platform, counters)
            m.d.comb += [counters.unit_id.eq(self.config.channel_id(index)), counters.select.eq(host.counter_select),
                         counters.events.eq(Cat(tln.events.requests[index], tln.events.stalls[index], end.events))]
            values.append(counters.value)
        value = Signal(32)
        m.d.sync += value.eq(functools.reduce(operator.or_, values))
        return value
