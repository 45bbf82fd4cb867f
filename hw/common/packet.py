"""What travels between units: packets of the RDN and requests to memory."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = [
    "FaultCause", "MemoryPort", "Status", "Tier", "failed", "fault_layout", "memory_request", "memory_response", "scalar_packet",
    "vector_data", "vector_packet",
]


def vector_data(lanes: int) -> data.ArrayLayout:
    """``lanes`` words of 32 bits; word 0 in the low bits, as in a little-endian memory image."""
    return data.ArrayLayout(unsigned(32), lanes)


def vector_packet(lanes: int, sequence_bits: int) -> data.StructLayout:
    """One vector and its sequence ID (set by the sender's output port, an operand of a PMU's write address)."""
    return data.StructLayout({"data": vector_data(lanes), "sequence": sequence_bits})


def scalar_packet(sequence_bits: int) -> data.StructLayout:
    """One word and its sequence ID."""
    return data.StructLayout({"data": 32, "sequence": sequence_bits})


class Tier(enum.Enum, shape=2):
    """Where a physical address lies."""

    HBM = 0
    DDR = 1
    HOST = 2
    PEER = 3


class Status(enum.Enum, shape=3):
    """How a memory request ended."""

    OKAY = 0
    CORRECTED = 1          # a single-bit error was corrected
    UNCORRECTABLE = 2      # a double-bit error: the data is not to be used
    DECODE_ERROR = 3       # no such address
    POISONED = 4           # a peer's beat that was damaged on its way


def failed(status):
    """Whether the data of a response with this Status must not be used, or a write was not done."""
    return (status == Status.UNCORRECTABLE) | (status == Status.DECODE_ERROR) | (status == Status.POISONED)


class FaultCause(enum.Enum, shape=4):
    """Why an AGCU stopped a kernel."""

    NONE = 0
    SEGMENT_MISS = 1       # the segment is not valid
    OUT_OF_RANGE = 2       # beyond the segment's limit
    RIGHTS = 3             # the segment does not allow this access
    MISALIGNED = 4
    UNCORRECTABLE = 5      # double-bit memory error
    DECODE_ERROR = 6       # physical address without memory
    POISONED = 7           # a peer's beat was damaged on its way


def fault_layout() -> data.StructLayout:
    """A fault: held from the first occurrence until the unit is reset. ``address`` is virtual: segment << 32 | offset."""
    return data.StructLayout({"valid": 1, "cause": FaultCause, "segment": 4, "offset": 32})


ADDRESS_BITS = 40
ENGINE_BITS = 2              # reads of at most four streams of a requester are told apart


def memory_request(beat_bytes: int, tag_bits: int) -> data.StructLayout:
    """One beat to read or write. ``address`` is in bytes and beat-aligned; ``mask`` has one bit per byte (writes only); ``engine``:
    which stream of the requester a read belongs to (reads of one stream wait for each other in the TLN, those of several do not)."""
    return data.StructLayout({
        "tier": Tier, "address": ADDRESS_BITS, "write": 1, "engine": ENGINE_BITS, "tag": tag_bits, "mask": beat_bytes,
        "data": 8 * beat_bytes,
    })


def memory_response(beat_bytes: int, tag_bits: int) -> data.StructLayout:
    """The answer to one request, read or write, named by its tag; ``data`` is meaningful for reads."""
    return data.StructLayout({"tag": tag_bits, "status": Status, "write": 1, "data": 8 * beat_bytes})


class MemoryPort(wiring.Signature):
    """A requester's port on the TLN. Responses come in any order; a requester must always be able to take one.

    Members: ``request`` Out stream, ``response`` In stream.
    """

    def __init__(self, *, beat_bytes: int, tag_bits: int):
        self.beat_bytes, self.tag_bits = beat_bytes, tag_bits
        super().__init__({
            "request": Out(stream.Signature(memory_request(beat_bytes, tag_bits))),
            "response": In(stream.Signature(memory_response(beat_bytes, tag_bits))),
        })
