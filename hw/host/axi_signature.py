"""AXI4 and AXI4-Lite as flat signatures with the standard's signal names, seen from the master."""

from amaranth.hdl import unsigned
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Axi4", "AxiLite", "Burst", "Response"]


class Burst(enum.Enum, shape=2):
    """How the address moves within a burst."""

    FIXED = 0
    INCR = 1
    WRAP = 2


class Response(enum.Enum, shape=2):
    """BRESP and RRESP."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


class AxiLite(wiring.Signature):
    """AXI4-Lite with 32 data bits; ``awprot`` and ``arprot`` are left out (no protected registers)."""

    def __init__(self, *, address_bits: int):
        self.address_bits = address_bits
        super().__init__({
            "awaddr": Out(address_bits), "awvalid": Out(1), "awready": In(1),
            "wdata": Out(32), "wstrb": Out(4), "wvalid": Out(1), "wready": In(1),
            "bresp": In(Response), "bvalid": In(1), "bready": Out(1),
            "araddr": Out(address_bits), "arvalid": Out(1), "arready": In(1),
            "rdata": In(32), "rresp": In(Response), "rvalid": In(1), "rready": Out(1),
        })


class Axi4(wiring.Signature):
    """AXI4; what a memory window does not look at (lock, cache, prot, qos, region, user) is left out."""

    def __init__(self, *, address_bits: int, data_bits: int, id_bits: int):
        self.address_bits, self.data_bits, self.id_bits = address_bits, data_bits, id_bits
        address = {"id": id_bits, "addr": address_bits, "len": 8, "size": 3, "burst": Burst, "valid": 1}
        super().__init__({
            **{f"aw{name}": Out(shape) for name, shape in address.items()}, "awready": In(1),
            "wdata": Out(data_bits), "wstrb": Out(data_bits // 8), "wlast": Out(1), "wvalid": Out(1), "wready": In(1),
            "bid": In(unsigned(id_bits)), "bresp": In(Response), "bvalid": In(1), "bready": Out(1),
            **{f"ar{name}": Out(shape) for name, shape in address.items()}, "arready": In(1),
            "rid": In(id_bits), "rdata": In(data_bits), "rresp": In(Response), "rlast": In(1), "rvalid": In(1), "rready": Out(1),
        })
