"""FR-FCFS: which command each bus carries in this cycle, and the direction of the data bus."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .queue import oldest

__all__ = ["Scheduler", "Turnaround"]

LAST_WRITES = 2      # cycles without a write after which waiting reads come back


class Turnaround(wiring.Component):
    """Chooses between reading and writing, so that the data bus turns around seldom.

    Parameters: ``depth`` of the queue; ``batch``, reads that a phase may issue before a full store of writes ends it; ``burst``,
    writes that a phase may issue before waiting reads end it; ``patience``, cycles without work in the present direction before
    the other one's is done; ``write_wait``, cycles that reads may keep writes waiting.
    Members: ``valid``, ``write`` In, over the queue's entries; ``writes_full`` In: no further write can be taken in; ``few_writes``
    In: so few are left that they would keep few banks busy; ``issued`` In: a command of the present direction; ``urgent`` In: the
    oldest entry has waited too long; ``demand`` In, ``demand_write`` In: a request waits outside until the entries of this
    direction are done; ``mode_write`` Out: 1 while writes are issued.
    Contract: writes gather while there are reads, and go out in one phase: when no further write fits (after ``batch`` reads),
    when they have waited for ``write_wait`` cycles, or when there were no reads for ``patience`` cycles. Reads come back when
    few writes are left and ``batch`` are done, when all are done (two cycles later, in case one more comes), or after ``burst``.
    An urgent oldest entry of the other direction and ``demand`` turn at once.
    """

    def __init__(self, depth: int, *, batch: int, burst: int, patience: int, write_wait: int):
        self.depth, self.batch, self.burst, self.patience, self.write_wait = depth, batch, burst, patience, write_wait
        super().__init__({"valid": In(depth), "write": In(depth), "writes_full": In(1), "few_writes": In(1), "issued": In(1),
                          "urgent": In(1), "demand": In(1), "demand_write": In(1), "mode_write": Out(1)})

    def elaborate(self, platform):
        m = Module()
        reads, writes, here, there, enough, change = (
            Signal(name=name) for name in ("reads", "writes", "here", "there", "enough", "change"))
        limit = max(self.batch, self.burst)
        idle, count = Signal(range(self.patience + 1)), Signal(range(limit + 1))
        waited = Signal(range(self.write_wait + 1))      # cycles with a waiting write in a phase of reads
        m.d.comb += [
            reads.eq((self.valid & ~self.write).any()),
            writes.eq((self.valid & self.write).any()),
            here.eq(Mux(self.mode_write, writes, reads)),
            there.eq(Mux(self.mode_write, reads, writes)),
            enough.eq(Mux(self.mode_write, (count >= self.burst) | (self.few_writes & (count >= self.batch)),
                          (self.writes_full & (count >= self.batch)) | (waited == self.write_wait))),
        ]
        with m.If(self.urgent):
            m.d.comb += change.eq(self.mode_write ^ self.write[0])
        with m.Elif(self.demand):
            m.d.comb += change.eq(self.mode_write ^ self.demand_write)
        with m.Else():
            m.d.comb += change.eq(there & (enough | (idle == self.patience) | (self.mode_write & (idle >= LAST_WRITES))))
        m.d.sync += [
            self.mode_write.eq(self.mode_write ^ change),
            idle.eq(Mux(here, 0, idle + (idle != self.patience))),
            count.eq(Mux(change, 0, count + (self.issued & (count != limit)))),
            waited.eq(Mux(self.mode_write | ~writes, 0, waited + (waited != self.write_wait))),
        ]
        return m


class Scheduler(wiring.Component):
    """Picks at most one column and one row command in each cycle.

    Parameters: ``depth`` of the queue, ``banks``, ``command_buses`` (with one, a column command keeps the row command waiting),
    ``age_limit``, cycles after which the oldest entry is urgent, ``eager_close``: close every row without waiting hits.
    Members
    -------
    From the queue: ``valid``, ``write``, ``hit``, ``of_bank``, ``with_oldest`` In. From the bank machines: ``can_activate``,
    ``can_precharge``, ``can_read``, ``can_write`` In. ``mode_write`` In; ``hold_columns``, ``hold_rows`` In: no command of that
    kind; ``exhausted`` In: banks whose open row will probably not be used again.
    ``column`` Out: the entry whose RD or WR is issued, ``activate`` Out: the entry whose row is opened (both one-hot or zero),
    ``precharge`` Out: the bank that is closed, one-hot or zero; ``urgent`` Out.

    Contract: column: the oldest entry of the present direction that is a hit and breaks no rule. Row: the row of the oldest
    entry whose bank is closed; else a bank without waiting hits is closed if another row of it is waited for, or it is
    exhausted. Entries of the other direction take part in banks that no entry of the present direction needs. An urgent entry
    is the only one served in its bank;
    so the oldest entry waits at most ``age_limit`` cycles and the time to close and open a row, plus refresh.
    Entries of one address and direction leave in order of age.
    """

    def __init__(self, depth: int, banks: int, command_buses: int, age_limit: int, eager_close: bool = False):
        self.depth, self.banks, self.command_buses = depth, banks, command_buses
        self.age_limit, self.eager_close = age_limit, eager_close
        super().__init__({
            "valid": In(depth), "write": In(depth), "hit": In(depth), "of_bank": In(depth).array(banks),
            "with_oldest": In(depth),
            "can_activate": In(banks), "can_precharge": In(banks), "can_read": In(banks), "can_write": In(banks),
            "mode_write": In(1), "hold_columns": In(1), "hold_rows": In(1), "exhausted": In(banks),
            "column": Out(depth), "activate": Out(depth), "precharge": Out(banks), "urgent": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        depth, banks = self.depth, self.banks

        def entries(mask):
            """The entries whose bank is set in ``mask``."""
            result = 0
            for bank in range(banks):
                result = result | (self.of_bank[bank] & mask[bank].replicate(depth))
            return result

        def some(vector, name: str):
            """The banks with an entry in ``vector``."""
            result = Signal(banks, name=name)
            m.d.comb += result.eq(Cat((self.of_bank[bank] & vector).any() for bank in range(banks)))
            return result

        age = Signal(range(self.age_limit + 1))
        with m.If(self.column[0] | ~self.valid[0]):
            m.d.sync += age.eq(0)
        with m.Elif(~self.urgent):
            m.d.sync += age.eq(age + 1)
        blocked = Signal(depth)
        m.d.comb += [
            self.urgent.eq(age == self.age_limit),
            blocked.eq(Mux(self.urgent, self.with_oldest & ~1, 0)),
        ]
        present, usable = Signal(depth), Signal(depth)
        m.d.comb += [
            present.eq(self.valid & ~(self.write ^ self.mode_write.replicate(depth))),
            usable.eq(self.hit & ~blocked),
        ]
        allowed = Signal(banks)
        m.d.comb += [
            allowed.eq(Mux(self.mode_write, self.can_write, self.can_read) & ~self.hold_columns.replicate(banks)),
            self.column.eq(oldest(present & usable & entries(allowed))),
        ]
        free = Signal()                                    # the bus for row commands
        m.d.comb += free.eq(~self.hold_rows & (1 if self.command_buses > 1 else ~self.column.any()))
        needed = some(present, "needed")
        takes_part = Signal(depth)
        m.d.comb += takes_part.eq(present | entries(~needed))
        wants = takes_part & ~blocked & entries(self.can_activate & free.replicate(banks))
        m.d.comb += self.activate.eq(oldest(wants))
        in_use = some(usable & takes_part, "in_use")
        waited = some(self.valid, "waited")
        closable = self.can_precharge & ~in_use & (waited | (~0 if self.eager_close else self.exhausted))
        go = free & ~self.activate.any()
        m.d.comb += self.precharge.eq(oldest(closable & go.replicate(banks)))
        return m
