"""The AXI4-Lite slave: a register file built from the register map."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .axi_signature import AxiLite, Response
from .registers import ADDRESS_BITS, Access, Register

__all__ = ["RegisterFile"]


class RegisterFile(wiring.Component):
    """Holds and decodes ``registers``.

    Parameters: ``registers`` (:class:`~hw.host.registers.Register`), names in lower case are the members.
    Members:
      ``bus`` In(AxiLite). For a register ``x``:
      RO: ``x`` In(32) (an array for a repeated register); RW: ``x`` Out(32), ``x_set`` In(1) with ``x_next`` In(32): the
      hardware's own write, which yields to the host's; WO: ``x`` Out(32) and ``x_strobe`` Out(1), high for one cycle;
      ``x_refuse`` In(1): answers that write with SLVERR and suppresses the strobe; W1C: ``x`` Out(32), ``x_raise`` In(32), bits
      to set (a bit that is cleared and raised in one cycle stays set);
      with ``read_effect``: ``x_read`` Out(1), high in the cycle in which its value is taken;
      with ``may_stall``: ``x_wait`` In(1), holds a read back.
    Contract: a write takes 2 cycles and a read 2 (address to response), one of each at a time. A byte not strobed keeps its value
    (RW); commands (WO) and W1C take it as 0. An address without a register: DECERR. A write to a register that is read only:
    SLVERR. A register that is write only reads 0.
    """

    def __init__(self, registers: tuple[Register, ...], address_bits: int = ADDRESS_BITS):
        self.registers, self.address_bits = registers, address_bits
        members = {"bus": In(AxiLite(address_bits=address_bits))}
        for item in registers:
            members |= self._members(item)
        super().__init__(members)

    @staticmethod
    def _members(item: Register) -> dict:
        name = item.name.lower()
        members = {
            Access.RO: {name: In(32).array(item.count) if item.count > 1 else In(32)},
            Access.RW: {name: Out(32, init=item.reset), f"{name}_set": In(1), f"{name}_next": In(32)},
            Access.WO: {name: Out(32), f"{name}_strobe": Out(1), f"{name}_refuse": In(1)},
            Access.W1C: {name: Out(32), f"{name}_raise": In(32)},
        }[item.access]
        if item.read_effect:
            members[f"{name}_read"] = Out(1)
        if item.may_stall:
            members[f"{name}_wait"] = In(1)
        return members

    def elaborate(self, platform):
        m = Module()
        self._write(m)
        self._read(m)
        return m

    def _write(self, m: Module) -> None:
        bus = self.bus
        take, mask, value, response = Signal(), Signal(32), Signal(32), Signal(Response, init=Response.DECERR)
        m.d.comb += [
            take.eq(bus.awvalid & bus.wvalid & (~bus.bvalid | bus.bready)),
            bus.awready.eq(take), bus.wready.eq(take),
            mask.eq(Cat(bit.replicate(8) for bit in bus.wstrb)), value.eq(bus.wdata & mask),
        ]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(take):
            m.d.sync += [bus.bvalid.eq(1), bus.bresp.eq(response)]
        chosen = self._decode(m, bus.awaddr, "write")
        m.d.comb += response.eq(Response.DECERR)
        for item in self.registers:
            self._write_one(m, item, chosen[item.name], take, mask, value, response)

    def _write_one(self, m: Module, item: Register, chosen: Signal, take, mask, value, response) -> None:
        name = item.name.lower()
        reg = getattr(self, name)
        with m.If(chosen):
            m.d.comb += response.eq(Response.SLVERR if item.access is Access.RO else Response.OKAY)
        if item.access is Access.RW:
            with m.If(chosen & take):
                m.d.sync += reg.eq(value | (reg & ~mask))
            with m.Elif(getattr(self, f"{name}_set")):
                m.d.sync += reg.eq(getattr(self, f"{name}_next"))
        elif item.access is Access.WO:
            refuse = getattr(self, f"{name}_refuse")
            m.d.comb += [reg.eq(value), getattr(self, f"{name}_strobe").eq(chosen & take & ~refuse)]
            with m.If(chosen & refuse):
                m.d.comb += response.eq(Response.SLVERR)
        elif item.access is Access.W1C:
            m.d.sync += reg.eq((reg & ~Mux(chosen & take, value, 0)) | getattr(self, f"{name}_raise"))

    def _read(self, m: Module) -> None:
        bus = self.bus
        # The address is held first: the wide selection then starts from a register, and does not toggle with the bus.
        address, pending, take, hold = Signal(self.address_bits), Signal(), Signal(), Signal()
        m.d.comb += [bus.arready.eq(~pending), take.eq(pending & ~hold & (~bus.rvalid | bus.rready))]
        with m.If(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(bus.arvalid & ~pending):
            m.d.sync += [address.eq(bus.araddr), pending.eq(1)]
        value, response = Signal(32), Signal(Response)
        with m.If(take):
            m.d.sync += [pending.eq(0), bus.rvalid.eq(1), bus.rdata.eq(value), bus.rresp.eq(response)]
        m.d.comb += response.eq(Response.DECERR)
        with m.Switch(address[2:]):
            for item in self.registers:
                for index in range(item.count):
                    with m.Case((item.address >> 2) + index):
                        m.d.comb += response.eq(Response.OKAY)
                        if item.access is not Access.WO:
                            reg = getattr(self, item.name.lower())
                            m.d.comb += value.eq(reg[index] if item.count > 1 else reg)
        for item in self.registers:
            name, chosen = item.name.lower(), pending & (address[2:] == item.address >> 2)
            if item.may_stall:
                with m.If(chosen & getattr(self, f"{name}_wait")):
                    m.d.comb += hold.eq(1)
            if item.read_effect:
                m.d.comb += getattr(self, f"{name}_read").eq(chosen & take)

    def _decode(self, m: Module, address, what: str) -> dict[str, Signal]:
        chosen = {item.name: Signal(name=f"{what}_{item.name.lower()}") for item in self.registers}
        with m.Switch(address[2:]):
            for item in self.registers:
                for index in range(item.count):
                    with m.Case((item.address >> 2) + index):
                        m.d.comb += chosen[item.name].eq(1)
        return chosen
