"""The host port: registers, window into device memory and launcher."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.common.event_counters import counter_select
from hw.common.packet import MemoryPort
from hw.common.program import ConfigWrite, tile_fault_layout
from hw.config import RDUConfig
from hw.hierarchy import instantiate
from hw.tln.interleave import interleave_layout

from .axi import WINDOW_ADDRESS_BITS, WINDOW_ID_BITS, AxiWindow
from .axi_lite import RegisterFile
from .axi_signature import Axi4, AxiLite
from .command import Operation
from .launcher import QUEUE_DEPTH, Launcher
from .registers import ADDRESS_BITS, ID_VALUE, REGISTERS, VERSION_VALUE, register

__all__ = ["HostPort"]

COUNTER_LATENCY = 4     # cycles from counter_select to counter_value


class HostPort(wiring.Component):
    """All that the host sees of a socket.

    Parameters: ``config``.
    Members: see docs/host.md.
    Contract: registers as in :mod:`hw.host.registers`; commands as in :class:`Launcher`; window as in :class:`AxiWindow`. A
    command that finds the queue full, or the tile being reset, is refused with SLVERR.
    """

    def __init__(self, config: RDUConfig):
        self.identity = self.config = config
        port = MemoryPort(beat_bytes=config.beat_bytes, tag_bits=config.agcu.tag_bits)
        super().__init__({
            "axil": In(AxiLite(address_bits=ADDRESS_BITS)),
            "axi": In(Axi4(address_bits=WINDOW_ADDRESS_BITS, data_bits=8 * config.beat_bytes, id_bits=WINDOW_ID_BITS)),
            "irq": Out(1),
            "memory": Out(port).array(2),
            "config_write": Out(ConfigWrite()),
            "execute": Out(config.groups),
            "busy": In(config.groups),
            "quiesce": Out(1), "drained": In(1), "tile_reset": Out(1),
            "fault": In(tile_fault_layout()),
            "token": In(len(config.agcu_ports)),
            "counter_select": Out(counter_select()),
            "counter_value": In(32),
            "interleave": Out(interleave_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.registers = registers = RegisterFile(REGISTERS)
        m.submodules.launcher = launcher = Launcher(self.config)
        window = AxiWindow(self.config)
        m.submodules.window = instantiate(platform, window)
        connect(m, flipped(self.axil), registers.bus)
        connect(m, flipped(self.axi), window.axi)
        connect(m, launcher.memory, flipped(self.memory[0]))
        connect(m, window.memory, flipped(self.memory[1]))
        connect(m, launcher.config_write, flipped(self.config_write))
        m.d.comb += [
            self.execute.eq(launcher.execute), launcher.busy.eq(self.busy),
            self.quiesce.eq(launcher.quiesce), launcher.drained.eq(self.drained), self.tile_reset.eq(launcher.tile_reset),
            launcher.fault.eq(self.fault.valid), launcher.token.eq(self.token),
            self.interleave.eq(registers.interleave[:self.interleave.shape().size]),
        ]
        self._identity(m, registers)
        self._commands(m, registers, launcher)
        self._status(m, registers, launcher)
        self._schedules(m, registers, launcher)
        self._counters(m, registers, launcher)
        return m

    def _identity(self, m: Module, registers) -> None:
        config, cycles = self.config, Signal(64)
        m.d.sync += cycles.eq(cycles + 1)
        m.d.comb += [
            registers.id.eq(ID_VALUE), registers.version.eq(VERSION_VALUE), registers.config_hash.eq(config.digest),
            registers.geometry.eq(register("GEOMETRY").pack(rows=config.rows, columns=config.columns,
                                                            agcus=len(config.agcu_ports),
                                                            groups=config.groups)),
            registers.unit_size.eq(register("UNIT_SIZE").pack(lanes=config.lanes, stages=config.pcu.stages,
                                                              labels=config.rdn.labels,
                                                              segments=config.agcu.segments, shadow=config.shadow)),
            registers.hbm_megabytes.eq(config.hbm.bytes >> 20), registers.ddr_megabytes.eq(config.ddr.bytes >> 20),
            registers.cycles_lo.eq(cycles[:32]),
        ]
        held = Signal(32)
        m.d.comb += registers.cycles_hi.eq(held)
        with m.If(registers.cycles_lo_read):
            m.d.sync += held.eq(cycles[32:])

    def _commands(self, m: Module, registers, launcher) -> None:
        """A strobe of a command register becomes a command; without room in the queue the write is refused."""
        command, strobes = launcher.command, {}
        for name, operation in (("load", Operation.LOAD), ("argument", Operation.ARGUMENT), ("execute", Operation.EXECUTE),
                                ("schedule", Operation.SCHEDULE)):
            m.d.comb += getattr(registers, f"{name}_refuse").eq(~command.ready)
            strobes[name] = getattr(registers, f"{name}_strobe")
            with m.If(strobes[name]):
                m.d.comb += [command.valid.eq(1), command.p.operation.eq(operation)]
        place, word, select = command.p.operand.place, command.p.operand.word, registers.argument_select
        with m.If(strobes["argument"]):
            m.d.comb += [word.data.eq(registers.argument), word.word.eq(select[8:18]), word.unit.eq(select[18:32])]
        with m.Else():
            m.d.comb += [place.address.eq(Cat(registers.image_lo, registers.image_hi[:10])),
                         place.words.eq(registers.image_words)]
        with m.If(strobes["schedule"]):
            m.d.comb += [place.address.eq(Cat(registers.schedule_lo, registers.schedule_hi[:10])),
                         place.words.eq(registers.schedule_words)]
        for name in ("load", "execute"):
            with m.If(strobes[name]):
                value = getattr(registers, name)
                m.d.comb += [command.p.groups.eq(value), command.p.shadow.eq(value[16])]
        m.d.comb += [
            launcher.reset_request.eq(registers.tile_reset_strobe),
            registers.argument_select_set.eq(strobes["argument"]),
            registers.argument_select_next.eq(Cat(select[:8], (select[8:18] + 1)[:10], select[18:])),
        ]

    def _status(self, m: Module, registers, launcher) -> None:
        groups, fault = self.config.groups, self.fault
        pad = 16 - groups
        had_fault = Signal()
        m.d.sync += had_fault.eq(fault.valid)
        m.d.comb += [
            registers.status.eq(Cat(_pad(launcher.running, pad), launcher.active, launcher.schedule_active, launcher.resetting, fault.valid,
                                    launcher.halted)
                                | (QUEUE_DEPTH - launcher.queued) << 24),
            registers.irq_status_raise.eq(Cat(_pad(launcher.group_done, pad), launcher.load_done, fault.valid & ~had_fault,
                                              launcher.error_event, launcher.reset_done, launcher.schedule_done,
                                              launcher.signal)),
            self.irq.eq((registers.irq_status & registers.irq_enable).any()),
            registers.fault.eq(Cat(fault.valid, fault.cause, fault.segment) | fault.unit << 16),
            registers.fault_offset.eq(fault.offset),
            registers.error.eq(launcher.error.code | launcher.error.position << 8),
        ]
        for group in range(groups):
            m.d.comb += [registers.kernel_cycles[group].eq(launcher.kernel_cycles[group]),
                         registers.kernel_count[group].eq(launcher.kernel_count[group]),
                         registers.kernel_total[group].eq(launcher.kernel_total[group])]

    def _schedules(self, m: Module, registers, launcher) -> None:
        cycles = Signal(32)
        with m.If(launcher.schedule_start):
            m.d.sync += cycles.eq(0)
        with m.Elif(launcher.schedule_active):
            m.d.sync += cycles.eq(cycles + 1)
        m.d.comb += [registers.schedule_cycles.eq(cycles), registers.doorbell.eq(launcher.doorbell),
                     registers.doorbell_count.eq(launcher.doorbells),
                     registers.schedule_position.eq(launcher.schedule_position),
                     registers.schedule_steps.eq(launcher.schedule_steps)]

    def _counters(self, m: Module, registers, launcher) -> None:
        """The selection and, when it changes, a pause until the tile has answered. A schedule that watches a counter borrows the
        selection for that long, at most once in POLL_CYCLES."""
        select, last, wait = registers.counter_select, Signal(32), Signal(range(COUNTER_LATENCY + 2))
        borrowed, borrow = Signal(), Signal(range(COUNTER_LATENCY + 2))
        m.d.comb += [
            self.counter_select.unit.eq(Mux(borrowed, launcher.select.unit, select[16:30])),
            self.counter_select.index.eq(Mux(borrowed, launcher.select.index, select[:8])),
            launcher.seen.eq(borrowed & (borrow == 0)), launcher.value.eq(self.counter_value),
            registers.counter_value.eq(self.counter_value),
            registers.counter_value_wait.eq((wait != 0) | (last != select) | borrowed),
            registers.counter_select_set.eq(registers.counter_value_read),
            registers.counter_select_next.eq(Cat((select[:8] + 1)[:8], select[8:])),
        ]
        m.d.sync += [last.eq(select), borrow.eq(Mux(borrow == 0, 0, borrow - 1))]
        with m.If(borrowed):
            m.d.sync += borrowed.eq(launcher.watch & ~launcher.seen)
        with m.Elif(launcher.watch):
            m.d.sync += [borrowed.eq(1), borrow.eq(COUNTER_LATENCY + 1)]
        with m.If((last != select) | borrowed):
            m.d.sync += wait.eq(COUNTER_LATENCY)
        with m.Elif(wait != 0):
            m.d.sync += wait.eq(wait - 1)


def _pad(value, bits: int):
    return Cat(value, Const(0, bits)) if bits else value
