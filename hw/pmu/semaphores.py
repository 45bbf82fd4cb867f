"""Whole buffers handed from the write engine to every read engine and back."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Semaphores"]


class Semaphores(wiring.Component):
    """N-buffering between one writer and ``readers`` readers.

    Parameters: ``readers``; ``bits`` of the buffer count.
    Members (bit r belongs to reader r):
      ``clear`` In, all buffers free; ``buffers`` In, how many there are; ``synchronised`` In, readers that take part;
      ``claimed`` In, the writer has issued the last write of a buffer; ``written`` In, that write has been performed;
      ``taken`` In, the reader has issued its last read of a buffer; ``released`` In, that read has been performed;
      ``may_write`` Out, the writer owns a buffer; ``may_read`` Out, the reader owns one (always, if not synchronised).
    Contract: a reader never owns a buffer before the writer's last write to it was performed; the writer never owns one
    before every synchronised reader's last read of it was performed. A signal takes effect in the next cycle.
    """

    def __init__(self, readers: int, bits: int):
        self.readers, self.bits = readers, bits
        # Buffers that the writer has gone past and a reader still needs; buffers that a reader can still begin to read.
        self.held = [Signal(bits, name=f"held_{reader}") for reader in range(readers)]
        self.full = [Signal(bits, name=f"full_{reader}") for reader in range(readers)]
        super().__init__({
            "clear": In(1), "buffers": In(bits), "synchronised": In(readers),
            "claimed": In(1), "written": In(1), "taken": In(readers), "released": In(readers),
            "may_write": Out(1), "may_read": Out(readers),
        })

    def elaborate(self, platform):
        m = Module()
        free = []
        for reader in range(self.readers):
            held, full = self.held[reader], self.full[reader]
            for count, up, down in ((held, self.claimed, self.released[reader]), (full, self.written, self.taken[reader])):
                with m.If(self.clear):
                    m.d.sync += count.eq(0)
                with m.Elif(up & ~down):
                    m.d.sync += count.eq(count + 1)
                with m.Elif(down & ~up):
                    m.d.sync += count.eq(count - 1)
            free.append((held < self.buffers) | ~self.synchronised[reader])
            m.d.comb += self.may_read[reader].eq(full.any() | ~self.synchronised[reader])
        m.d.comb += self.may_write.eq(Cat(free).all())
        return m
