"""The TLN's side of a requester: decodes where a request goes and keeps it in the queue of its stream until its channel takes it."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.common.packet import ENGINE_BITS, Tier, memory_request
from hw.config import RDUConfig
from hw.hierarchy import instantiate
from hw.peer.link import AGCU_BITS, LINK_BITS

from .interleave import interleave_layout, locate
from .port import channel_address_bits, channel_request, channel_tag_bits, source_bits
from .queue import PortQueue

__all__ = ["RequestPort", "routed_request"]

WRITES_ONLY = "mask", "data"


def routed_request(config: RDUConfig) -> data.StructLayout:
    """A request as any channel takes it: ``address`` wide enough for the larger tier."""
    bits = max(channel_address_bits(config, config.hbm), channel_address_bits(config, config.ddr))
    return channel_request(beat_bytes=config.beat_bytes, address_bits=bits, tag_bits=channel_tag_bits(config))


class RequestPort(wiring.Component):
    """Takes the requests of one requester and queues them: those of each load engine, and writes.

    Parameters: ``engines``, load engines with a queue of ``reads`` requests each, beside one for ``writes`` requests that write; without
    ``engines`` that one queue keeps everything, in order.
    Members: ``i`` In stream of memory requests; ``source`` In, the requester's number; ``interleave`` In;
    ``target[q]`` Out, one-hot over [HBM..., DDR..., peer links..., decode error], where the oldest request of queue q goes, zero if
    it is empty; ``requests[q]`` Out, that request (``mask`` and ``data`` are zero in a queue of reads); ``take`` In, bit q: it is taken
    in this cycle, out of any number of queues at once.
    Contract: one request a cycle; a request shows at ``target`` one cycle after it was accepted if its queue is empty. A queue is
    in order and waits for no other one; a request whose queue is full holds up all behind it. ``ready`` is a register: the
    path from the channels to the requester is cut. Address bits below a beat are ignored.
    """

    def __init__(self, config: RDUConfig, engines: int = 0, reads: int = 2, writes: int = 2):
        self.config, self.engines, self.reads, self.writes = config, min(engines, 1 << ENGINE_BITS), reads, writes
        self.identity = (config, engines, reads, writes)
        self.queues = self.engines + 1
        self.layout = routed_request(config)
        self.targets = config.hbm.channels + config.ddr.channels + config.peer.links + 1
        super().__init__({
            "i": In(stream.Signature(memory_request(config.beat_bytes, config.agcu.tag_bits))),
            "source": In(source_bits(config)),
            "interleave": In(interleave_layout()),
            "target": Out(self.targets).array(self.queues),
            "requests": Out(self.layout).array(self.queues),
            "take": In(self.queues),
        })

    def elaborate(self, platform):
        m = Module()
        entry = data.StructLayout({"target": self.targets, **self.layout.members})
        arriving, waiting, entering = (Signal(data.StructLayout({"queue": self.queues, "entry": entry}), name=name)
                                       for name in ("arriving", "waiting", "entering"))
        spare = Signal()                 # ``waiting`` holds a request that came while its queue was full
        push, full, blocked = Signal(self.queues), Signal(self.queues), Signal()
        m.d.comb += [
            arriving.entry.as_value().eq(self._decode(m)), arriving.queue.eq(self._queue_of(self.i.payload)),
            self.i.ready.eq(~spare), entering.eq(Mux(spare, waiting, arriving)),
            push.eq(Mux(spare | self.i.valid, entering.queue & ~full, 0)),
            blocked.eq((spare | self.i.valid) & ~push.any()),
        ]
        m.d.sync += spare.eq(blocked)
        with m.If(blocked & ~spare):
            m.d.sync += waiting.eq(arriving)
        for number in range(self.queues):
            reads = number < self.engines
            kept = data.StructLayout({name: shape for name, shape in entry.members.items() if not reads or name not in WRITES_ONLY})
            queue = PortQueue(kept, self.reads if reads else self.writes)
            m.submodules[f"queue_{number}"] = instantiate(platform, queue)
            m.d.comb += [
                queue.push.eq(push[number]), *(queue.i[name].eq(entering.entry[name]) for name in kept.members),
                full[number].eq(queue.full), queue.pop.eq(self.take[number]),
                self.target[number].eq(Mux(queue.valid, queue.o.target, 0)),
                *(self.requests[number][name].eq(queue.o[name]) for name in kept.members if name != "target"),
            ]
        return m

    def _queue_of(self, request):
        """One-hot: the queue of a request."""
        if not self.engines:
            return Const(1, 1)
        last = self.engines - 1          # takes what names an engine that is not there
        reads = [request.engine == number for number in range(last)]
        return Mux(request.write, 1 << self.engines, Cat(*reads, request.engine >= last))

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
