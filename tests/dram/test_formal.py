"""The bank machines, proven: whatever commands are given where the outputs allow it, no timing rule is broken."""

import dataclasses

import pytest
from amaranth.hdl import Assert, Assume, Cat, Module, Mux, Signal

from hw.dram.banks import BankMachines
from hw.dram.timing import DRAMGeometry, DRAMTiming
from tests.pmu.formal import prove

# All rules different, and short enough for every one to end within the depth of the proof.
RULES = DRAMTiming(
    name="formal", core_mhz=1000, command_buses=2, beat_cycles=1, cl=3, cwl=2, rcd=2, rp=3, ras=4, rc=8, rrd_s=2, rrd_l=3, faw=9,
    faw_activates=3, ccd_s=1, ccd_l=2, ccd_l_write=3, wtr_s=1, wtr_l=3, rtp=2, wr=3, rfc=6, refi=100, turnaround=1,
    geometry=DRAMGeometry(beat_bytes=32, bank_groups=2, banks_per_group=2, rows=2, columns=2))
WATCHED, DEPTH, LONG = 1, 16, 63         # the bank that the rules are checked for; bank 3 is in its group, 0 and 2 are not


def contract(machines: BankMachines, rules: DRAMTiming) -> tuple[Module, list[Signal]]:
    """The machines with arbitrary commands within what they allow; every rule of ``rules`` asserted for one bank."""
    m = Module()
    m.submodules.machines = machines
    banks = rules.geometry.banks
    wish = {name: Signal(banks, name=f"wish_{name}") for name in ("activate", "precharge", "read", "write")}
    refresh = Signal()
    for name, bits in wish.items():
        m.d.comb += getattr(machines, name).eq(bits & getattr(machines, f"can_{name}"))
        if name != "precharge":
            m.d.comb += Assume((bits & (bits - 1)[:banks]) == 0)
    columns = machines.read.any() + machines.write.any()
    m.d.comb += [
        Assume(columns <= 1), machines.refresh.eq(refresh & machines.can_refresh),
        Assume(~(machines.refresh & machines.activate.any())),
        machines.activate_bank.eq(Cat(machines.activate[1] | machines.activate[3], machines.activate[2] | machines.activate[3])),
    ]

    def since(name: str, event):
        """Cycles since the last ``event``."""
        age = Signal(range(LONG + 1), name=f"since_{name}", init=LONG)
        m.d.sync += age.eq(Mux(event, 1, age + (age != LONG)))
        return age

    def kinds(name: str):
        """Since the last command of a kind: to the watched bank, to its group, to any bank."""
        bits = getattr(machines, name)
        return since(f"{name}_bank", bits[WATCHED]), since(f"{name}_group", bits[WATCHED] | bits[WATCHED ^ 2]), since(name, bits.any())

    (act, act_group, act_any), (pre, *_), (rd, rd_group, rd_any), (wr, wr_group, wr_any) = map(
        kinds, ("activate", "precharge", "read", "write"))
    refreshed, opened, history = since("refresh", machines.refresh), Signal(), Signal(rules.faw - 1)
    m.d.sync += [opened.eq((opened | machines.activate[WATCHED]) & ~machines.precharge[WATCHED]),
                 history.eq(Cat(machines.activate.any(), history))]
    window = sum(history[bit] for bit in range(len(history)))
    kept = {
        "activate": [~opened, act >= rules.rc, pre >= rules.rp, act_group >= rules.rrd_l, act_any >= rules.rrd_s,
                     window < rules.faw_activates, refreshed >= rules.rfc],
        "precharge": [act >= rules.ras, rd >= rules.rtp, wr >= rules.write_to_precharge],
        "read": [opened, act >= rules.rcd, rd_group >= rules.ccd_l, rd_any >= rules.ccd_s, wr_any >= rules.write_to_read_s,
                 wr_group >= rules.write_to_read_l],
        "write": [opened, act >= rules.rcd, wr_group >= rules.ccd_l_write, wr_any >= rules.ccd_s, rd_any >= rules.read_to_write],
    }
    for name, conditions in kept.items():
        with m.If(getattr(machines, name)[WATCHED]):
            m.d.comb += [Assert(condition) for condition in conditions]
    with m.If(machines.refresh):
        m.d.comb += [Assert(~opened), Assert(pre >= rules.rp), Assert(act >= rules.rc), Assert(refreshed >= rules.rfc)]
    return m, [*wish.values(), refresh]


@pytest.mark.long
def test_no_rule_is_ever_broken():
    m, ports = contract(BankMachines(RULES), RULES)
    passed, text = prove(m, ports, depth=DEPTH)
    assert passed, text


@pytest.mark.long
@pytest.mark.parametrize("rule", ["rcd", "rp", "ras", "rc", "rrd_s", "rrd_l", "faw", "ccd_l", "ccd_l_write", "wtr_s", "wtr_l", "rtp",
                                  "wr", "rfc", "turnaround"])
def test_a_rule_one_cycle_short_is_found(rule):
    """Machines built for a rule one cycle shorter than the device's break it within the depth of the proof."""
    m, ports = contract(BankMachines(dataclasses.replace(RULES, **{rule: getattr(RULES, rule) - 1})), RULES)
    passed, text = prove(m, ports, depth=DEPTH)
    assert not passed and "Assert failed" in text, text
