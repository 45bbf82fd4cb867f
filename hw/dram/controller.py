"""The memory controller of one channel."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.common.packet import Status
from hw.config import ConfigError, DRAMConfig
from hw.tln.port import ChannelPort, channel_response

from .address import location_layout, split_address
from .banks import BankMachines
from .data_path import ResponsePath, WriteBuffer
from .dfi import DFI, ColumnCommand, RowCommand
from .ecc import Corrector, check_bits
from .partial import PartialWrites
from .queue import RequestQueue, index_of
from .refresh import Refresher
from .scheduler import Scheduler, Turnaround
from .slots import SlotPool
from .timing import dram_timing

__all__ = ["ControllerPolicy", "DRAMController"]


@dataclass(frozen=True, kw_only=True)
class ControllerPolicy:
    """What is not fixed by the device."""

    entries: int = 64            # waiting requests (up to 64 are one word of a simulating host)
    reads: int = 64              # of them reads, power of two
    writes: int = 32             # of them writes, power of two
    responses: int = 32          # answers under way, power of two
    age_limit: int = 1000        # cycles after which the oldest request goes before all others of its bank
    write_burst: int = 64        # writes in one phase while reads wait
    few_writes: int = 6          # with so many left a phase of writes may end
    write_wait: int = 256        # cycles that reads may keep writes waiting
    patience: int = 8            # cycles without work in one direction before the data bus turns
    postpone: int = 4            # refreshes that may be owed, 1 .. 8
    closed_page: bool = False    # close a row as soon as no waiting request needs it

    def __post_init__(self) -> None:
        for name in ("reads", "writes", "responses"):
            value = getattr(self, name)
            if value < 4 or value & (value - 1):
                raise ConfigError(f"controller policy {name}={value} must be a power of two, at least 4")
        if not max(self.reads, self.writes) <= self.entries <= self.reads + self.writes:
            raise ConfigError(f"controller policy entries={self.entries} must be from the larger of reads={self.reads} and "
                              f"writes={self.writes} to their sum")
        if not 1 <= self.postpone <= 8:
            raise ConfigError(f"controller policy postpone={self.postpone} must be from 1 to 8 (JEDEC's limit)")


EVENTS = ("row_hit", "activate", "refresh", "turnaround", "busy", "corrected", "uncorrectable")


class DRAMController(wiring.Component):
    """Serves the requests of one memory channel out of order, close to the device's peak, and refreshes it.

    Parameters: ``config``, the tier; ``beat_bytes``; ``tag_bits`` of the channel port; ``policy``.
    Members
    -------
    ``port`` In(ChannelPort); ``dfi`` Out(DFI), every output a register; ``events`` Out: ``row_hit`` (column command),
    ``activate``, ``refresh`` (REF), ``turnaround`` (the direction changes), ``busy`` (a request waits), ``corrected``,
    ``uncorrectable`` (a beat was read with a single, a double error), one bit each.

    Contract
    --------
    Exactly one response for each request. A read returns the last write that was accepted before it for each byte; a write is
    answered when its data has reached the device. Requests to one beat take effect in the order in which they were accepted;
    others in any order.
    Idle channel, row open: a read is answered ``timing.cl + timing.beat_cycles + 5`` cycles after the request was taken, with a
    closed row ``timing.rcd`` later. One request and one response a cycle. No request waits for ever: the oldest is urgent after
    ``policy.age_limit`` cycles. The device's timing rules and refresh interval are kept whatever the requests are.
    With ``config.ecc`` every 64-bit word has 8 check bits: a single error is corrected (status CORRECTED), a double error
    reported (UNCORRECTABLE); a write of a part of a beat becomes read, merge, write.
    Errors: :class:`hw.config.ConfigError` for a channel or policy that cannot be built.
    """

    def __init__(self, config: DRAMConfig, *, beat_bytes: int, tag_bits: int, policy: ControllerPolicy | None = None):
        self.config, self.beat_bytes, self.tag_bits = config, beat_bytes, tag_bits
        self.policy = policy or ControllerPolicy()
        self.timing = dram_timing(config, beat_bytes)
        self.identity = (config, beat_bytes, tag_bits, self.policy)
        super().__init__({
            "port": In(ChannelPort(beat_bytes=beat_bytes, address_bits=self.timing.geometry.address_bits, tag_bits=tag_bits)),
            "dfi": Out(DFI(self.timing, beat_bytes if config.ecc else 0)),
            "events": Out(data.StructLayout({name: 1 for name in EVENTS})),
        })

    def elaborate(self, platform):
        m = Module()
        geometry, policy = self.timing.geometry, self.policy
        depth = policy.entries
        self.request, self.response, inner_tag_bits = self._front(m)
        slot_bits = max(policy.reads, policy.writes).bit_length() - 1
        location = location_layout(geometry)
        entry = data.StructLayout({**{name: field.shape for name, field in location}, "write": 1, "slot": slot_bits})
        m.submodules.queue = self.queue = RequestQueue(depth, entry, geometry.banks)
        m.submodules.banks = self.banks = BankMachines(self.timing)
        m.submodules.scheduler = self.scheduler = Scheduler(depth, geometry.banks, self.timing.command_buses, policy.age_limit,
                                                            policy.closed_page)
        m.submodules.turnaround = self.turnaround = Turnaround(
            depth, batch=policy.writes // 2, burst=policy.write_burst, patience=policy.patience, write_wait=policy.write_wait)
        m.submodules.refresher = self.refresher = Refresher(self.timing, policy.postpone)
        m.submodules.buffer = self.buffer = WriteBuffer(policy.writes, 9 * self.beat_bytes, self.timing.cwl)
        m.submodules.responses = self.responses = ResponsePath(
            policy.responses, inner_tag_bits, channel_response(beat_bytes=self.beat_bytes, tag_bits=inner_tag_bits))
        self._accept(m, entry)
        self._schedule(m)
        self._issue_columns(m)
        self._issue_rows(m)
        return m

    def _front(self, m: Module):
        """The port that the queue serves: the controller's own or, under ECC, the one behind the merging of partial writes."""
        if not self.config.ecc:
            return self.port.request, self.port.response, self.tag_bits
        m.submodules.partial = partial = PartialWrites(
            beat_bytes=self.beat_bytes, address_bits=self.timing.geometry.address_bits, tag_bits=self.tag_bits)
        wiring.connect(m, wiring.flipped(self.port), partial.port)
        return partial.inner.request, partial.inner.response, self.tag_bits + 1

    def _accept(self, m: Module, entry: data.StructLayout) -> None:
        """One register behind the port; from there into the queue when a slot is free and no earlier request forbids it."""
        policy, queue, buffer = self.policy, self.queue, self.buffer
        m.submodules.read_slots = self.read_slots = reads = SlotPool(policy.reads)
        m.submodules.write_slots = self.write_slots = writes = SlotPool(policy.writes)
        request, taken = self.request, Signal(self.request.payload.shape())
        waiting, insert = Signal(), Signal()
        incoming, write = Signal(entry), taken.write
        level = Signal(range(policy.writes + 1))           # writes in the queue
        m.d.sync += level.eq(level + (insert & write) - self.buffer.issue)
        m.d.comb += request.ready.eq(~waiting | insert)
        with m.If(request.ready):
            m.d.sync += [waiting.eq(request.valid), taken.eq(request.payload)]
        guard = check_bits(taken.data) if self.config.ecc else taken.mask      # under ECC every write is of a whole beat
        where = split_address(self.timing, taken.address)
        m.d.comb += [
            insert.eq(waiting & ~queue.conflict & ~queue.full & ~Mux(write, writes.empty, reads.empty)),
            incoming.eq(Cat(where, write, Mux(write, writes.slot, reads.slot))),
            queue.insert.eq(insert), queue.incoming.eq(incoming),
            reads.take.eq(insert & ~write), writes.take.eq(insert & write),
            buffer.store.eq(insert & write), buffer.slot.eq(writes.slot), buffer.payload.eq(Cat(taken.data, guard)),
            writes.give.eq(buffer.release), writes.given.eq(buffer.released),
            self.banks.query_bank.eq(incoming.bank),
            queue.incoming_hit.eq((self.banks.opened & (1 << incoming.bank)).any() & (self.banks.query_row == incoming.row)),
            self.turnaround.demand.eq(waiting & queue.conflict), self.turnaround.demand_write.eq(~write),
            self.turnaround.writes_full.eq(writes.empty), self.turnaround.few_writes.eq(level <= policy.few_writes),
            self.refresher.idle.eq(~waiting & ~queue.valid[0]), self.events.busy.eq(waiting | queue.valid[0]),
        ]
        m.submodules.tags = tags = Memory(shape=len(taken.tag), depth=2 << len(incoming.slot), init=[])
        store, self.tags = tags.write_port(), tags.read_port(domain="comb")
        m.d.comb += [store.en.eq(insert), store.addr.eq(Cat(incoming.slot, write)), store.data.eq(taken.tag)]

    def _schedule(self, m: Module) -> None:
        queue, banks, scheduler, turnaround = self.queue, self.banks, self.scheduler, self.turnaround
        for name in ("valid", "write", "hit", "with_oldest"):
            m.d.comb += getattr(scheduler, name).eq(getattr(queue, name))
        for bank in range(self.timing.geometry.banks):
            m.d.comb += scheduler.of_bank[bank].eq(queue.of_bank[bank])
        for name in ("can_activate", "can_precharge", "can_read", "can_write"):
            m.d.comb += getattr(scheduler, name).eq(getattr(banks, name))
        m.d.comb += [
            turnaround.valid.eq(queue.valid), turnaround.write.eq(queue.write), turnaround.urgent.eq(scheduler.urgent),
            scheduler.mode_write.eq(turnaround.mode_write),
            scheduler.hold_rows.eq(self.refresher.hold), scheduler.hold_columns.eq(self.refresher.hold | ~self.responses.room),
            queue.pick.eq(scheduler.column), queue.remove.eq(scheduler.column), queue.row_pick.eq(scheduler.activate),
        ]
        before = Signal()
        m.d.sync += before.eq(turnaround.mode_write)
        m.d.comb += self.events.turnaround.eq(before ^ turnaround.mode_write)

    def _issue_columns(self, m: Module) -> None:
        banks, responses, picked = self.banks, self.responses, self.queue.picked
        count, group_bits = self.timing.geometry.banks, self.timing.geometry.group_bits
        issue, at = Signal(), Signal(count)
        m.d.comb += [
            issue.eq(self.scheduler.column.any()),
            at.eq(Mux(issue, (1 << picked.bank)[:count], 0)),
            banks.read.eq(at & ~picked.write.replicate(count)), banks.write.eq(at & picked.write.replicate(count)),
            self.turnaround.issued.eq(issue),
            self.read_slots.give.eq(issue & ~picked.write), self.read_slots.given.eq(picked.slot),
            self.buffer.issue.eq(issue & picked.write), self.buffer.issue_slot.eq(picked.slot),
            self.tags.addr.eq(Cat(picked.slot, picked.write)),
            responses.issue.eq(issue), responses.tag.eq(self.tags.data), responses.write.eq(picked.write),
            responses.written.eq(self.buffer.done), responses.read_valid.eq(self.dfi.read_valid),
            self.events.row_hit.eq(issue),
            self.response.valid.eq(responses.response.valid), self.response.payload.eq(responses.response.payload),
            responses.response.ready.eq(self.response.ready),
        ]
        self._join_data(m)
        command = self.dfi.column
        m.d.sync += [
            command.command.eq(Mux(issue, Mux(picked.write, ColumnCommand.WR, ColumnCommand.RD), ColumnCommand.NOP)),
            command.group.eq(picked.bank[:group_bits]), command.bank.eq(picked.bank[group_bits:]),
            command.column.eq(picked.column),
        ]
        # A row whose last column was used is likely done with: it is closed early, before its bank is needed for another row.
        used_up = at & picked.column.all().replicate(count)
        m.d.sync += self.scheduler.exhausted.eq((self.scheduler.exhausted | used_up) & ~banks.activate)

    def _join_data(self, m: Module) -> None:
        """The data of the border, through the corrector if there is one."""
        dfi, responses = self.dfi, self.responses
        if not self.config.ecc:
            m.d.comb += [Cat(dfi.write_data, dfi.write_mask).eq(self.buffer.output), responses.read_data.eq(dfi.read_data)]
            return
        m.submodules.corrector = corrector = Corrector(self.beat_bytes)
        m.d.comb += [
            Cat(dfi.write_data, dfi.write_check).eq(self.buffer.output), dfi.write_mask.eq(~0),
            corrector.data.eq(dfi.read_data), corrector.check.eq(dfi.read_check),
            responses.read_data.eq(corrector.corrected), responses.read_status.eq(corrector.status),
            self.events.corrected.eq(dfi.read_valid & (corrector.status == Status.CORRECTED)),
            self.events.uncorrectable.eq(dfi.read_valid & (corrector.status == Status.UNCORRECTABLE)),
        ]

    def _issue_rows(self, m: Module) -> None:
        banks, queue, scheduler, refresher, picked = self.banks, self.queue, self.scheduler, self.refresher, self.queue.row_picked
        count, group_bits = self.timing.geometry.banks, self.timing.geometry.group_bits
        activate, precharge, closing = Signal(), Signal(), Signal(range(count))
        command = self.dfi.row
        m.d.comb += [
            activate.eq(scheduler.activate.any()), precharge.eq(scheduler.precharge.any()),
            closing.eq(index_of(scheduler.precharge)),
            banks.activate.eq(Mux(activate, (1 << picked.bank)[:count], 0)),
            banks.activate_bank.eq(picked.bank), banks.row.eq(picked.row),
            banks.precharge.eq(scheduler.precharge | (banks.opened & refresher.precharge_all.replicate(count))),
            banks.refresh.eq(refresher.refresh),
            refresher.settled.eq(banks.settled), refresher.can_refresh.eq(banks.can_refresh),
            refresher.any_open.eq(banks.opened.any()),
            self.events.activate.eq(activate), self.events.refresh.eq(refresher.refresh),
        ]
        which = Mux(activate, picked.bank, closing)
        m.d.sync += [
            command.command.eq(Mux(refresher.refresh, RowCommand.REF, Mux(refresher.precharge_all, RowCommand.PREA, Mux(
                activate, RowCommand.ACT, Mux(precharge, RowCommand.PRE, RowCommand.NOP))))),
            command.group.eq(which[:group_bits]), command.bank.eq(which[group_bits:]), command.row.eq(picked.row),
        ]
        # The queue learns of a row command when it is on the border: tRCD is longer than that.
        m.d.comb += [
            queue.opened.eq(command.command == RowCommand.ACT), queue.opened_row.eq(command.row),
            queue.opened_bank.eq(Cat(command.group[:group_bits], command.bank)),
            queue.closed.eq(command.command == RowCommand.PRE), queue.closed_bank.eq(queue.opened_bank),
            queue.closed_all.eq(command.command == RowCommand.PREA),
        ]
