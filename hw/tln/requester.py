"""The TLN's side of a requester: decodes where a request goes and keeps it until its channel takes it."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.common.packet import Tier, memory_request
from hw.config import RDUConfig
from hw.peer.link import AGCU_BITS, LINK_BITS

from .interleave import interleave_layout, locate
from .port import channel_address_bits, channel_request, channel_tag_bits, source_bits

__all__ = ["RequestPort", "routed_request"]


def routed_request(config: RDUConfig) -> data.StructLayout:
    """A request as any channel takes it: ``address`` wide enough for the larger tier."""
    bits = max(channel_address_bits(config, config.hbm), channel_address_bits(config, config.ddr))
    return channel_request(beat_bytes=config.beat_bytes, address_bits=bits, tag_bits=channel_tag_bits(config))


class RequestPort(wiring.Component):
    """Takes the requests of one requester, in order.

    Members: ``i`` In stream of memory requests; ``source`` In, the requester's number; ``interleave`` In;
    ``target`` Out, one-hot over [HBM..., DDR..., peer links..., decode error], zero if nothing waits; ``request`` Out; ``take`` In, the
    request is taken in this cycle.
    Contract: one request a cycle; a request shows at ``target`` one cycle after it was accepted. ``ready`` is a register: the
    path from the channels to the requester is cut. Address bits below a beat are ignored.
    """

    def __init__(self, config: RDUConfig):
        self.config = self.identity = config
        self.layout = routed_request(config)
        self.targets = config.hbm.channels + config.ddr.channels + config.peer.links + 1
        super().__init__({
            "i": In(stream.Signature(memory_request(config.beat_bytes, config.agcu.tag_bits))),
            "source": In(source_bits(config)),
            "interleave": In(interleave_layout()),
            "target": Out(self.targets),
            "request": Out(self.layout),
            "take": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        width = self.targets + Value.cast(self.request).shape().width
        arriving, waiting = Signal(width), Signal(width)
        spare = Signal()                 # ``waiting`` holds a request that came while the one before it stayed
        m.d.comb += arriving.eq(self._decode(m))
        offered = self.i
        stays = Signal()
        m.d.comb += [stays.eq(self.target.any() & ~self.take), offered.ready.eq(~spare)]
        with m.If(~stays):
            with m.If(spare):
                m.d.sync += Cat(self.target, self.request).eq(waiting)
            with m.Elif(offered.valid):
                m.d.sync += Cat(self.target, self.request).eq(arriving)
            with m.Else():
                m.d.sync += self.target.eq(0)
            m.d.sync += spare.eq(0)
        with m.Elif(offered.valid & ~spare):
            m.d.sync += [waiting.eq(arriving), spare.eq(1)]
        return m

    def _decode(self, m):
        """The offered request with its target, as bits."""
        config, offered = self.config, self.i.payload
        shift = (config.beat_bytes - 1).bit_length()
        hits, locals_ = [], []
        for name, tier, number in (("hbm", config.hbm, Tier.HBM), ("ddr", config.ddr, Tier.DDR)):
            channel_bits = tier.channels.bit_length() - 1
            local_bits = channel_address_bits(config, tier)
            size = shift + channel_bits + local_bits
            beat = Signal(channel_bits + local_bits, name=f"{name}_beat")
            m.d.comb += beat.eq(offered.address[shift:])
            channel, local = locate(m, beat, self.interleave[name], channel_bits, local_bits, name)
            inside = Signal(name=f"{name}_inside")
            m.d.comb += inside.eq((offered.tier == number) & ~offered.address[size:].any())
            hits.append((inside << channel)[:tier.channels])
            locals_.append(local)
        address = Signal(self.layout["address"].width)
        m.d.comb += address.eq(Mux(offered.tier == Tier.HBM, *locals_))
        if config.peer.links:
            peer, agcu = Signal(config.peer.links), offered.address[32:32 + AGCU_BITS]
            with m.If((offered.tier == Tier.PEER) & (self.source < len(config.agcu_ports))):
                m.d.comb += [peer.eq(1 << offered.address[36:36 + LINK_BITS]), address.eq(agcu)]
            hits.append(peer)
        hit = Cat(*hits)
        request = {"address": address, "write": offered.write, "tag": Cat(offered.tag, self.source),
                   "mask": offered.mask, "data": offered.data}
        return Cat(hit, ~hit.any(), *(request[name] for name in self.layout.members))
