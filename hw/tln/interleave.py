"""Where an address lies: which channel of a tier, and which beat of it."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data

__all__ = ["DEFAULT_INTERLEAVE", "interleave_layout", "locate"]

DEFAULT_INTERLEAVE = {"hbm": {"granularity": 0, "hash": 1}, "ddr": {"granularity": 0, "hash": 1}}


def interleave_layout() -> data.StructLayout:
    """How each tier is spread over its channels.

    ``granularity``: 2**granularity consecutive beats lie in one channel. ``hash``: the channel number is exclusive-ored with
    every higher group of address bits, so that strides of a power of two spread over the channels as well.
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
    groups = [moved[low:low + channel_bits] for low in range(channel_bits, channel_bits + local_bits, channel_bits)]
    folded = 0
    for group in groups:
        folded = folded ^ group
    m.d.comb += [
        moved.eq(beat >> setting.granularity),
        below.eq((1 << setting.granularity) - 1),
        channel.eq(moved[:channel_bits] ^ (folded & setting.hash.replicate(channel_bits))),
        local.eq((beat[channel_bits:] & ~below) | (beat & below)),
    ]
    return channel, local
