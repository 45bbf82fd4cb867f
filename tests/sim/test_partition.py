"""Designs in parts: the same cycles and values as in one piece, units that sleep, and what the checks catch."""

import re

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.hierarchy import instantiate, to_verilog
from sim.partition import build_partition, partition
from sim.unit_bench import ModelError
from sim.verilated import VerilatedHost
from sim.wide_nets import wide_nets

QUIET = 100          # cycles between two values that the units get


class Example(wiring.Component):
    """``i`` to ``o`` in three cycles, ``o`` being the sum so far; ``kind`` names what is special.

    "sums": nothing; "runs": it also adds one in every cycle; "leaks": ``o`` shows ``i`` at once; "hoards": a word of a large memory is
    counted up in every cycle, which no register shows.
    """

    def __init__(self, kind: str):
        self.kind = self.identity = kind
        self.verilog_name = f"unit_{kind}"
        super().__init__({"i": In(16), "o": Out(16)})

    def elaborate(self, platform):
        m = Module()
        first, second, total = Signal(16), Signal(16), Signal(16)
        m.d.sync += [first.eq(self.i), second.eq(first), total.eq(total + (second ^ first) + (self.kind == "runs"))]
        m.d.comb += self.o.eq(total ^ self.i if self.kind == "leaks" else total)
        if self.kind == "hoards":
            m.submodules.memory = memory = Memory(shape=32, depth=2048, init=[])
            read, write = memory.read_port(domain="comb"), memory.write_port()
            m.d.comb += [write.en.eq(1), write.data.eq(read.data + 1), self.o[0].eq(total[0] ^ read.data[31])]
        return m


class Pair(wiring.Component):
    """Two units of which the second gets what the first gives; ``digest`` mixes both outputs of every cycle."""

    def __init__(self, kinds: tuple[str, str]):
        self.kinds = kinds
        super().__init__({"digest": Out(32), "irq": Out(1)})

    def elaborate(self, platform):
        m = Module()
        units = [Example(kind) for kind in self.kinds]
        for index, unit in enumerate(units):
            unit.instance_name = f"unit{index}"
            m.submodules[unit.instance_name] = instantiate(platform, unit)
        age, value = Signal(range(QUIET)), Signal(16, init=1)
        m.d.sync += age.eq(age + 1)
        with m.If(age == QUIET - 1):
            m.d.sync += [age.eq(0), value.eq(value * 5 + 3)]
        m.d.comb += [units[0].i.eq(value), units[1].i.eq(units[0].o)]
        m.d.sync += self.digest.eq((self.digest << 3) + (self.digest >> 29) + (units[0].o ^ (units[1].o << 7)))
        return m


def in_parts(kinds) -> VerilatedHost:
    name = f"pair_{'_'.join(kinds)}"
    design = partition(Pair(kinds), name, units=(Example,), containers=())
    return VerilatedHost(Pair(kinds), name, verilog=design.rest, library=lambda ports: build_partition(
        design, ports, sources=(), optimize="-O1", trace=None))


def test_parts_give_what_the_whole_gives_and_sleep_in_between():
    kinds = ("sums", "runs")
    with VerilatedHost(Pair(kinds), "whole_pair", optimize="-O1") as whole, in_parts(kinds) as parts:
        parts.check_units(True)
        for _ in range(3):
            whole.run(40 * QUIET + 7), parts.run(40 * QUIET + 7)
            assert parts.get("digest") == whole.get("digest")
        # The second runs all the time, the first a few cycles for each value.
        assert parts.cycles < parts.unit_evaluations < 1.3 * parts.cycles


@pytest.mark.parametrize(("kind", "message"), [
    ("leaks", "unit0: output o depends on an input combinationally"), ("hoards", "unit0: a sleeping unit has changed")])
def test_a_unit_that_breaks_the_rules_is_caught(kind, message):
    with in_parts((kind, "sums")) as parts:
        parts.check_units(True)
        with pytest.raises(ModelError, match=message):
            parts.run(4 * QUIET)


class Wide(wiring.Component):
    """More input bits than 16 bits can number."""

    def __init__(self):
        super().__init__({"i": In(1000).array(66), "o": Out(1000)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(self.i[0] ^ self.i[65])
        return m


def test_a_module_may_have_more_input_bits_than_amaranth_numbers():
    with pytest.raises(AssertionError):
        to_verilog(Wide())
    with wide_nets():
        text = to_verilog(Wide())
    assert re.search(r"assign o = i__0 \^ i__65;", text)
    with wide_nets():
        wide = to_verilog(Pair(("sums", "hoards")))
    assert wide == to_verilog(Pair(("sums", "hoards")))
