"""Reduction over lanes and over time."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.common.packet import vector_data
from hw.config import PCUConfig
from hw.fp.add import FpAdd
from hw.fp.format import CANONICAL_NAN, INFINITY
from hw.hierarchy import instantiate

from .bundle import context_layout, emit_layout
from .delay import Delay
from .layout import Reduce
from .operations import PARTIALS

__all__ = ["LaneTree", "Reduction", "TimeExtreme", "TimeSum", "sort_key"]


NEGATIVE_ZERO = 0x80000000       # x + -0 is x, also for x = -0
LOWEST = 0x807FFFFF              # sort key of -inf
HIGHEST = 0x7FFFFFFF             # sort key of NaN


def sort_key(kind, bits):
    """An integer that orders FP32 bit patterns: the winner of ``kind`` (a :class:`Reduce`) has the largest, NaN the largest of
    all; -0 below +0, but equal for ARGMAX."""
    magnitude, negative = bits[:31], bits[31]
    key = bits ^ Cat(negative.replicate(31), Const(0, 1))
    key = Mux((kind == Reduce.ARGMAX) & (magnitude == 0), 0, key ^ (kind == Reduce.MIN).replicate(32))
    return Mux(magnitude > INFINITY, HIGHEST, key)


def key_value(kind, key):
    """The FP32 number of a sort key."""
    ordered = key ^ (kind == Reduce.MIN).replicate(32)
    bits = ordered ^ Cat(ordered[31].replicate(31), Const(0, 1))
    return Mux(bits[:31] > INFINITY, CANONICAL_NAN, bits)


def tree_latency(config: PCUConfig) -> int:
    """One adder for each halving of the lanes."""
    return (config.lanes.bit_length() - 1) * FpAdd.latency


class LaneTree(wiring.Component):
    """Reduces a vector to a word by a binary tree of neighbours: ((0, 1), (2, 3)), ...

    Parameters: ``config``.
    Members: ``kind`` In, a :class:`Reduce`; ``vector``, ``mask`` In; ``sum`` Out, FP32 (kind SUM); ``key``, ``lane`` Out, the
    largest sort key and its first lane (the other kinds).
    Contract: a pipeline of ``latency`` cycles, one vector a cycle. A masked lane counts as -0 (SUM), -inf (MAX, ARGMAX) or
    +inf (MIN). -0 is the identity of addition; the sum of no lanes at all is -0.
    """

    def __init__(self, config: PCUConfig):
        self.config = config
        self.latency = tree_latency(config)
        super().__init__({
            "kind": In(Reduce), "vector": In(vector_data(config.lanes)), "mask": In(config.lanes),
            "sum": Out(32), "key": Out(32), "lane": Out(range(config.lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        sums, keys = [], []
        for lane in range(self.config.lanes):
            addend, key = Signal(32, name=f"addend_{lane}"), Signal(32, name=f"key_{lane}")
            m.d.comb += [
                addend.eq(Mux(self.mask[lane], self.vector[lane], NEGATIVE_ZERO)),
                key.eq(Mux(self.mask[lane], sort_key(self.kind, self.vector[lane]), LOWEST)),
            ]
            sums.append(addend)
            keys.append((key, Const(0, 0)))
        while len(sums) > 1:
            pairs = range(0, len(sums), 2)
            sums = [self._add(m, platform, sums[i], sums[i + 1]) for i in pairs]
            keys = [self._larger(m, keys[i], keys[i + 1]) for i in pairs]
        m.d.comb += [self.sum.eq(sums[0]), self.key.eq(keys[0][0]), self.lane.eq(keys[0][1])]
        return m

    def _add(self, m, platform, a, b):
        adder = FpAdd()
        m.submodules += instantiate(platform, adder)
        m.d.comb += [adder.a.eq(a), adder.b.eq(b)]
        return adder.o

    def _larger(self, m, a, b):
        """The pair (key, lane) with the larger key, the first of equals, as late as a sum."""
        second = Signal()
        m.d.comb += second.eq(b[0].as_signed() > a[0].as_signed())
        winner = Cat(Mux(second, b[0], a[0]), Mux(second, b[1], a[1]), second)
        for _ in range(FpAdd.latency):
            register = Signal(len(winner))
            m.d.sync += register.eq(winner)
            winner = register
        return winner[:32], winner[32:]


class TimeSum(wiring.Component):
    """Sums a sequence of FP32 numbers.

    Members: ``valid``, ``x``, ``first``, ``last``, ``tag`` In: a number, whether it begins or ends a sequence, and what is to
    come out with the sum (taken from the last number); ``done``, ``sum``, ``tag_out`` Out.
    Contract: number i is added to partial sum i mod ``PARTIALS``, in order; at the end the partial sums are added pairwise,
    ((0, 1), (2, 3)), an odd one passing by. One number a cycle, whatever the length of the sequences, provided that all
    sequences between two idle times are of the same length. ``latency`` cycles at most from the last number to the sum.
    """

    latency = FpAdd.latency + 1 + PARTIALS + 2 * FpAdd.latency + 1

    def __init__(self, tag_bits: int):
        self.tag_bits = tag_bits
        super().__init__({
            "valid": In(1), "x": In(32), "first": In(1), "last": In(1), "tag": In(tag_bits),
            "done": Out(1), "sum": Out(32), "tag_out": Out(tag_bits),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.partials = partials = Memory(shape=32, depth=2 * PARTIALS, init=[])
        read, flush, write = partials.read_port(domain="comb"), partials.read_port(domain="comb"), partials.write_port()
        m.submodules.adder = instantiate(platform, adder := FpAdd())
        bank, number, wrapped = Signal(), Signal(range(PARTIALS)), Signal()
        place, begun = Signal(range(PARTIALS)), Signal()       # of the present number; its partial sum exists
        m.d.comb += [
            place.eq(Mux(self.first, 0, number)), begun.eq(wrapped & ~self.first),
            read.addr.eq(Cat(place, bank)),
            adder.a.eq(self.x), adder.b.eq(Mux(begun, read.data, NEGATIVE_ZERO)),
        ]
        with m.If(self.valid):
            m.d.sync += [number.eq(place + 1), wrapped.eq(begun | (place == PARTIALS - 1)), bank.eq(bank ^ self.last)]
        # Bank, place, number of partial sums less one, tag, last.
        now = Cat(self.valid, place, bank, Mux(begun, PARTIALS - 1, place), self.tag, self.last)
        for _ in range(FpAdd.latency):
            later = Signal(len(now))
            m.d.sync += later.eq(now)
            now = later
        bits = place.shape().width
        m.d.comb += [write.en.eq(now[0]), write.addr.eq(now[1:2 + bits]), write.data.eq(adder.o)]
        flushing = self._flush(m, flush, now[0] & now[-1], now[1 + bits], now[2 + bits:2 + 2 * bits], now[2 + 2 * bits:-1])
        for level in range(PARTIALS.bit_length() - 1):
            flushing = self._pair(m, platform, level, *flushing)
        valid, value, _, tag = flushing
        m.d.comb += [self.done.eq(valid), self.sum.eq(value), self.tag_out.eq(tag)]
        return m

    def _flush(self, m, port, begin, bank, count, tag):
        """Reads the partial sums of a finished sequence one by one."""
        running, place, left = Signal(), Signal(range(PARTIALS)), Signal(range(PARTIALS))
        held_bank, held_tag = Signal(), Signal(self.tag_bits)
        m.d.comb += port.addr.eq(Cat(place, held_bank))
        with m.If(begin):
            m.d.sync += [running.eq(1), place.eq(0), left.eq(count), held_bank.eq(bank), held_tag.eq(tag)]
        with m.Elif(running):
            m.d.sync += [place.eq(place + 1), left.eq(left - 1), running.eq(left != 0)]
        return running, port.data, left == 0, held_tag

    def _pair(self, m, platform, level, valid, value, last, tag):
        """Adds numbers two by two; the last of an odd number of them passes by."""
        m.submodules[f"pair_{level}"] = instantiate(platform, adder := FpAdd())
        waiting, held = Signal(name=f"waiting_{level}"), Signal(32, name=f"held_{level}")
        with m.If(valid):
            m.d.sync += [waiting.eq(~waiting & ~last), held.eq(value)]
        m.d.comb += [adder.a.eq(Mux(waiting, held, value)), adder.b.eq(Mux(waiting, value, NEGATIVE_ZERO))]
        now = Cat(valid & (waiting | last), last, tag)
        for _ in range(FpAdd.latency):
            later = Signal(len(now))
            m.d.sync += later.eq(now)
            now = later
        return now[0], adder.o, now[1], now[2:]


class TimeExtreme(wiring.Component):
    """The largest sort key of a sequence of (key, lane), and where it was first: number in the sequence x lanes + lane.

    Members and latency-free use as :class:`TimeSum`; ``key_out``, ``index`` Out are valid with ``done``.
    Contract: one pair a cycle; ``done`` one cycle after ``last``.
    """

    def __init__(self, config: PCUConfig, tag_bits: int):
        self.config, self.tag_bits = config, tag_bits
        super().__init__({
            "valid": In(1), "key": In(32), "lane": In(range(config.lanes)), "first": In(1), "last": In(1), "tag": In(tag_bits),
            "done": Out(1), "key_out": Out(32), "index": Out(32), "tag_out": Out(tag_bits),
        })

    def elaborate(self, platform):
        m = Module()
        count, number = Signal(32 - len(self.lane)), Signal(32 - len(self.lane))
        best = Signal(signed(32))
        m.d.comb += [number.eq(Mux(self.first, 0, count)), self.key_out.eq(best)]
        with m.If(self.valid):
            m.d.sync += count.eq(number + 1)
            with m.If(self.first | (self.key.as_signed() > best)):
                m.d.sync += [best.eq(self.key), self.index.eq(Cat(self.lane, number))]
        m.d.sync += [self.done.eq(self.valid & self.last), self.tag_out.eq(self.tag)]
        return m


class Reduction(wiring.Component):
    """What comes out of the body becomes what goes into the tail: as it is, or reduced to a word that fills all lanes.

    Parameters: ``config``.
    Members: ``kind`` In; ``valid``, ``vector``, ``context`` In: an iteration that leaves the body; ``out_valid``, ``out_vector``,
    ``out_packet`` Out: a vector for the tail.
    Contract: one iteration a cycle, no stall; without reduction the last iteration of each output passes in the same cycle,
    else at most ``latency`` cycles after it.
    """

    def __init__(self, config: PCUConfig):
        self.config = config
        self.latency = tree_latency(config) + TimeSum.latency
        vector = vector_data(config.lanes)
        super().__init__({
            "kind": In(Reduce),
            "valid": In(1), "vector": In(vector), "context": In(context_layout(config)),
            "out_valid": Out(1), "out_vector": Out(vector), "out_packet": Out(emit_layout(config)),
        })

    def elaborate(self, platform):
        m = Module()
        packet = self.context.packet
        m.submodules.tree = tree = LaneTree(self.config)
        sequence = data.StructLayout({"valid": 1, "first": 1, "last": 1, "half": 1, "flush": 1})
        m.submodules.delay = delay = Delay(sequence, tree.latency)
        m.submodules.sum = total = TimeSum(2)
        m.submodules.extreme = extreme = TimeExtreme(self.config, 2)
        m.d.comb += [
            tree.kind.eq(self.kind), tree.vector.eq(self.vector), tree.mask.eq(packet.mask),
            delay.i.eq(Cat(self.valid, self.context.first, self.context.last, packet.half, packet.flush)),
            extreme.key.eq(tree.key), extreme.lane.eq(tree.lane), total.x.eq(tree.sum),
        ]
        for unit, mine in ((total, self.kind == Reduce.SUM), (extreme, self.kind != Reduce.SUM)):
            m.d.comb += [
                unit.valid.eq(delay.o.valid & mine), unit.first.eq(delay.o.first), unit.last.eq(delay.o.last),
                unit.tag.eq(Cat(delay.o.half, delay.o.flush)),
            ]
        word, tag = Signal(32), Signal(2)
        with m.Switch(self.kind):
            with m.Case(Reduce.SUM):
                m.d.comb += [word.eq(total.sum), tag.eq(total.tag_out), self.out_valid.eq(total.done)]
            with m.Case(Reduce.ARGMAX):
                m.d.comb += [word.eq(extreme.index), tag.eq(extreme.tag_out), self.out_valid.eq(extreme.done)]
            with m.Default():
                m.d.comb += [word.eq(key_value(self.kind, extreme.key_out)), tag.eq(extreme.tag_out)]
                m.d.comb += self.out_valid.eq(extreme.done)
        m.d.comb += [
            self.out_vector.eq(word.replicate(self.config.lanes)),
            self.out_packet.half.eq(tag[0]), self.out_packet.flush.eq(tag[1]), self.out_packet.mask.eq(~0),
        ]
        with m.If(self.kind == Reduce.NONE):
            m.d.comb += [
                self.out_valid.eq(self.valid & self.context.last), self.out_vector.eq(self.vector), self.out_packet.eq(packet),
            ]
        return m
