"""A device small enough to read: sixteen registers on AXI4-Lite, a memory on AXI4, an interrupt after a programmed delay."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["HostExample"]


class HostExample(wiring.Component):
    """Register 0 written with n raises ``irq`` n cycles later; any write to register 1 lowers it. ``beat_bytes`` per beat, 8 KiB.

    Registers from 0x40 on answer SLVERR, 0x80 never answers. One transaction at a time.
    """

    def __init__(self, beat_bytes: int = 32):
        self.beat_bytes = beat_bytes
        lite = {"awaddr": In(12), "awvalid": In(1), "awready": Out(1), "wdata": In(32), "wstrb": In(4), "wvalid": In(1),
                "wready": Out(1), "bresp": Out(2), "bvalid": Out(1), "bready": In(1),
                "araddr": In(12), "arvalid": In(1), "arready": Out(1),
                "rdata": Out(32), "rresp": Out(2), "rvalid": Out(1), "rready": In(1)}
        full = {}
        for channel in ("aw", "ar"):
            full |= {f"{channel}id": In(4), f"{channel}addr": In(42), f"{channel}len": In(8), f"{channel}size": In(3),
                     f"{channel}burst": In(2), f"{channel}valid": In(1), f"{channel}ready": Out(1)}
        full |= {"wdata": In(8 * beat_bytes), "wstrb": In(beat_bytes), "wlast": In(1), "wvalid": In(1), "wready": Out(1),
                 "bid": Out(4), "bresp": Out(2), "bvalid": Out(1), "bready": In(1), "rid": Out(4), "rdata": Out(8 * beat_bytes),
                 "rresp": Out(2), "rlast": Out(1), "rvalid": Out(1), "rready": In(1)}
        ports = {f"s_axil_{name}": port for name, port in lite.items()} | {f"s_axi_{name}": port for name, port in full.items()}
        super().__init__(ports | {"irq": Out(1)})

    def elaborate(self, platform):
        m = Module()
        self._registers(m)
        self._window(m)
        return m

    def _registers(self, m):
        m.submodules.registers = store = memory.Memory(shape=32, depth=16, init=[])
        write, read = store.write_port(), store.read_port(domain="comb")
        delay = Signal(32)
        take = self.s_axil_awvalid & self.s_axil_wvalid & ~self.s_axil_bvalid & (self.s_axil_awaddr != 0x80)
        m.d.comb += [self.s_axil_awready.eq(take), self.s_axil_wready.eq(take), write.addr.eq(self.s_axil_awaddr[2:6]),
                     write.data.eq(self.s_axil_wdata), write.en.eq(take), read.addr.eq(self.s_axil_araddr[2:6]),
                     self.s_axil_arready.eq(~self.s_axil_rvalid)]
        with m.If(delay != 0):
            m.d.sync += [delay.eq(delay - 1), self.irq.eq(self.irq | (delay == 1))]
        with m.If(self.s_axil_bvalid & self.s_axil_bready):
            m.d.sync += self.s_axil_bvalid.eq(0)
        with m.If(take):
            m.d.sync += [self.s_axil_bvalid.eq(1), self.s_axil_bresp.eq(2 * (self.s_axil_awaddr >= 0x40))]
            with m.If(self.s_axil_awaddr == 0):
                m.d.sync += delay.eq(self.s_axil_wdata)
            with m.If(self.s_axil_awaddr == 4):
                m.d.sync += self.irq.eq(0)
        with m.If(self.s_axil_rvalid & self.s_axil_rready):
            m.d.sync += self.s_axil_rvalid.eq(0)
        with m.If(self.s_axil_arvalid & self.s_axil_arready):
            m.d.sync += [self.s_axil_rvalid.eq(1), self.s_axil_rdata.eq(read.data),
                         self.s_axil_rresp.eq(2 * (self.s_axil_araddr >= 0x40))]

    def _window(self, m):
        shift, depth = (self.beat_bytes - 1).bit_length(), 8192 // self.beat_bytes
        m.submodules.store = store = memory.Memory(shape=8 * self.beat_bytes, depth=depth, init=[])
        write, read = store.write_port(granularity=8), store.read_port(domain="comb")
        to, left, writing = Signal(range(depth)), Signal(9), Signal()
        m.d.comb += [
            self.s_axi_awready.eq(~writing & ~self.s_axi_bvalid), self.s_axi_wready.eq(writing), write.addr.eq(to),
            write.data.eq(self.s_axi_wdata),
            write.en.eq(self.s_axi_wstrb & (self.s_axi_wvalid & writing).replicate(self.beat_bytes)),
        ]
        with m.If(self.s_axi_bvalid & self.s_axi_bready):
            m.d.sync += self.s_axi_bvalid.eq(0)
        with m.If(self.s_axi_awvalid & self.s_axi_awready):
            m.d.sync += [writing.eq(1), to.eq(self.s_axi_awaddr >> shift), self.s_axi_bid.eq(self.s_axi_awid)]
        with m.If(self.s_axi_wvalid & writing):
            m.d.sync += to.eq(to + 1)
            with m.If(self.s_axi_wlast):
                m.d.sync += [writing.eq(0), self.s_axi_bvalid.eq(1)]
        at = Signal(range(depth))
        m.d.comb += [self.s_axi_arready.eq(left == 0), self.s_axi_rvalid.eq(left != 0), self.s_axi_rlast.eq(left == 1),
                     read.addr.eq(at), self.s_axi_rdata.eq(read.data)]
        with m.If(self.s_axi_arvalid & self.s_axi_arready):
            m.d.sync += [left.eq(self.s_axi_arlen + 1), at.eq(self.s_axi_araddr >> shift), self.s_axi_rid.eq(self.s_axi_arid)]
        with m.If(self.s_axi_rvalid & self.s_axi_rready):
            m.d.sync += [left.eq(left - 1), at.eq(at + 1)]
