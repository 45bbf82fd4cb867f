"""The start of a link at a unit: throttle, sequence IDs, credits and the choice among the unit's output ports."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..common.program import program_layout
from .dynamic import destination_layout
from .mask import LevelCounters, RoundRobin, encode, lowest
from .node import link_of

__all__ = ["BURST_BITS", "SENDER_EVENTS", "RdnSender", "port_program", "sender_program"]

BURST_BITS = 4
SENDER_EVENTS = ("forwarded", "blocked", "lost", "throttled")


def port_program(config) -> data.Layout:
    """Program of one output port; ``config`` is an RDNConfig.

    ``rate``, throttle: packets per cycle in 1/2**rate_bits, 0 = off; ``burst``, packets that may leave back to back after
    a pause (0 counts as 1); packet n since ``restart`` has sequence ID ``base + stride * (n mod modulo)`` (``modulo`` 0:
    2**sequence_bits). All zero: no throttle and every ID 0.
    With ``dynamic_slots`` also ``dynamic``: ``enable``, packets travel dimension-order instead of by label, to the unit that
    ``destination`` names or, ``by_data``, to the one that the low bits of their first word name in the same layout.
    """
    sequence_bits = config.sequence_bits
    fields = {"rate": config.rate_bits, "burst": BURST_BITS, "stride": sequence_bits, "base": sequence_bits, "modulo": sequence_bits}
    if config.dynamic_slots:
        destination = destination_layout(config.coordinate_bits, config.labels)
        fields["dynamic"] = data.StructLayout({"enable": 1, "by_data": 1, "destination": destination})
    return program_layout(fields)


def sender_program(config, used: int) -> data.Layout:
    """Program of a sender with ``used`` ports: an array of :func:`port_program`; ``config`` is an RDNConfig."""
    return data.ArrayLayout(port_program(config), used)


class _SequenceIDs(wiring.Component):
    """The sequence IDs of one output port; see :func:`port_program`."""

    def __init__(self, program: data.Layout, bits: int):
        self.bits = bits
        super().__init__({"program": In(program), "restart": In(1), "step": In(1), "sequence": Out(bits)})

    def elaborate(self, platform):
        m = Module()
        count, offset = Signal(self.bits), Signal(self.bits)
        following = (count + 1)[:self.bits]
        m.d.comb += self.sequence.eq(self.program.base + offset)
        with m.If(self.restart | (self.step & (following == self.program.modulo))):
            m.d.sync += [count.eq(0), offset.eq(0)]
        with m.Elif(self.step):
            m.d.sync += [count.eq(following), offset.eq(offset + self.program.stride)]
        return m


class _TokenBucket(wiring.Component):
    """The throttle of one output port; see :func:`port_program`. ``open`` Out: a packet may leave."""

    def __init__(self, program: data.Layout, rate_bits: int):
        self.rate_bits = rate_bits
        super().__init__({"program": In(program), "restart": In(1), "step": In(1), "open": Out(1)})

    def elaborate(self, platform):
        m = Module()
        # The bucket counts what has been spent, not what is left, so that it is full after reset whatever its size.
        spent, now = Signal(BURST_BITS + self.rate_bits + 1), Signal(BURST_BITS + self.rate_bits + 1)
        room = Mux(self.program.burst == 0, 0, self.program.burst - 1)
        m.d.comb += [
            self.open.eq(spent <= (room[:BURST_BITS] << self.rate_bits)),
            now.eq(spent + (self.step << self.rate_bits)),
        ]
        with m.If(self.restart | (self.program.rate == 0)):
            m.d.sync += spent.eq(0)
            m.d.comb += self.open.eq(1)
        with m.Else():
            m.d.sync += spent.eq(Mux(now > self.program.rate, now - self.program.rate, 0))
        return m


class RdnSender(wiring.Component):
    """Joins a unit's output ports to one link; port p sends with label p, or dynamic packets.

    Parameters
    ----------
    packet: layout of a unit's packet, with fields ``data`` and ``sequence``.
    config: an RDNConfig: labels, credits for each, slots for dynamic packets, resolution of the throttle.
    used: number of ports (0..labels).

    Members
    -------
    ``streams[p]`` In, plain data of port p; ``link`` Out(Link); ``program`` In, an array of :func:`port_program`;
    ``restart`` In, pulse: sequence IDs begin anew and the buckets are full (give it the unit's ``execute``);
    ``events`` Out, a struct of masks over the ports. A waiting packet is counted in exactly one of ``forwarded``,
    ``throttled``, ``blocked`` (no credit), ``lost`` (another port's turn).

    Contract: no latency (a packet crosses the link in the cycle in which its stream transfers); one packet a cycle;
    round robin among ports that have a packet, a credit and a token. A throttled port sends at most
    ``burst + rate * t`` packets in any t cycles. ``ready`` depends on ``valid`` combinationally, ``link`` on ``streams``.
    """

    def __init__(self, packet: data.StructLayout, config, used: int):
        if not 0 <= used <= config.labels:
            raise ValueError(f"used={used} must be from 0 to labels={config.labels}")
        self.packet, self.config, self.used = packet, config, used
        self.identity = (packet, config, used)
        super().__init__({
            "streams": In(stream.Signature(packet["data"].shape)).array(used),
            "link": Out(link_of(packet, config)),
            "program": In(sender_program(config, used)),
            "restart": In(1),
            "events": Out(data.StructLayout({name: used for name in SENDER_EVENTS})),
        })

    def elaborate(self, platform):
        m = Module()
        if not self.used:
            return m
        labels, slots = self.config.labels, self.config.dynamic_slots
        m.submodules.credits = credits = LevelCounters(self.used, self.config.buffer_depth, full=True)
        m.submodules.turn = turn = RoundRobin(self.used)
        waiting, tokens, credit, pick = Signal(self.used), Signal(self.used), Signal(self.used), turn.pick
        dynamic, free = Signal(self.used), Signal(slots, init=(1 << slots) - 1)
        m.d.comb += [
            waiting.eq(Cat(port.valid for port in self.streams)),
            credit.eq(Mux(free.any(), dynamic, 0) | credits.nonzero & ~dynamic),
            turn.requests.eq(waiting & tokens & credit),
            turn.done.eq(self.link.valid),
            credits.up.eq(self.link.credit[:self.used]),
            credits.down.eq(pick & ~dynamic),
            self.link.valid.eq(pick.any()),
            self.link.label.eq(encode(pick)),
            self.events.forwarded.eq(pick),
            self.events.throttled.eq(waiting & ~tokens),
            self.events.blocked.eq(waiting & tokens & ~credit),
            self.events.lost.eq(waiting & tokens & credit & ~pick),
        ]
        for index, port in enumerate(self.streams):
            program = self.program[index]
            m.submodules[f"bucket_{index}"] = bucket = _TokenBucket(program.shape(), self.config.rate_bits)
            m.submodules[f"sequence_{index}"] = ids = _SequenceIDs(program.shape(), self.config.sequence_bits)
            for part in (bucket, ids):
                m.d.comb += [part.program.eq(program), part.restart.eq(self.restart), part.step.eq(pick[index])]
            m.d.comb += [tokens[index].eq(bucket.open), port.ready.eq(pick[index])]
            with m.If(pick[index]):
                m.d.comb += [self.link.payload.data.eq(port.payload), self.link.payload.sequence.eq(ids.sequence)]
                if slots:
                    destination = self.link.payload.destination
                    word = Value.cast(port.payload)[:len(Value.cast(destination))]
                    m.d.comb += destination.eq(Mux(program.dynamic.by_data, word, program.dynamic.destination))
        if slots:
            go = (pick & dynamic).any()
            m.d.comb += dynamic.eq(Cat(port.dynamic.enable for port in self.program))
            m.d.sync += free.eq(free & ~Mux(go, lowest(free), 0) | self.link.credit[labels:])
            with m.If(go):
                m.d.comb += self.link.label.eq(labels + encode(lowest(free)))
        return m
