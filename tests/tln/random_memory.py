"""Memories with random delays and order for the benches of AGCU and TLN: the Instance, and its control from Python."""

import ctypes
from pathlib import Path

import numpy as np
from amaranth.hdl import Cat, ClockSignal, Const, Instance, ResetSignal, Value

HERE = Path(__file__).parent
SOURCES = [HERE / "random_memory.sv", HERE / "random_memory.cpp"]


def attach(port, number: int, *, bytes_per_beat: int) -> Instance:
    """The memory behind ``port`` (the requester's side of a MemoryPort, or a ChannelPort); add it to ``m.submodules``."""
    request, response = port.request, port.response
    fields = request.payload.shape().members
    if "tier" in fields:
        address = Cat(request.payload.address, request.payload.tier)
    else:                        # a channel counts beats
        address = Cat(Const(0, (bytes_per_beat - 1).bit_length()), request.payload.address)
    return Instance(
        "random_memory", p_BYTES=bytes_per_beat, p_ADDRESS_BITS=len(address), p_TAG_BITS=len(request.payload.tag),
        i_clk=ClockSignal(), i_rst=ResetSignal(), i_number=Const(number, 8),
        i_request_valid=request.valid, o_request_ready=request.ready, i_request_address=address,
        i_request_write=request.payload.write, i_request_tag=request.payload.tag, i_request_mask=request.payload.mask,
        i_request_data=request.payload.data,
        o_response_valid=response.valid, i_response_ready=response.ready, o_response_tag=response.payload.tag,
        o_response_status=Value.cast(response.payload.status), o_response_write=response.payload.write,
        o_response_data=response.payload.data)


class MemoryControl:
    """Sets one memory of a bench up (all counters zero, contents zero) and reaches its bytes."""

    def __init__(self, lib: ctypes.CDLL, number: int, *, tier_bytes: int, tiers: int = 1, request_stall: float = 0,
                 response_stall: float = 0, latency: tuple[int, int] = (1, 1), capacity: int = 64, ordered: bool = False,
                 unique_tags: bool = True, seed: int = 1):
        self.lib, self.number = lib, number
        double, u64 = ctypes.c_double, ctypes.c_uint64
        lib.random_memory_setup(number, u64(tier_bytes), tiers, double(request_stall), double(response_stall), *latency, capacity,
                                ordered, unique_tags, seed)
        lib.random_memory_storage.restype = ctypes.c_void_p
        lib.random_memory_count.restype = u64
        address = lib.random_memory_storage(number)
        array = (ctypes.c_uint8 * (tier_bytes * tiers)).from_address(address)
        self.bytes = np.frombuffer(array, dtype=np.uint8).reshape(tiers, tier_bytes)

    def fail(self, address: int, status: int) -> None:
        """Every access to this byte address (tier above bit 40) ends with ``status``."""
        self.lib.random_memory_break(self.number, ctypes.c_uint64(address), status)

    @property
    def accepted(self) -> int:
        return self.lib.random_memory_count(self.number, 0)

    @property
    def answered(self) -> int:
        return self.lib.random_memory_count(self.number, 1)

    @property
    def most_outstanding(self) -> int:
        return self.lib.random_memory_count(self.number, 2)
