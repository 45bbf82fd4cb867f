"""A socket's end of a link to another socket: a memory channel to the TLN, credits and beats to the outside."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from hw.common.packet import Status
from hw.config import RDUConfig
from hw.tln.arbiter import RoundRobin
from hw.tln.port import channel_tag_bits, peer_channel

from .credits import Credits
from .link import AGCU_BITS, PeerLink, check_of, peer_beat

__all__ = ["EVENTS", "PeerPort"]

EVENTS = ("sent", "received", "no_credit", "damaged")


class PeerPort(wiring.Component):
    """Streams of the AGCUs of this socket to those of another one, and back.

    Members
    -------
    ``port`` In(ChannelPort) from the TLN: a write sends its beat to the AGCU ``address`` of the other socket, a read of AGCU i takes
    the next beat that has come for AGCU i. ``tx`` Out(PeerLink), ``rx`` In(PeerLink). ``flush`` In: forget everything: whatever
    waits here, or comes while it is up, is dropped and answered with DECODE_ERROR.
    ``events`` Out: ``sent``, ``received`` (a beat), ``no_credit`` (beats wait for room at the other end), ``damaged``.

    Contract
    --------
    Beats of one sender for one receiver stay in order; none is lost or doubled. ``port.request`` is always ready: everything that
    the AGCUs can have outstanding has room here, so a stream that stands still holds up no other AGCU, and no cycle of waits over
    two sockets can come about in the network. One beat every ``config.peer.beat_cycles`` cycles each way. A write is
    answered when its beat leaves, a read when its beat is there; one answer a cycle. Bytes that a write does not cover arrive
    as zeros. A beat that was damaged on the link is answered with POISONED.
    Before kernels that use a link are started again after a fault, both its ends are flushed at the same time, for
    longer than the link is long: a reset of both sockets does so.
    """

    def __init__(self, config: RDUConfig):
        self.config = self.identity = config
        self.count = len(config.agcu_ports)
        tag_bits = channel_tag_bits(config)
        self.waiting = data.StructLayout({"beat": peer_beat(config.beat_bytes), "tag": tag_bits})
        super().__init__({
            "port": In(peer_channel(config)),
            "tx": Out(PeerLink(config.beat_bytes)), "rx": In(PeerLink(config.beat_bytes)), "flush": In(1),
            "events": Out(data.StructLayout({name: 1 for name in EVENTS})),
        })

    def elaborate(self, platform):
        m = Module()
        slots, count = self.config.agcu.outstanding, self.count
        outbox = self._queues(m, "outbox", self.waiting.size, slots)
        readers = self._queues(m, "readers", self.waiting["tag"].width, slots)
        inbox = self._queues(m, "inbox", 8 * self.config.beat_bytes + 1, self.config.peer.inbox_beats)
        self._take(m, outbox, readers)
        free, sends, delivers = Signal(), Signal(count), Signal(count)
        response = self.port.response
        m.d.comb += free.eq(~response.valid | response.ready)
        with m.If(response.ready):
            m.d.sync += response.valid.eq(0)
        turn = Signal()                          # who was served last: the link's two directions share the answers fairly
        may_send = self._sendable(m, outbox)
        may_deliver = Cat(reader.r_rdy & (box.r_rdy | self.flush) for reader, box in zip(readers, inbox, strict=True))
        m.submodules.senders = send_turn = RoundRobin(count)
        m.submodules.receivers = deliver_turn = RoundRobin(count)
        chooses = Signal()
        m.d.comb += [
            send_turn.requests.eq(may_send), deliver_turn.requests.eq(may_deliver),
            chooses.eq(may_send.any() & (turn | ~may_deliver.any())),
            sends.eq(Mux(free & chooses, send_turn.grant, 0)), delivers.eq(Mux(free & ~chooses, deliver_turn.grant, 0)),
            send_turn.advance.eq(sends.any()), deliver_turn.advance.eq(delivers.any()),
        ]
        with m.If(sends.any() | delivers.any()):
            m.d.sync += turn.eq(delivers.any())
        self._send(m, outbox, sends)
        self._receive(m, inbox, readers, delivers)
        return m

    def _queues(self, m: Module, name: str, width: int, depth: int) -> list[SyncFIFO]:
        """One for each AGCU."""
        queues = [SyncFIFO(width=width, depth=depth) for _ in range(self.count)]
        for number, queue in enumerate(queues):
            m.submodules[f"{name}_{number}"] = queue
        return queues

    def _take(self, m: Module, outbox, readers) -> None:
        """Requests into the queues of their AGCU, which the upper bits of the tag name."""
        request = self.port.request.payload
        source = request.tag[self.config.agcu.tag_bits:]
        arriving = Signal(self.waiting)
        wide = Cat(bit.replicate(8) for bit in request.mask)
        m.d.comb += [
            self.port.request.ready.eq(1), arriving.tag.eq(request.tag), arriving.beat.agcu.eq(request.address),
            arriving.beat.data.eq(request.data & wide), arriving.beat.check.eq(check_of(arriving.beat)),
        ]
        for number, (box, reader) in enumerate(zip(outbox, readers, strict=True)):
            mine = self.port.request.valid & (source == number)
            m.d.comb += [box.w_en.eq(mine & request.write), box.w_data.eq(arriving), reader.w_en.eq(mine & ~request.write),
                         reader.w_data.eq(request.tag)]

    def _sendable(self, m: Module, outbox):
        """The AGCUs whose next beat has a credit and finds the link free (or is to be dropped)."""
        m.submodules.credits = self.credits = credits = Credits(1 << AGCU_BITS, self.config.peer.inbox_beats)
        spacing = Signal(range(self.config.peer.beat_cycles + 1))
        with m.If(self.tx.valid):
            m.d.sync += spacing.eq(max(0, self.config.peer.beat_cycles - 2))
        with m.Elif(spacing != 0):
            m.d.sync += spacing.eq(spacing - 1)
        link_free = spacing == 0
        if self.config.peer.beat_cycles > 1:
            link_free &= ~self.tx.valid
        heads = [data.View(self.waiting, box.r_data) for box in outbox]
        known = Cat(head.beat.agcu < self.count for head in heads)
        has_credit = Cat(credits.left.bit_select(head.beat.agcu, 1) for head in heads)
        there = Cat(box.r_rdy for box in outbox)
        m.d.comb += [
            credits.back.eq(Mux(self.tx.credit, 1 << self.tx.credit_agcu, 0)),
            self.events.no_credit.eq((there & known & ~has_credit).any()),
        ]
        return there & ((has_credit & link_free.replicate(self.count)) | ~known | self.flush.replicate(self.count))

    def _send(self, m: Module, outbox, sends) -> None:
        """The chosen AGCU's beat to the link, and its answer. An AGCU that the other socket does not have is a decode error."""
        response, goes = self.port.response.payload, Signal()
        m.d.sync += self.tx.valid.eq(goes)
        m.d.comb += self.events.sent.eq(goes)
        for number, box in enumerate(outbox):
            head = data.View(self.waiting, box.r_data)
            m.d.comb += box.r_en.eq(sends[number])
            with m.If(sends[number]):
                known = ~self.flush & (head.beat.agcu < self.count)
                m.d.comb += [goes.eq(known), self.credits.spend.eq(Mux(known, 1 << head.beat.agcu, 0))]
                m.d.sync += [
                    self.tx.beat.eq(head.beat), self.port.response.valid.eq(1), response.tag.eq(head.tag), response.write.eq(1),
                    response.status.eq(Mux(known, Status.OKAY, Status.DECODE_ERROR)),
                ]

    def _receive(self, m: Module, inbox, readers, delivers) -> None:
        """Beats into the inbox of their AGCU, and from there to its reads, in order; every beat taken gives a credit back."""
        beat, response = self.rx.beat, self.port.response.payload
        good, takes = Signal(), Signal(self.count)
        m.d.comb += [
            good.eq(beat.check == check_of(beat)),
            self.events.received.eq(self.rx.valid), self.events.damaged.eq(self.rx.valid & ~good),
        ]
        m.d.sync += self.rx.credit.eq(takes.any())
        for number, (box, reader) in enumerate(zip(inbox, readers, strict=True)):
            earlier = takes[:number].any() if number else 0      # while flushing: one credit a cycle goes back
            m.d.comb += [
                box.w_en.eq(self.rx.valid & (beat.agcu == number)), box.w_data.eq(Cat(beat.data, ~good)),
                takes[number].eq(box.r_rdy & Mux(self.flush, ~earlier, delivers[number])), box.r_en.eq(takes[number]),
                reader.r_en.eq(delivers[number]),
            ]
            with m.If(takes[number]):
                m.d.sync += self.rx.credit_agcu.eq(number)
            with m.If(delivers[number]):
                poisoned = box.r_data[-1]
                m.d.sync += [
                    self.port.response.valid.eq(1), response.tag.eq(reader.r_data), response.write.eq(0),
                    response.data.eq(box.r_data[:-1]),
                    response.status.eq(Mux(self.flush, Status.DECODE_ERROR, Mux(poisoned, Status.POISONED, Status.OKAY))),
                ]
