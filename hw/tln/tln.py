"""The top-level network: memory requesters on one side, memory channels on the other."""

from amaranth.hdl import Cat, Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.common.packet import MemoryPort, Status, memory_response
from hw.config import RDUConfig
from hw.hierarchy import instantiate

from .channel import Merge
from .interleave import DEFAULT_INTERLEAVE, interleave_layout
from .port import ChannelPort, channel_response, channel_tag_bits, peer_channel, requester_count
from .requester import RequestPort, routed_request

__all__ = ["RUN_BEATS", "TLN"]

READS = 128                  # of each load engine that wait in an AGCU's port: all that are under way in the presets
WRITES = 32                  # of an AGCU that wait in its port
RUN_BEATS = 128              # requests of one queue that a channel takes in a row while others wait


class TLN(wiring.Component):
    """Joins the memory requesters of a socket to its memory channels.

    Members
    -------
    ``requesters[r]`` In(MemoryPort): AGCU 0..n-1, the launcher, the host window.
    ``hbm[c]``, ``ddr[c]``, ``peer[k]`` Out(ChannelPort): the channels of each tier, and the links to other sockets, which AGCUs
    alone can reach (attribute ``channels``: all of them in this order).
    ``interleave`` In(:func:`interleave_layout`), how each tier is spread over its channels; left unconnected: one beat per
    channel, hashed. It may change only while no request is under way.
    ``events`` Out: bit vectors over the channels: ``requests`` (one was handed over), ``stalls`` (one waits for the controller).

    Contract
    --------
    One request and one response per requester and cycle, one of each per channel and cycle. Request: 2 cycles from a requester
    to its channel; response: 1 cycle. The port of an AGCU has a queue for the reads of each load engine and one for writes; the
    launcher's and the host's have one each. Requests of one queue stay in order. One whose channel is full holds up those behind it
    in its queue, and those of the requester's other queues only while its own is full. Each channel serves the queues round robin,
    each requester its channels: nobody waits for more than one turn of everybody else. Every request is answered: an address
    outside the memory, or a tier without memory here, with DECODE_ERROR and no effect. ``ready`` of a requester's request and
    the payloads of responses are registers.
    """

    make_port = RequestPort

    def __init__(self, config: RDUConfig):
        self.config = self.identity = config
        memory = MemoryPort(beat_bytes=config.beat_bytes, tag_bits=config.agcu.tag_bits)
        count = config.hbm.channels + config.ddr.channels + config.peer.links
        super().__init__({
            "requesters": In(memory).array(requester_count(config)),
            "hbm": Out(ChannelPort.of(config, config.hbm)).array(config.hbm.channels),
            "ddr": Out(ChannelPort.of(config, config.ddr)).array(config.ddr.channels),
            **({"peer": Out(peer_channel(config)).array(config.peer.links)} if config.peer.links else {}),
            "interleave": In(interleave_layout(), init=DEFAULT_INTERLEAVE),
            "events": Out(data.StructLayout({"requests": count, "stalls": count})),
        })

    @property
    def channels(self) -> list:
        return [*self.hbm, *self.ddr, *(self.peer if self.config.peer.links else ())]

    def elaborate(self, platform):
        m = Module()
        agcus = len(self.config.agcu_ports)
        ports = [self.make_port(self.config, *((self.config.agcu.load_engines, READS, WRITES) if number < agcus else ()))
                 for number in range(len(self.requesters))]
        for number, (port, requester) in enumerate(zip(ports, self.requesters, strict=True)):
            m.submodules[f"port_{number}"] = instantiate(platform, port)
            m.d.comb += [
                port.source.eq(number), port.interleave.eq(self.interleave), port.i.payload.eq(requester.request.payload),
                port.i.valid.eq(requester.request.valid), requester.request.ready.eq(port.i.ready),
            ]
        answers = self._requests(m, platform, ports)
        self._responses(m, platform, answers)
        return m

    def _requests(self, m, platform, ports) -> list:
        """Ports to channels. Returns the response streams of all channels and of the one that answers decode errors."""
        takes = []
        streams = [channel.request for channel in self.channels]
        queues = [(port, queue) for port in ports for queue in range(port.queues)]
        errors = stream.Signature(routed_request(self.config)).create(path=("errors",))
        for number, channel in enumerate([*streams, errors]):
            merge = Merge(routed_request(self.config), len(queues), run=RUN_BEATS, express=0b11 << len(queues) - 2)
            m.submodules[f"channel_{number}"] = instantiate(platform, merge)
            m.d.comb += [merge.wants.eq(Cat(port.target[queue][number] for port, queue in queues)),
                         channel.valid.eq(merge.o.valid), merge.o.ready.eq(channel.ready)]
            m.d.comb += [merge.payloads[index].eq(port.requests[queue]) for index, (port, queue) in enumerate(queues)]
            m.d.comb += [channel.payload[name].eq(merge.o.payload[name]) for name in routed_request(self.config).members]
            takes.append(merge.taken)
        m.d.comb += [port.take[queue].eq(Cat(taken[index] for taken in takes).any()) for index, (port, queue) in enumerate(queues)]
        valid, ready = Cat(channel.valid for channel in streams), Cat(channel.ready for channel in streams)
        m.d.comb += [self.events.requests.eq(valid & ready), self.events.stalls.eq(valid & ~ready)]
        return [*(channel.response for channel in self.channels), self._refuse(m, errors)]

    def _refuse(self, m, errors):
        """The answers to requests that no channel takes."""
        answers = stream.Signature(channel_response(beat_bytes=self.config.beat_bytes, tag_bits=channel_tag_bits(self.config)))
        refusals = answers.create(path=("refusals",))
        m.d.comb += [
            refusals.valid.eq(errors.valid), errors.ready.eq(refusals.ready), refusals.payload.tag.eq(errors.payload.tag),
            refusals.payload.write.eq(errors.payload.write), refusals.payload.status.eq(Status.DECODE_ERROR),
        ]
        return refusals

    def _responses(self, m, platform, answers) -> None:
        """``answers`` of the channels to the requesters that their tags name."""
        tag_bits = self.config.agcu.tag_bits
        layout = memory_response(self.config.beat_bytes, tag_bits)
        takes = []
        for number, requester in enumerate(self.requesters):
            merge = Merge(layout, len(answers))
            m.submodules[f"requester_{number}"] = instantiate(platform, merge)
            wants = Cat(answer.valid & (answer.payload.tag[tag_bits:] == number) for answer in answers)
            m.d.comb += [merge.wants.eq(wants), requester.response.valid.eq(merge.o.valid),
                         merge.o.ready.eq(requester.response.ready),
                         requester.response.payload.eq(merge.o.payload)]
            for index, answer in enumerate(answers):
                m.d.comb += [merge.payloads[index][name].eq(answer.payload[name]) for name in layout.members]
            takes.append(merge.taken)
        m.d.comb += [answer.ready.eq(Cat(taken[index] for taken in takes).any()) for index, answer in enumerate(answers)]
