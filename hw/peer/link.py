"""What travels between two sockets, and where a peer segment points to."""

from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AGCU_BITS", "CHECK_BITS", "LINK_BITS", "PeerLink", "check_of", "peer_address", "peer_beat"]

CHECK_BITS = 8
AGCU_BITS, LINK_BITS = 4, 4      # of a physical peer address: 32 bits of offset, then the AGCU of the other socket, then the link


def peer_address(*, link: int, agcu: int) -> int:
    """The base of a peer segment: what a store engine writes there arrives at AGCU ``agcu`` of the socket behind ``link``."""
    if not 0 <= link < 1 << LINK_BITS or not 0 <= agcu < 1 << AGCU_BITS:
        raise ValueError(f"link={link}, agcu={agcu}: each from 0 to {(1 << LINK_BITS) - 1}")
    return link << 36 | agcu << 32


def peer_beat(beat_bytes: int) -> data.StructLayout:
    """One beat for AGCU ``agcu`` of the receiver; ``check`` guards the rest (bit-interleaved parity)."""
    return data.StructLayout({"agcu": AGCU_BITS, "data": 8 * beat_bytes, "check": CHECK_BITS})


def check_of(beat) -> Value:
    """What ``check`` of a beat must be: bit i is the odd parity of every eighth bit of data and AGCU number, from bit i on."""
    bits = list(Value.cast(beat.data)) + list(Value.cast(beat.agcu))
    return ~Cat(reduce(xor, bits[lane::CHECK_BITS]) for lane in range(CHECK_BITS))


class PeerLink(wiring.Signature):
    """One direction of a link between two sockets, seen from its sender.

    Members: ``valid`` Out, ``beat`` Out: a beat, in any cycle; ``credit`` In, ``credit_agcu`` In: the receiver has room for one
    more beat to this AGCU.
    Contract: there is no ready: a sender has as many credits for each AGCU of the receiver as the receiver has room. So a link
    may be of any length: both directions may be delayed by any number of registers.
    """

    def __init__(self, beat_bytes: int):
        self.beat_bytes = beat_bytes
        super().__init__({"valid": Out(1), "beat": Out(peer_beat(beat_bytes)), "credit": In(1), "credit_agcu": In(AGCU_BITS)})
