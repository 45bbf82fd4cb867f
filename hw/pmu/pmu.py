"""The PMU core: one write engine and several read engines around single-ported banks."""

from amaranth.hdl import Cat, Const, Module
from amaranth.lib.wiring import Out

from hw.common.packet import FaultCause, fault_layout
from hw.common.unit import DataflowUnit
from hw.config import PMUConfig
from hw.hierarchy import instantiate

from .arbiter import BankArbiter
from .ecc import ProtectedRead, ProtectedWrite
from .geometry import Geometry
from .layout import INDEX_SCALAR, pmu_layout
from .read_path import ReadPath
from .semaphores import Semaphores
from .stages import AddressStages
from .storage import storage
from .tokens import TokenCounters
from .write_path import WritePath

__all__ = ["PMU", "pmu_events"]


def pmu_events(config: PMUConfig) -> list[str]:
    """Names of a PMU's event bits."""
    return ["busy", "starved", "back_pressured", "packets_in", "bank_conflict", "dropped", "write_vectors",
            *(f"read{engine}_vectors" for engine in range(config.vector_outputs)), *(["ecc_corrected"] if config.ecc else [])]


class PMU(DataflowUnit):
    """A software-managed scratchpad with its own address engines.

    Parameters: ``config``. The ports are those of :class:`hw.common.unit.DataflowUnit`; read engine r emits to
    ``vector_out[r]`` or ``scalar_out[r]``. The program is :func:`hw.pmu.layout.pmu_layout`, filled by hw/pmu/program.py.
    Events besides the first four: ``bank_conflict``, an engine waited for a bank in this cycle;
    ``dropped``, an access was predicated off; ``write_vectors`` and
    ``read<r>_vectors``, an access (vector or word) was performed. With ``config.ecc`` also ``ecc_corrected``, a read was corrected,
    and the member ``fault`` Out(fault_layout()): the first uncorrectable read since reset, its ``offset`` a physical byte
    address (hw/pmu/ecc.py). The wrong vector is not emitted, no access is performed any more, ``busy`` stays up until reset.

    Contract: each engine sustains one vector a cycle as long as no two meet in a bank. Packet to bank: 2 cycles; bank to
    output: 2 cycles; a buffer's last packet taken to its first vector at the output: 5 cycles.
    A buffer is handed over whole; the contents of the scratchpad outlive a program. Every output is registered.
    Source: SN40L paper IV.B; the choices are in docs/pmu.md.
    """

    def __init__(self, config: PMUConfig):
        self.geometry = Geometry(config)
        super().__init__(config=config, program=pmu_layout(config), events=pmu_events(config),
                         vector_inputs=config.vector_inputs, vector_outputs=config.vector_outputs,
                         scalar_inputs=config.scalar_inputs, scalar_outputs=config.scalar_outputs,
                         extra={"fault": Out(fault_layout())} if config.ecc else None)

    def elaborate(self, platform):
        m = Module()
        config, program = self.config, self.program
        write = WritePath(config)
        reads = [ReadPath(config) for _ in range(config.vector_outputs)]
        m.submodules.write = instantiate(platform, write)
        m.d.comb += write.program.eq(program.write)
        for index, read in enumerate(reads):
            m.submodules[f"read{index}"] = instantiate(platform, read)
            m.d.comb += read.program.eq(program[f"read{index}"])
        engines = [write, *reads]
        for engine in engines:
            m.d.comb += [
                engine.positions.eq(program.positions), engine.folds.eq(program.folds), engine.buffers.eq(program.buffers),
                engine.buffer_stride.eq(program.buffer_stride), engine.start.eq(self.execute & engine.program.enable),
            ]
        m.submodules.arbiter = arbiter = BankArbiter(len(engines), config.banks)
        for index, engine in enumerate(engines):
            m.d.comb += [arbiter.wanted[index].eq(engine.banks), engine.grant.eq(arbiter.grant[index])]
        halted = self._storage(m, platform, write, reads)
        m.d.comb += arbiter.valid.eq(Cat(engine.valid & ~halted if config.ecc else engine.valid for engine in engines))
        self._permissions(m, write, reads)
        self._streams(m, write, reads)
        pending = Cat(*(~read.empty for read in reads), self._addresses(m, platform, engines),
                      *([self.fault.valid] if config.ecc else []))
        m.d.comb += self.busy.eq(Cat(*((engine.active, engine.valid) for engine in engines), pending).any())
        self._events(m, write, reads, arbiter.conflict)
        return m

    def _storage(self, m, platform, write, reads):
        memory = storage(self.config, platform)
        m.submodules.storage = instantiate(platform, memory)
        m.d.comb += [port.eq(read.port) for port, read in zip(memory.read, reads, strict=True)]
        if self.config.ecc:
            return self._protect(m, platform, memory, write, reads)
        m.d.comb += [memory.write.eq(write.port), memory.mask.eq(write.mask), memory.data.eq(write.data)]
        m.d.comb += [read.q.eq(q) for read, q in zip(reads, memory.q, strict=True)]
        return None

    def _protect(self, m, platform, memory, write, reads):
        """Check bits between paths and storage; returns "no access may be granted"."""
        guard = ProtectedWrite(self.config)
        m.submodules.protected_write = instantiate(platform, guard)
        m.d.comb += [
            guard.program.eq(self.program.ecc), guard.start.eq(self.execute), guard.write.eq(write.port),
            guard.mask.eq(write.mask), guard.data.eq(write.data), memory.write.eq(guard.memory),
            memory.mask.eq(guard.memory_mask), memory.data.eq(guard.memory_data),
        ]
        fault, corrected = self.fault, []
        for index, read in enumerate(reads):
            check = ProtectedRead(self.config)
            m.submodules[f"protected_read{index}"] = instantiate(platform, check)
            m.d.comb += [
                check.access.eq(read.port), check.word.eq(self.program[f"read{index}"].access.word),
                check.q.eq(memory.q[index]), read.q.eq(check.data), read.poisoned.eq(check.failed | fault.valid),
            ]
            corrected.append(check.corrected)
            with m.If(check.failed & ~fault.valid):
                m.d.sync += [fault.valid.eq(1), fault.cause.eq(FaultCause.UNCORRECTABLE), fault.offset.eq(check.offset)]
        m.d.comb += self.events.ecc_corrected.eq(Cat(corrected).any())
        return guard.clearing | fault.valid

    def _addresses(self, m, platform, engines):
        """Every engine's accesses go through the stages it owns; returns "an access is in a stage"."""
        if not self.config.address_stages:
            for engine in engines:
                m.d.comb += [engine.staged.eq(engine.item), engine.staged_valid.eq(engine.step)]
            return Const(0)
        stages = AddressStages(self.config)
        m.submodules.stages = instantiate(platform, stages)
        m.d.comb += stages.program.eq(self.program.stages)
        for index, engine in enumerate(engines):
            m.d.comb += [
                stages.item[index].eq(engine.item), stages.valid[index].eq(engine.step),
                stages.advance[index].eq(engine.advance), stages.clear[index].eq(engine.start),
                engine.staged.eq(stages.staged[index]), engine.staged_valid.eq(stages.staged_valid[index]),
            ]
        return stages.busy

    def _permissions(self, m, write, reads):
        """Semaphores and tokens decide when an engine may go on."""
        engines = [write, *reads]
        m.submodules.semaphores = semaphores = Semaphores(len(reads), self.geometry.vector_bits + 1)
        m.submodules.tokens = tokens = TokenCounters(len(engines), self.config.control_wires)
        m.d.comb += [
            semaphores.clear.eq(self.execute), semaphores.buffers.eq(self.program.buffers),
            semaphores.synchronised.eq(Cat(read.program.enable & read.program.synchronised for read in reads)),
            semaphores.claimed.eq(write.step_done), semaphores.written.eq(write.done),
            semaphores.taken.eq(Cat(read.step_done for read in reads)),
            semaphores.released.eq(Cat(read.done for read in reads)),
            tokens.arrived.eq(self.control_in), self.control_out.eq(tokens.sent),
        ]
        for index, engine in enumerate(engines):
            owns = semaphores.may_read[index - 1] if index else semaphores.may_write
            m.d.comb += [
                tokens.wait[index].eq(engine.program.wait_tokens & engine.fresh.replicate(self.config.control_wires)),
                tokens.taken[index].eq(engine.step), tokens.send[index].eq(engine.program.send_tokens),
                tokens.finished[index].eq(engine.done), engine.allowed.eq(owns & tokens.may_go[index]),
            ]

    def _streams(self, m, write, reads):
        for outer, inner in zip(self.vector_in, write.vector_in, strict=True):
            m.d.comb += [inner.valid.eq(outer.valid), inner.p.eq(outer.p), outer.ready.eq(inner.ready)]
        engines = [write, *reads]
        for number, (outer, inner) in enumerate(zip(self.scalar_in, write.scalar_in, strict=True)):
            taken = [engine.take_scalar & (engine.program.index == INDEX_SCALAR + number) for engine in engines]
            m.d.comb += [inner.valid.eq(outer.valid), inner.p.eq(outer.p), outer.ready.eq(inner.ready | Cat(taken).any())]
            for engine in engines:
                with m.If(engine.program.index == INDEX_SCALAR + number):
                    m.d.comb += [engine.scalar.eq(outer.p.data), engine.scalar_valid.eq(outer.valid)]
        for index, read in enumerate(reads):
            for outer, inner in ((self.vector_out[index], read.vector_out), (self.scalar_out[index], read.scalar_out)):
                m.d.comb += [outer.valid.eq(inner.valid), outer.p.eq(inner.p), inner.ready.eq(outer.ready)]

    def _events(self, m, write, reads, conflict):
        m.d.comb += [
            self.events.busy.eq(self.busy), self.events.starved.eq(write.starved),
            self.events.back_pressured.eq(Cat(read.back_pressured for read in reads).any()),
            self.events.packets_in.eq(write.step), self.events.bank_conflict.eq(conflict),
            self.events.dropped.eq(Cat(engine.dropped for engine in (write, *reads)).any()),
            self.events.write_vectors.eq(write.wrote),
        ]
        m.d.comb += [self.events[f"read{index}_vectors"].eq(read.did_read) for index, read in enumerate(reads)]
