"""SECDED ECC of a beat: encoder and corrector."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.common.packet import Status

from .code import CHECK_BITS, DATA, PARITY_MASKS, SINGLE, SYNDROMES, UNCORRECTABLE, WORD_BITS

__all__ = ["Corrector", "check_bits"]


def check_bits(beat) -> Cat:
    """The check bits of a beat, 8 for each of its 64-bit words."""
    words = [beat[low:low + WORD_BITS] for low in range(0, len(beat), WORD_BITS)]
    return Cat((word & mask).xor() for word in words for mask in PARITY_MASKS)


class Corrector(wiring.Component):
    """Corrects a beat.

    Parameters: ``beat_bytes``.
    Members: ``data``, ``check`` In, as read; ``corrected`` Out, the data with single errors repaired; ``status`` Out: OKAY,
    CORRECTED, or UNCORRECTABLE if any word has a double error.
    Contract: combinational. In each word every single error is corrected, every double error reported.
    """

    def __init__(self, beat_bytes: int):
        self.beat_bytes = beat_bytes
        super().__init__({"data": In(8 * beat_bytes), "check": In(beat_bytes), "corrected": Out(8 * beat_bytes),
                          "status": Out(Status)})

    def elaborate(self, platform):
        m = Module()
        words = 8 * self.beat_bytes // WORD_BITS
        syndrome = Signal(words * CHECK_BITS)
        m.d.comb += syndrome.eq(check_bits(self.data) ^ self.check)
        m.submodules.table = table = Memory(shape=9, depth=256, init=SYNDROMES)
        single, double, repaired = 0, 0, []
        for word in range(words):
            port = table.read_port(domain="comb")
            m.d.comb += port.addr.eq(syndrome[word * CHECK_BITS:(word + 1) * CHECK_BITS])
            flip = Mux(port.data[DATA.bit_length() - 1], (1 << port.data[:6])[:WORD_BITS], 0)
            repaired.append(self.data[word * WORD_BITS:(word + 1) * WORD_BITS] ^ flip)
            single = single | port.data[SINGLE.bit_length() - 1]
            double = double | port.data[UNCORRECTABLE.bit_length() - 1]
        m.d.comb += [self.corrected.eq(Cat(repaired)),
                     self.status.eq(Mux(double, Status.UNCORRECTABLE, Mux(single, Status.CORRECTED, Status.OKAY)))]
        return m
