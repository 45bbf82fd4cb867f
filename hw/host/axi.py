"""The AXI4 slave: the host's window into device memory, a requester on the top-level network."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.common.packet import MemoryPort, Status, failed
from hw.config import RDUConfig

from .axi_burst import next_address
from .axi_signature import Axi4, Burst, Response

__all__ = ["WINDOW_ADDRESS_BITS", "WINDOW_ID_BITS", "AxiWindow"]

WINDOW_ADDRESS_BITS, WINDOW_ID_BITS = 42, 4


def response_of(status) -> Mux:
    """How a memory status is told to an AXI master; a corrected error is no error to it."""
    other = Mux(failed(status), Response.SLVERR, Response.OKAY)
    return Mux(status == Status.DECODE_ERROR, Response.DECERR, other)


class AxiWindow(wiring.Component):
    """Turns AXI4 bursts into requests for single beats.

    Parameters: ``config``: data width = one memory beat.
    Members: ``axi`` In(Axi4): address bits 39..0 are the byte address, 41..40 the tier; ``memory`` Out(MemoryPort).
    Contract: FIXED, INCR and WRAP bursts of any length and transfer size up to the data width, unaligned starts, any strobes. One
    transfer a cycle each way while the memory keeps up; reads of up to ``slots`` beats are outstanding, across bursts; a
    burst's write response waits for all its beats, and the next burst's data waits for that response to be formed.
    Responses of one channel are in request order. Reads and writes are not ordered with each other: a master that
    wants that waits for the write response. An uncorrectable error answers SLVERR, an address without memory DECERR.
    """

    def __init__(self, config: RDUConfig):
        self.identity = self.config = config
        self.beat_bytes, self.tag_bits = config.beat_bytes, config.agcu.tag_bits
        self.slot_bits = min(4, self.tag_bits - 1)
        self.slots = 1 << self.slot_bits
        super().__init__({
            "axi": In(Axi4(address_bits=WINDOW_ADDRESS_BITS, data_bits=8 * config.beat_bytes, id_bits=WINDOW_ID_BITS)),
            "memory": Out(MemoryPort(beat_bytes=config.beat_bytes, tag_bits=config.agcu.tag_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        # One register holds the request to memory; a stalled request keeps its payload whatever the two channels do.
        request = self.memory.request
        self.room, self.read_turn, self.write_offer, self.read_offer = Signal(), Signal(), Signal(), Signal()
        self.write_grant, self.read_grant = Signal(), Signal()
        m.d.comb += [
            self.room.eq(~request.valid | request.ready),
            self.read_grant.eq(self.room & self.read_offer & (self.read_turn | ~self.write_offer)),
            self.write_grant.eq(self.room & self.write_offer & ~(self.read_turn & self.read_offer)),
            self.memory.response.ready.eq(1),
        ]
        with m.If(self.room):
            m.d.sync += request.valid.eq(self.read_grant | self.write_grant)
        with m.If(self.read_grant | self.write_grant):
            m.d.sync += [self.read_turn.eq(self.write_grant), request.p.write.eq(self.write_grant)]
        self._write(m)
        self._read(m)
        return m

    def _burst(self, m: Module, channel: str, step):
        """Takes bursts off an address channel. Returns (valid, id, address, transfers left)."""
        axi = {name: getattr(self.axi, channel + name) for name in ("id", "addr", "len", "size", "burst", "valid", "ready")}
        valid = Signal(name=f"{channel}_valid")
        left, length = Signal(8, name=f"{channel}_left"), Signal(8, name=f"{channel}_length")
        identity, address = Signal(WINDOW_ID_BITS, name=f"{channel}_id"), Signal(WINDOW_ADDRESS_BITS, name=f"{channel}_address")
        size, burst = Signal(3, name=f"{channel}_size"), Signal(Burst, name=f"{channel}_burst")
        following = next_address(m, address, length, size, burst, channel)
        with m.If(step):
            m.d.sync += [address.eq(following), left.eq(left - 1)]
        with m.If(axi["valid"] & axi["ready"]):
            m.d.sync += [address.eq(axi["addr"]), left.eq(axi["len"]), length.eq(axi["len"]), size.eq(axi["size"]),
                         burst.eq(axi["burst"]), identity.eq(axi["id"])]
        return valid, identity, address, left

    def _target(self, address) -> list:
        request, offset_bits = self.memory.request.p, (self.beat_bytes - 1).bit_length()
        return [request.address.eq(Cat(Const(0, offset_bits), address[offset_bits:40])),
                request.tier.eq(address[40:42])]

    def _write(self, m: Module) -> None:
        axi, request, response = self.axi, self.memory.request.p, self.memory.response
        step = Signal(name="write_step")
        valid, identity, address, left = self._burst(m, "aw", step)
        sent, waiting, worst = Signal(name="write_sent"), Signal(9, name="write_waiting"), Signal(Response, name="write_worst")
        answered, finish = Signal(name="write_answered"), Signal(name="write_finish")
        m.d.comb += [
            axi.awready.eq(~valid),
            self.write_offer.eq(valid & ~sent & axi.wvalid), axi.wready.eq(self.write_grant), step.eq(self.write_grant),
            answered.eq(response.valid & response.p.write),
            finish.eq(sent & (waiting == 0) & (~axi.bvalid | axi.bready)),
        ]
        m.d.sync += waiting.eq(waiting + step - answered)
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [valid.eq(1), sent.eq(0), worst.eq(Response.OKAY)]
        with m.If(step):
            m.d.sync += [*self._target(address), request.mask.eq(axi.wstrb), request.data.eq(axi.wdata),
                         request.tag.eq(1 << self.tag_bits - 1)]
            with m.If(left == 0):
                m.d.sync += sent.eq(1)
        # DECERR > SLVERR > OKAY also as numbers.
        code = Signal(2, name="write_code")
        m.d.comb += code.eq(response_of(response.p.status))
        with m.If(answered & (code > worst.as_value())):
            m.d.sync += worst.eq(code)
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(finish):
            m.d.sync += [valid.eq(0), sent.eq(0), axi.bvalid.eq(1), axi.bid.eq(identity), axi.bresp.eq(worst)]

    def _read(self, m: Module) -> None:
        axi, request, response = self.axi, self.memory.request.p, self.memory.response
        step = Signal(name="read_step")
        valid, identity, address, left = self._burst(m, "ar", step)
        head, tail, used = Signal(self.slot_bits), Signal(self.slot_bits), Signal(self.slot_bits + 1)
        filled, taken = Signal(self.slots, name="filled"), Signal(name="read_taken")
        m.submodules.slots = slots = Memory(shape=8 * self.beat_bytes + 2, depth=self.slots, init=[])
        m.submodules.owners = owners = Memory(shape=WINDOW_ID_BITS + 1, depth=self.slots, init=[])
        fill, drain = slots.write_port(), slots.read_port(domain="comb")
        own, owner = owners.write_port(), owners.read_port(domain="comb")
        arrived = response.valid & ~response.p.write
        m.d.comb += [
            axi.arready.eq(~valid | (step & (left == 0))),
            self.read_offer.eq(valid & (used != self.slots)), step.eq(self.read_grant),
            own.en.eq(step), own.addr.eq(tail), own.data.eq(Cat(identity, left == 0)),
            fill.en.eq(arrived), fill.addr.eq(response.p.tag), fill.data.eq(Cat(response.p.data, response_of(response.p.status))),
            drain.addr.eq(head), owner.addr.eq(head),
            axi.rvalid.eq(filled.bit_select(head, 1)), taken.eq(axi.rvalid & axi.rready),
            Cat(axi.rdata, axi.rresp.as_value()).eq(drain.data), Cat(axi.rid, axi.rlast).eq(owner.data),
        ]
        m.d.sync += [
            used.eq(used + step - taken),
            filled.eq((filled | Mux(arrived, 1 << response.p.tag[:self.slot_bits], 0)) & ~Mux(taken, 1 << head, 0)),
        ]
        with m.If(axi.arready):
            m.d.sync += valid.eq(axi.arvalid)
        with m.If(step):
            m.d.sync += [*self._target(address), tail.eq(tail + 1), request.tag.eq(tail)]
        with m.If(taken):
            m.d.sync += head.eq(head + 1)
