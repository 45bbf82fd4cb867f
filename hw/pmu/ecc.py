"""SECDED ECC of the scratchpad: 6 check bits for each half-word, the smallest piece that is read or written by itself.

An odd-weight-column code: data bit i has column COLUMNS[i] of weight 3, each check bit a unit column. One wrong bit gives its
column; two give a syndrome of even weight, which is no column. Zero has check bits zero.
Source: M. Y. Hsiao, A Class of Optimal Minimum Odd-weight-column SEC-DED Codes, IBM J. Res. Dev. 14 (1970).
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.common.program import program_layout
from hw.config import PMUConfig

from .geometry import CODE_BITS, HALF_BITS, Geometry
from .storage import access_port

__all__ = ["COLUMNS", "ProtectedRead", "ProtectedWrite", "check_bits", "ecc_layout", "encode"]

CHECK_BITS = CODE_BITS - HALF_BITS
# Of the 20 columns of weight 3 these 16 put eight data bits under every check bit.
COLUMNS = [c for c in range(1 << CHECK_BITS) if c.bit_count() == 3 and c not in (0b000111, 0b011001, 0b101010, 0b110100)]


def encode(half: int) -> int:
    """The stored form of a half-word: data in the low bits."""
    check = 0
    for bit, column in enumerate(COLUMNS):
        check ^= column * (half >> bit & 1)
    return half | check << HALF_BITS


def check_bits(half: Value) -> Value:
    """The check bits of a half-word."""
    masks = [sum(1 << bit for bit, column in enumerate(COLUMNS) if column >> check & 1) for check in range(CHECK_BITS)]
    return Cat((half & mask).xor() for mask in masks)


def ecc_layout(config: PMUConfig) -> data.Layout:
    """Error injection, for tests: ``flips`` of the 22 bits of physical half-lane ``lane`` are turned over in write access number
    ``access`` of an execution (0: the first)."""
    return program_layout({"flips": CODE_BITS, "lane": Geometry(config).lane_bits, "access": 32})


class ProtectedWrite(wiring.Component):
    """Between the write path and the storage: check bits, injected errors, and the clearing of the scratchpad after reset.

    Members: ``program`` In(ecc_layout); ``start`` In, an execution begins; ``write``, ``mask``, ``data`` In, of the write path;
    ``memory``, ``memory_mask``, ``memory_data`` Out, to the storage; ``clearing`` Out, no access may be granted.
    Contract: combinational from inputs to outputs. After reset all words are set to zero, one vector a cycle: what was never
    written has valid check bits.
    """

    def __init__(self, config: PMUConfig):
        self.config = self.identity = config
        self.geometry = g = Geometry(config)
        super().__init__({
            "program": In(ecc_layout(config)), "start": In(1), "clearing": Out(1),
            "write": In(access_port(config)), "mask": In(g.half_lanes), "data": In(HALF_BITS * g.half_lanes),
            "memory": Out(access_port(config)), "memory_mask": Out(g.half_lanes), "memory_data": Out(CODE_BITS * g.half_lanes),
        })

    def elaborate(self, platform):
        m = Module()
        g, program = self.geometry, self.program
        swept, number = Signal(g.vector_bits + 1), Signal(32)
        m.d.comb += self.clearing.eq(~swept[-1])
        with m.If(self.start):
            m.d.sync += number.eq(0)
        with m.Elif(self.write.enable):
            m.d.sync += number.eq(number + 1)
        with m.If(self.clearing):
            row, bank = swept[:g.row_bits], swept[g.row_bits:g.vector_bits]
            m.d.sync += swept.eq(swept + 1)
            m.d.comb += [self.memory.enable.eq(1), self.memory.bank.eq(bank), self.memory_mask.eq(-1),
                         self.memory.rows.eq(row.replicate(g.half_lanes))]
        with m.Elif(self.write.enable):
            halves = [self.data.word_select(lane, HALF_BITS) for lane in range(g.half_lanes)]
            hit = program.flips.any() & (number == program.access)
            flips = [Mux(hit & (program.lane == lane), program.flips, 0) for lane in range(g.half_lanes)]
            m.d.comb += [self.memory.eq(self.write), self.memory_mask.eq(self.mask),
                         self.memory_data.eq(Cat(Cat(half, check_bits(half)) ^ flip
                                                 for half, flip in zip(halves, flips, strict=True)))]
        return m


class ProtectedRead(wiring.Component):
    """Between the storage and a read path: corrects single errors, reports double ones.

    Members: ``access`` In, the read at the storage; ``word`` In, only the word at its ``turn`` is used; ``q`` In, what the
    storage read in the last cycle, ``data`` Out, the same corrected; ``corrected`` Out, a bit was wrong in what is used;
    ``failed`` Out, more than one was in a half-word, ``offset`` Out, its byte address in the SRAMs:
    ``((bank * bank_rows + row) * 2 * lanes + half-lane) * 2``, physical.
    Contract: combinational from ``q``; every error of one bit of a half-word is corrected, every one of two is reported.
    """

    def __init__(self, config: PMUConfig):
        self.config = self.identity = config
        self.geometry = g = Geometry(config)
        super().__init__({
            "access": In(access_port(config)), "word": In(1), "q": In(CODE_BITS * g.half_lanes),
            "data": Out(HALF_BITS * g.half_lanes), "corrected": Out(1), "failed": Out(1), "offset": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        access = Signal(access_port(self.config))
        m.d.sync += access.enable.eq(self.access.enable)
        with m.If(self.access.enable):
            m.d.sync += access.eq(self.access)
        used, single, double = Signal(g.half_lanes), Signal(g.half_lanes), Signal(g.half_lanes)
        m.d.comb += used.eq(Mux(self.word, 0b11 << (access.turn & (g.half_lanes - 2)), -1))
        with m.If(access.enable):
            for lane in range(g.half_lanes):
                half, check = self.q.word_select(lane, CODE_BITS)[:HALF_BITS], self.q.word_select(lane, CODE_BITS)[HALF_BITS:]
                syndrome = Signal(CHECK_BITS, name=f"syndrome_{lane}")
                flip = Cat(syndrome == column for column in COLUMNS)
                m.d.comb += [syndrome.eq(check_bits(half) ^ check), self.data.word_select(lane, HALF_BITS).eq(half ^ flip)]
                right = Cat(flip, *(syndrome == 1 << bit for bit in range(CHECK_BITS))).any()
                m.d.comb += [single[lane].eq(right), double[lane].eq(syndrome.any() & ~right)]
            m.d.comb += [self.corrected.eq((single & used).any()), self.failed.eq((double & used).any())]
            for lane in reversed(range(g.half_lanes)):
                beyond = access.straddles & (lane < access.turn)
                with m.If(double[lane] & used[lane]):
                    row = access.rows.word_select(lane, g.row_bits)
                    bank = Mux(beyond, access.bank_next, access.bank)
                    m.d.comb += self.offset.eq(Cat(Const(0, 1), Const(lane, g.lane_bits), row, bank))
        return m
