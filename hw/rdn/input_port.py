"""One input of a switch: the buffers of its virtual circuits and the choice of the packet it offers to the outputs."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..hierarchy import instantiate
from .link import Link
from .mask import LevelCounters, RoundRobin, encode

__all__ = ["InputPort"]


class InputPort(wiring.Component):
    """Buffers of ``labels`` virtual circuits; offers one packet a cycle, to as many of its branches as have a credit.

    Parameters: ``payload``, ``labels``, ``depth`` (packets per label) of the link; ``branches``, number of (output port,
    next label) pairs of the switch.

    Members
    -------
    ``link`` In(Link); ``routes`` In, one mask over the branches for each label; ``credits`` In, branches that can take a
    packet; ``request`` Out, branches that the offered packet may go to now; ``payload`` Out, the packet; ``grant`` In, those
    of the requested branches that take it in this cycle; ``asks`` Out, there is a request; ``blocked`` Out, packets wait and no
    branch left to them has a credit: no packet here can move; ``lost`` Out, a packet was offered and nobody took it.

    Contract: a packet is offered one cycle after it crossed the link. It leaves when each branch of its label has taken it
    once; branches that took it are remembered, so each goes on by itself. Labels take turns; one without credit is passed
    over. ``routes`` of a label must not change while it holds a packet; an empty mask holds its packets forever.
    """

    def __init__(self, payload, labels: int, depth: int, branches: int):
        self.payload_layout, self.labels, self.depth, self.branches = payload, labels, depth, branches
        self.identity = (payload, labels, depth, branches)
        super().__init__({
            "link": In(Link(payload, labels)),
            "routes": In(branches).array(labels),
            "credits": In(branches),
            "request": Out(branches),
            "payload": Out(payload),
            "grant": In(branches),
            "asks": Out(1),
            "blocked": Out(1),
            "lost": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        labels = range(self.labels)
        self.held = held = LevelCounters(self.labels, self.depth, full=False)
        turn = RoundRobin(self.labels)
        m.submodules.held, m.submodules.turn = instantiate(platform, held), instantiate(platform, turn)
        self.sent = sent = [Signal(self.branches, name=f"sent_{label}") for label in labels]
        pending = [Signal(self.branches, name=f"pending_{label}") for label in labels]
        arrive, leave = Signal(self.labels), Signal(self.labels)
        offered, left, taken, finished = Signal(self.branches), Signal(self.branches), Signal(), Signal()
        m.d.comb += [pending[label].eq(self.routes[label] & ~sent[label]) for label in labels]
        waiting = self.waiting(m, held.nonzero, arrive, leave)
        m.d.comb += turn.requests.eq(Cat(waiting[label] & (pending[label] & self.credits).any() for label in labels))
        with m.Switch(turn.pick):
            for label in labels:
                with m.Case(1 << label):
                    m.d.comb += offered.eq(pending[label])
        m.d.comb += [
            self.request.eq(offered & self.credits),
            left.eq(offered & ~self.grant),
            taken.eq(self.grant.any()),
            finished.eq(~left.any()),
            arrive.eq(Mux(self.link.valid, 1 << self.link.label, 0)),
            leave.eq(Mux(finished, turn.pick, 0)),
            held.up.eq(arrive),
            held.down.eq(leave),
            turn.done.eq(taken),
            self.link.credit.eq(leave),
            self.asks.eq(turn.pick.any()),
            self.blocked.eq(held.nonzero.any() & ~turn.pick.any()),
            self.lost.eq(turn.pick.any() & ~taken),
        ]
        with m.If(taken):
            for label in labels:
                with m.If(turn.pick[label]):
                    # Bits outside the route are of no meaning.
                    m.d.sync += sent[label].eq(Mux(finished, 0, ~left))
        self._storage(m, arrive, leave, turn.pick)
        return m

    def waiting(self, m: Module, held: Signal, arrive: Signal, leave: Signal) -> Value:
        """The labels whose oldest packet may go, if it has a credit: every label that holds one."""
        return held

    def _storage(self, m: Module, arrive: Signal, leave: Signal, turn: Signal) -> None:
        """One memory for all labels: a ring per label, its two pointers kept as bit planes over the labels."""
        bits = ceil_log2(self.depth)
        m.submodules.packets = packets = Memory(shape=self.payload_layout, depth=self.labels << bits, init=[])
        write, read = packets.write_port(), packets.read_port(domain="comb")
        ends = []
        for name, moved in (("write", arrive), ("read", leave)):
            planes, carry = [Signal(self.labels, name=f"{name}_pointer_{bit}") for bit in range(bits)], moved
            for plane in planes:
                m.d.sync += plane.eq(plane ^ carry)
                carry = carry & plane
            ends.append(planes)
        self.write_pointer, self.read_pointer = ends
        m.d.comb += [
            write.en.eq(self.link.valid),
            write.addr.eq(Cat(Cat((plane & arrive).any() for plane in ends[0]), self.link.label)),
            write.data.eq(self.link.payload),
            read.addr.eq(Cat(Cat((plane & turn).any() for plane in ends[1]), encode(turn))),
            self.payload.eq(read.data),
        ]
