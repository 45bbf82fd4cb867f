"""Write data on its way to the device, read data and acknowledgements on their way back."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["ResponsePath", "WriteBuffer"]


class WriteBuffer(wiring.Component):
    """The data of the waiting writes, by slot, put on the border ``latency`` cycles after the command.

    Parameters: ``slots``; ``width``, bits of a slot; ``latency`` from a command *on the border* to its data on the border, at
    least 2.
    Members: ``store`` In, ``slot`` In, ``payload`` In: fills a slot; ``issue`` In, ``issue_slot`` In: a write is decided in
    this cycle (it is on the border in the next one); ``output`` Out: the data on the border; ``done`` Out: ``output`` is
    meaningful;
    ``release`` Out, ``released`` Out: the slot that may be filled again.
    """

    def __init__(self, slots: int, width: int, latency: int):
        self.slots, self.width, self.latency = slots, width, latency
        super().__init__({
            "store": In(1), "slot": In(range(slots)), "payload": In(width), "issue": In(1), "issue_slot": In(range(slots)),
            "output": Out(width), "done": Out(1), "release": Out(1), "released": Out(range(slots)),
        })

    def elaborate(self, platform):
        m = Module()
        step = 1 + len(self.slot)
        line = Signal(step * self.latency)                 # slots of issued writes, on their way for the column's latency
        m.d.sync += line.eq(Cat(self.issue, self.issue_slot, line))
        m.d.comb += Cat(self.release, self.released).eq(line[-step:])
        m.submodules.memory = memory = Memory(shape=self.width, depth=self.slots, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        m.d.comb += [write.addr.eq(self.slot), write.data.eq(self.payload), write.en.eq(self.store), read.addr.eq(self.released)]
        m.d.sync += self.done.eq(self.release)
        with m.If(self.release):
            m.d.sync += self.output.eq(read.data)
        return m


class ResponsePath(wiring.Component):
    """Answers in the order of the column commands.

    Parameters: ``depth``, power of two, answers under way; ``tag_bits``; ``response``, layout of an answer.
    Members: ``issue`` In with ``tag`` and ``write`` In: a column command is decided; ``room`` Out: one more may be; ``written``
    In: the data of the oldest unanswered write is on the border; ``read_valid``, ``read_data``, ``read_status`` In: of the
    oldest unanswered read;
    ``response`` Out stream, registered.
    Contract: a write is answered after its data has reached the device, a read two cycles after its data (nothing before it
    waiting).
    Nothing is lost however long ``response`` is not ready.
    """

    def __init__(self, depth: int, tag_bits: int, response: data.StructLayout):
        self.depth, self.tag_bits, self.layout = depth, tag_bits, response
        super().__init__({
            "issue": In(1), "tag": In(tag_bits), "write": In(1), "room": Out(1), "written": In(1),
            "read_valid": In(1), "read_data": In(response["data"].shape), "read_status": In(response["status"].shape),
            "response": Out(stream.Signature(response)),
        })

    def elaborate(self, platform):
        m = Module()
        depth = self.depth
        level, reads, writes = (Signal(range(depth + 1), name=name) for name in ("level", "reads", "writes"))
        head, tail, read_head, read_tail = (
            Signal(range(depth), name=name) for name in ("head", "tail", "read_head", "read_tail"))
        m.submodules.order = order = Memory(shape=self.tag_bits + 1, depth=depth, init=[])
        status_bits = len(self.read_status.as_value())
        m.submodules.data = stored = Memory(shape=len(self.read_data) + status_bits, depth=depth, init=[])
        order_in, order_out = order.write_port(), order.read_port(domain="comb")
        data_in, data_out = stored.write_port(), stored.read_port(domain="comb")
        pop, pop_read, is_write = Signal(), Signal(), order_out.data[-1]
        m.d.comb += [
            order_in.en.eq(self.issue), order_in.addr.eq(tail), order_in.data.eq(Cat(self.tag, self.write)),
            order_out.addr.eq(head), data_out.addr.eq(read_head), data_in.en.eq(self.read_valid), data_in.addr.eq(read_tail),
            data_in.data.eq(Cat(self.read_data, self.read_status)),
            self.room.eq(level != depth),
            pop.eq((level != 0) & Mux(is_write, writes != 0, reads != 0) & (~self.response.valid | self.response.ready)),
            pop_read.eq(pop & ~is_write),
        ]
        m.d.sync += [
            tail.eq(tail + self.issue), head.eq(head + pop), level.eq(level + self.issue - pop),
            read_tail.eq(read_tail + self.read_valid), read_head.eq(read_head + pop_read),
            reads.eq(reads + self.read_valid - pop_read),
            writes.eq(writes + self.written - (pop & is_write)),
        ]
        with m.If(self.response.ready):
            m.d.sync += self.response.valid.eq(0)
        with m.If(pop):
            payload = self.response.payload
            m.d.sync += [self.response.valid.eq(1), payload.tag.eq(order_out.data[:-1]), payload.write.eq(is_write),
                         payload.data.eq(data_out.data[:-status_bits]),
                         payload.status.eq(Mux(is_write, 0, data_out.data[-status_bits:]))]
        return m
