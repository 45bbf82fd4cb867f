"""Where an address lies: which channel of a tier, and which beat of it."""

from amaranth.hdl import Const, Module, Signal
from amaranth.lib import data

__all__ = ["DEFAULT_INTERLEAVE", "TURN_ROUNDS", "interleave_layout", "locate"]

TURN_BITS = 6
TURN_ROUNDS = 1 << TURN_BITS

# 128 beats: 4 KiB of `small`. While a stream is in one channel, the others can write or open rows.
DEFAULT_GRANULARITY = 7
DEFAULT_INTERLEAVE = {tier: {"granularity": DEFAULT_GRANULARITY, "hash": 1} for tier in ("hbm", "ddr")}


def interleave_layout() -> data.StructLayout:
    """How each tier is spread over its channels.

    ``granularity``: 2**granularity consecutive beats, a chunk, lie in one channel. Chunks go round the channels; with ``hash``
    where a round begins moves every :data:`TURN_ROUNDS` rounds (every higher group of address bits is exclusive-ored, and added
    to the channel number), so that strides of a power of two spread over the channels as well, and yet all streams go round in
    the same order: two of them that are in different channels stay so.
    """
    tier = data.StructLayout({"granularity": 3, "hash": 1})
    return data.StructLayout({"hbm": tier, "ddr": tier})


def locate(m: Module, beat, setting, channel_bits: int, local_bits: int, name: str):
    """(channel, channel-local beat) of the beat index ``beat`` of a tier; one-to-one for every setting."""
    if channel_bits == 0:
        return Signal(1, name=f"{name}_channel"), beat
    moved = Signal(channel_bits + local_bits, name=f"{name}_moved")
    below = Signal(local_bits, name=f"{name}_below")     # the address bits under the channel number; as wide as what it masks
    channel = Signal(channel_bits, name=f"{name}_channel")
    local = Signal(local_bits, name=f"{name}_local")
    folded = Const(0, channel_bits)
    for low in range(channel_bits + TURN_BITS, channel_bits + local_bits, channel_bits):
        folded = folded ^ moved[low:low + channel_bits]
    m.d.comb += [
        moved.eq(beat >> setting.granularity),
        below.eq((1 << setting.granularity) - 1),
        channel.eq(moved[:channel_bits] + (folded & setting.hash.replicate(channel_bits))),
        local.eq((beat[channel_bits:] & ~below) | (beat & below)),
    ]
    return channel, local
