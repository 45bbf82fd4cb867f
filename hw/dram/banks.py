"""The bank machines of a channel: which rows are open, and what each bank may do in this cycle."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .timers import ActivateWindow, LaneTimers
from .timing import DRAMTiming

__all__ = ["BankMachines"]


class BankMachines(wiring.Component):
    """All bank machines of one channel as bit vectors over its banks (bank number: group in the low bits).

    Parameters: ``timing``.
    Members
    -------
    ``activate``, ``precharge``, ``read``, ``write`` In: the command decided in this cycle, one-hot over the banks (precharge:
    any set);
    ``activate_bank``, ``row`` In: of the activate; ``refresh`` In: REF is decided in this cycle.
    ``opened`` Out: banks with an open row; ``can_activate``, ``can_precharge``, ``can_read``, ``can_write`` Out: banks for
    which the command breaks no rule now (a read or write also needs ``opened`` and the right row; both are included for
    ``opened``).
    ``settled`` Out: every bank could be precharged, if it is open; ``can_refresh`` Out: all are closed and precharged.
    ``query_bank`` In, ``query_row`` Out: the open row of a bank (meaningful if it is opened).

    Contract: every rule of :class:`hw.dram.timing.DRAMTiming` except the refresh interval holds if a command is given only
    where the output allows it, at most one of each kind a cycle. Outputs are functions of registers.
    """

    def __init__(self, timing: DRAMTiming):
        self.timing = timing
        banks, geometry = timing.geometry.banks, timing.geometry
        self.index_bits = geometry.group_bits + geometry.bank_bits
        super().__init__({
            "activate": In(banks), "precharge": In(banks), "read": In(banks), "write": In(banks), "refresh": In(1),
            "activate_bank": In(self.index_bits), "row": In(geometry.row_bits),
            "opened": Out(banks), "can_activate": Out(banks), "can_precharge": Out(banks), "can_read": Out(banks),
            "can_write": Out(banks),
            "settled": Out(1), "can_refresh": Out(1),
            "query_bank": In(self.index_bits), "query_row": Out(geometry.row_bits),
        })

    def elaborate(self, platform):
        m = Module()
        t, geometry = self.timing, self.timing.geometry
        groups, banks = geometry.bank_groups, geometry.banks

        def timer(name: str, start, cycles: int, lanes: int):
            unit = LaneTimers(lanes, cycles)
            m.submodules[name] = unit
            m.d.comb += unit.start.eq(start)
            return unit.idle

        def by_group(vector, name: str):
            """Whether any bank of each group is set."""
            folded = Signal(groups, name=name)
            result = vector[:groups]
            for low in range(groups, banks, groups):
                result = result | vector[low:low + groups]
            m.d.comb += folded.eq(result)
            return folded

        def spread(vector):
            return vector.replicate(geometry.banks_per_group)

        activated, columned = self.activate.any(), (self.read | self.write).any()
        wrote = self.write.any()
        activate_groups, write_groups = by_group(self.activate, "activate_groups"), by_group(self.write, "write_groups")
        read_groups = by_group(self.read, "read_groups")

        to_column = timer("rcd", self.activate, t.rcd, banks)
        to_precharge = (timer("ras", self.activate, t.ras, banks) & timer("rtp", self.read, t.rtp, banks)
                        & timer("wr", self.write, t.write_to_precharge, banks))
        to_activate = timer("rc", self.activate, t.rc, banks) & timer("rp", self.precharge, t.rp, banks)
        any_activate = timer("rrd_s", activated, t.rrd_s, 1) & timer("rfc", self.refresh, t.rfc, 1)
        group_activate = timer("rrd_l", activate_groups, t.rrd_l, groups)
        any_column = timer("ccd_s", columned, t.ccd_s, 1)
        group_read = (timer("ccd_l", read_groups, t.ccd_l, groups) & timer("wtr_l", write_groups, t.write_to_read_l, groups))
        group_write = timer("ccd_l_write", write_groups, t.ccd_l_write, groups)
        any_read = any_column & timer("wtr_s", wrote, t.write_to_read_s, 1)
        any_write = any_column & timer("rtw", self.read.any(), t.read_to_write, 1)
        m.submodules.faw = faw = ActivateWindow(t.faw_activates, t.faw)
        m.d.comb += faw.start.eq(activated)

        ready = Signal(banks)
        precharge_ready = Signal(banks)
        m.d.sync += self.opened.eq((self.opened | self.activate) & ~self.precharge)
        m.d.comb += [
            ready.eq(self.opened & to_column),
            precharge_ready.eq(to_precharge),
            self.can_activate.eq(~self.opened & to_activate & spread(group_activate)
                                 & (any_activate & faw.idle).replicate(banks)),
            self.can_precharge.eq(self.opened & precharge_ready),
            self.can_read.eq(ready & spread(group_read) & any_read.replicate(banks)),
            self.can_write.eq(ready & spread(group_write) & any_write.replicate(banks)),
            self.settled.eq((~self.opened | precharge_ready).all()),
            self.can_refresh.eq(~self.opened.any() & to_activate.all() & any_activate),
        ]
        m.submodules.rows = rows = Memory(shape=geometry.row_bits, depth=banks, init=[])
        write, read = rows.write_port(), rows.read_port(domain="comb")
        m.d.comb += [write.en.eq(activated), write.addr.eq(self.activate_bank), write.data.eq(self.row),
                     read.addr.eq(self.query_bank), self.query_row.eq(read.data)]
        return m
