"""The port between the top-level network and one memory channel's controller."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.common.packet import Status
from hw.config import DRAMConfig, RDUConfig
from hw.peer.link import AGCU_BITS

__all__ = ["ChannelPort", "channel_address_bits", "channel_request", "channel_response", "channel_tag_bits", "peer_channel",
           "requester_count", "source_bits"]


def requester_count(config: RDUConfig) -> int:
    """Requesters on the TLN: every AGCU, the launcher and the host window, in that order."""
    return len(config.agcu_ports) + 2


def source_bits(config: RDUConfig) -> int:
    """Width of a requester's number, the upper part of a channel tag."""
    return (requester_count(config) - 1).bit_length()


def channel_tag_bits(config: RDUConfig) -> int:
    """Width of a channel tag: the requester's own tag (low bits), then the requester's number."""
    return config.agcu.tag_bits + source_bits(config)


def channel_address_bits(config: RDUConfig, tier: DRAMConfig) -> int:
    """Width of a beat index within one channel of ``tier``."""
    return ((tier.megabytes_per_channel << 20) // config.beat_bytes - 1).bit_length()


def channel_request(*, beat_bytes: int, address_bits: int, tag_bits: int) -> data.StructLayout:
    """One beat to read or write. ``address`` counts beats within the channel; ``mask`` has one bit per byte (writes only)."""
    return data.StructLayout({
        "address": address_bits, "write": 1, "tag": tag_bits, "mask": beat_bytes, "data": 8 * beat_bytes,
    })


def channel_response(*, beat_bytes: int, tag_bits: int) -> data.StructLayout:
    """The answer to one request, read or write, named by its tag; ``data`` is meaningful for reads."""
    return data.StructLayout({"tag": tag_bits, "status": Status, "write": 1, "data": 8 * beat_bytes})


class ChannelPort(wiring.Signature):
    """A memory channel, seen from the TLN; a controller has ``In(ChannelPort(...))``.

    Parameters: ``beat_bytes``; ``address_bits``, width of the channel-local beat index; ``tag_bits``, requester's tag and
    number together: the controller returns it and does not interpret it.
    Members: ``request`` Out stream of :func:`channel_request`; ``response`` In stream of :func:`channel_response`.
    Contract: exactly one response for each request, in any order; requests of one requester to one beat are ordered by the
    controller (a read that follows a write in the request stream sees it). ``ready`` is honoured in both directions and the
    controller must keep a response that is not taken.
    """

    def __init__(self, *, beat_bytes: int, address_bits: int, tag_bits: int):
        self.beat_bytes, self.address_bits, self.tag_bits = beat_bytes, address_bits, tag_bits
        super().__init__({
            "request": Out(stream.Signature(
                channel_request(beat_bytes=beat_bytes, address_bits=address_bits, tag_bits=tag_bits))),
            "response": In(stream.Signature(channel_response(beat_bytes=beat_bytes, tag_bits=tag_bits))),
        })

    @classmethod
    def of(cls, config: RDUConfig, tier: DRAMConfig) -> "ChannelPort":
        """The port of each channel of ``tier`` (``config.hbm`` or ``config.ddr``)."""
        return cls(beat_bytes=config.beat_bytes, address_bits=channel_address_bits(config, tier),
                   tag_bits=channel_tag_bits(config))


def peer_channel(config: RDUConfig) -> ChannelPort:
    """The port of each link to another socket; the address is the number of an AGCU there."""
    return ChannelPort(beat_bytes=config.beat_bytes, address_bits=AGCU_BITS, tag_bits=channel_tag_bits(config))
