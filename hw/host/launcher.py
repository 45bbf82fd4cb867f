"""The launcher: Program Load, Argument Load and Execute, from a queue of commands or from a schedule in device memory."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.common.event_counters import counter_select
from hw.common.packet import MemoryPort
from hw.common.program import ALL_UNITS, ConfigWrite
from hw.config import RDUConfig

from .command import LENGTH_BITS, Operation, command_layout
from .fetch import WordFetcher
from .loader import ImageLoader
from .memory_share import CLIENT_BITS, MemoryShare
from .registers import LauncherError
from .reset_sequence import ResetSequence
from .sequencer import Sequencer
from .timers import KernelTimers

__all__ = ["QUEUE_DEPTH", "Launcher"]

QUEUE_DEPTH = 64


class Launcher(wiring.Component):
    """Executes commands in order.

    Parameters: ``config``.
    Members
    -------
    ``command`` In stream of :func:`~hw.host.command.command_layout`; not ready when the queue of 64 is full or the tile is being
    reset; ``queued`` Out, commands in the queue; ``reset_request`` In, pulse.
    ``memory`` Out(MemoryPort); ``config_write`` Out; ``execute`` Out, pulse per group; ``busy`` In, per group;
    ``quiesce``, ``tile_reset`` Out and ``drained`` In: see :class:`ResetSequence`; ``fault`` In: an AGCU has met one.
    ``token`` In, ``watch``, ``select`` Out, ``seen``, ``value`` In, ``doorbell``, ``doorbells``, ``signal`` Out: see
    :class:`Sequencer`; ``schedule_active``, ``schedule_position``, ``schedule_steps`` Out; ``schedule_start``, ``schedule_done``
    Out, pulses.
    ``running`` Out; ``active`` Out, a command is queued or under way; ``halted`` Out; ``error`` Out, code and position;
    ``kernel_cycles``, ``kernel_count``, ``kernel_total`` Out; pulses: ``group_done``, ``load_done``, ``error_event``, ``reset_done``
    Out; ``resetting`` Out.

    Contract
    --------
    ARGUMENT takes one cycle; EXECUTE one cycle once its groups are idle; LOAD one cycle for each word of the image plus the
    memory's latency; an EXECUTE that exchanges shadows two. SCHEDULE hands over to the sequencer: its commands go the same way, and
    the queue waits until it is done. A word is on ``config_write`` before an ``execute`` that comes after it. After an error the
    launcher is halted: it drops every command until the tile is reset. A fault ends a schedule where it is, without an event of
    its own. A reset drops the queue and ends a load or a schedule wherever it is.
    """

    def __init__(self, config: RDUConfig):
        self.config = self.identity = config
        numbers = data.ArrayLayout(unsigned(32), config.groups)
        super().__init__({
            "command": In(stream.Signature(command_layout())),
            "queued": Out(range(QUEUE_DEPTH + 1)),
            "reset_request": In(1),
            "memory": Out(MemoryPort(beat_bytes=config.beat_bytes, tag_bits=config.agcu.tag_bits)),
            "config_write": Out(ConfigWrite()),
            "execute": Out(config.groups),
            "busy": In(config.groups),
            "quiesce": Out(1), "drained": In(1), "tile_reset": Out(1), "fault": In(1),
            "token": In(len(config.agcu_ports)), "watch": Out(1), "select": Out(counter_select()), "seen": In(1), "value": In(32),
            "doorbell": Out(32), "doorbells": Out(32), "signal": Out(1),
            "schedule_start": Out(1), "schedule_active": Out(1), "schedule_position": Out(LENGTH_BITS),
            "schedule_steps": Out(32), "schedule_done": Out(1),
            "running": Out(config.groups), "active": Out(1), "halted": Out(1), "resetting": Out(1),
            "error": Out(data.StructLayout({"code": 4, "position": 24})),
            "kernel_cycles": Out(numbers), "kernel_count": Out(numbers), "kernel_total": Out(numbers),
            "group_done": Out(config.groups), "load_done": Out(1), "error_event": Out(1), "reset_done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        layout = command_layout()
        m.submodules.queue = queue = SyncFIFO(width=layout.size, depth=QUEUE_DEPTH)
        m.submodules.fetch = self.fetch = WordFetcher(self.config, self.config.agcu.tag_bits - CLIENT_BITS)
        m.submodules.loader = self.loader = ImageLoader()
        m.submodules.timers = self.timers = KernelTimers(self.config.groups)
        m.submodules.reset_sequence = self.sequence = ResetSequence()
        m.submodules.sequencer = self.sequencer = sequencer = Sequencer(self.config)
        m.submodules.share = share = MemoryShare(self.config, 3)
        for client, port in zip(share.clients, [*sequencer.memory, self.fetch.memory], strict=True):
            connect(m, port, client)
        connect(m, share.memory, flipped(self.memory))
        connect(m, self.fetch.words, self.loader.words)
        self.take, scheduled = Signal(), sequencer.active
        queued, command, valid = data.View(layout, queue.r_data), Signal(layout), Signal()
        m.d.comb += [
            self.command.ready.eq(queue.w_rdy & ~self.resetting),
            queue.w_en.eq(self.command.valid & ~self.resetting), queue.w_data.eq(self.command.payload),
            queue.r_en.eq((self.take & ~scheduled) | self.halted | self.resetting), self.queued.eq(queue.level),
            self.active.eq(queue.r_rdy | self.fetch.busy | self.loader.active | sequencer.busy),
            command.eq(Mux(scheduled, sequencer.command.payload, queued)), sequencer.command.ready.eq(self.take & scheduled),
            valid.eq(Mux(scheduled, sequencer.command.valid, queue.r_rdy) & ~self.halted & ~self.resetting),
        ]
        self._execute(m, command, valid)
        self._schedule(m, queued.operand.place)
        self._reset(m)
        self._report(m)
        return m

    def _execute(self, m: Module, command, valid) -> None:
        """Takes the next command as soon as the one before and the groups that it names allow it."""
        word, place, timers, loader = command.operand.word, command.operand.place, self.timers, self.loader
        idle, groups = Signal(), command.groups[:self.config.groups]
        self.misaligned, aligned = Signal(), place.address.offset[:2] == 0
        m.d.comb += [
            idle.eq(~(timers.running & groups).any()),
            self.fetch.address.eq(place.address), self.fetch.length.eq(place.words), loader.length.eq(place.words),
            loader.shadow.eq(command.shadow), timers.busy.eq(self.busy),
        ]
        start = Signal(self.config.groups)
        argument, exchange, exchanged = Signal(), Signal(), Signal()
        with m.If(valid & ~loader.active), m.Switch(command.operation):
            with m.Case(Operation.ARGUMENT):
                m.d.comb += [self.take.eq(1), argument.eq(1)]
            with m.Case(Operation.EXECUTE):
                m.d.comb += [exchange.eq(idle & command.shadow & ~exchanged), self.take.eq(idle & ~exchange),
                             start.eq(groups & self.take.replicate(len(start)))]
            with m.Case(Operation.SCHEDULE):
                m.d.comb += [self.take.eq(~self.sequencer.busy), self.sequencer.start.eq(self.take & aligned),
                             self.misaligned.eq(self.take & ~aligned)]
            with m.Default():
                m.d.comb += [self.take.eq(idle & ~self.fetch.busy), loader.start.eq(self.take & aligned),
                             self.fetch.start.eq(self.take & aligned), self.misaligned.eq(self.take & ~aligned)]
        m.d.comb += timers.start.eq(start)
        m.d.sync += [self.execute.eq(start), exchanged.eq(exchange),
                     self.config_write.valid.eq(argument | exchange | loader.write.valid)]
        with m.If(argument):
            m.d.sync += [self.config_write.unit.eq(word.unit), self.config_write.word.eq(word.word),
                         self.config_write.data.eq(word.data)]
        with m.If(exchange):
            m.d.sync += self.config_write.unit.eq(ALL_UNITS)
        with m.If(loader.write.valid):
            m.d.sync += [self.config_write.unit.eq(loader.write.unit), self.config_write.word.eq(loader.write.word),
                         self.config_write.data.eq(loader.write.data)]

    def _schedule(self, m: Module, place) -> None:
        sequencer = self.sequencer
        m.d.comb += [
            sequencer.address.eq(place.address), sequencer.length.eq(place.words),
            sequencer.abort.eq(self.resetting | self.halted | self.fault), sequencer.idle.eq(~self.timers.running),
            sequencer.loading.eq(self.loader.active), sequencer.token.eq(self.token), sequencer.seen.eq(self.seen),
            sequencer.value.eq(self.value), self.watch.eq(sequencer.watch), self.select.eq(sequencer.select),
            self.doorbell.eq(sequencer.doorbell), self.doorbells.eq(sequencer.doorbells), self.signal.eq(sequencer.signal),
            self.schedule_start.eq(sequencer.start), self.schedule_active.eq(sequencer.active),
            self.schedule_position.eq(sequencer.position), self.schedule_steps.eq(sequencer.steps),
            self.schedule_done.eq(sequencer.done),
        ]

    def _reset(self, m: Module) -> None:
        sequence = self.sequence
        m.d.comb += [
            sequence.request.eq(self.reset_request),
            sequence.drained.eq(self.drained & ~self.fetch.busy & ~self.sequencer.busy),
            self.quiesce.eq(sequence.quiesce), self.tile_reset.eq(sequence.tile_reset), self.resetting.eq(sequence.active),
            self.reset_done.eq(sequence.done),
            self.loader.abort.eq(self.resetting), self.timers.clear.eq(self.resetting),
            self.fetch.stop.eq(self.resetting | self.loader.done | self.loader.failed),
        ]

    def _report(self, m: Module) -> None:
        timers, loader, sequencer = self.timers, self.loader, self.sequencer
        m.d.comb += [
            self.running.eq(timers.running), self.kernel_cycles.eq(timers.cycles), self.kernel_count.eq(timers.count),
            self.kernel_total.eq(timers.total),
            self.group_done.eq(timers.done), self.load_done.eq(loader.done),
            self.error_event.eq(loader.failed | sequencer.failed | self.misaligned),
        ]
        for failed, code, position in ((sequencer.failed, sequencer.code, sequencer.position),
                                       (loader.failed, loader.code, loader.position), (self.misaligned, LauncherError.MISALIGNED, 0)):
            with m.If(failed):
                m.d.sync += [self.halted.eq(1), self.error.code.eq(code), self.error.position.eq(position)]
        with m.If(self.resetting):
            m.d.sync += [self.halted.eq(0), self.error.eq(0)]
