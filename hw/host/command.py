"""Commands of the launcher, from host registers or from a schedule."""

from amaranth.lib import data, enum

from hw.common.packet import ADDRESS_BITS, Tier
from hw.common.program import UNIT_BITS, WORD_BITS

__all__ = ["LENGTH_BITS", "MAX_GROUPS", "Operation", "command_layout", "device_address"]

LENGTH_BITS = 24        # of an image or a schedule, in words
MAX_GROUPS = 16         # bits of a group mask in the registers


class Operation(enum.Enum, shape=2):
    """What a command does."""

    LOAD = 0            # play the image at ``place`` on the config network
    ARGUMENT = 1        # write one program word
    EXECUTE = 2         # start groups
    SCHEDULE = 3        # run the schedule at ``place``


def device_address() -> data.StructLayout:
    """A physical byte address."""
    return data.StructLayout({"offset": ADDRESS_BITS, "tier": Tier})


def command_layout() -> data.StructLayout:
    """``groups``: those to start (EXECUTE), or that must be idle before the command begins (LOAD). ``shadow``: the image goes into
    the shadows (LOAD); all armed programs are exchanged with their shadows first (EXECUTE).

    ``operand.place`` is meaningful for LOAD and SCHEDULE, ``operand.word`` for ARGUMENT.
    """
    return data.StructLayout({
        "operation": Operation, "groups": MAX_GROUPS, "shadow": 1,
        "operand": data.UnionLayout({
            "place": data.StructLayout({"address": device_address(), "words": LENGTH_BITS}),
            "word": data.StructLayout({"data": 32, "word": WORD_BITS, "unit": UNIT_BITS}),
        }),
    })
