"""Hardware-orchestrated launch: walks a schedule in device memory, instruction by instruction."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.common.event_counters import counter_select
from hw.common.packet import MemoryPort
from hw.config import RDUConfig

from .command import LENGTH_BITS, Operation, command_layout, device_address
from .instruction_buffer import InstructionBuffer
from .instructions import INSTRUCTIONS, REGISTERS_IN_SCHEDULE, Opcode
from .loop_stack import LoopStack
from .memory_share import CLIENT_BITS
from .registers import LauncherError
from .word_access import WordAccess

__all__ = ["POLL_CYCLES", "TOKEN_BITS", "Sequencer"]

POLL_CYCLES = 32        # between two looks at a memory word or a counter
TOKEN_BITS = 4          # of the tokens that have arrived and were not waited for


class State(enum.Enum, shape=3):
    """What the sequencer is at."""

    IDLE = 0
    HEADER = 1          # the next word is an instruction's first
    BODY = 2            # operand words come; with the last one the instruction acts
    MEMORY = 3          # a memory access is under way
    PAUSE = 4           # until the next look at memory
    COUNTER = 5         # a look at an event counter


class Sequencer(wiring.Component):
    """Executes the instructions of :mod:`hw.host.instructions`.

    Members
    -------
    ``start`` In, pulse (taken only when not ``busy``), with ``address`` and ``length`` In, in words; ``abort`` In: end at once;
    ``active`` Out, a schedule runs; ``busy`` Out, that or memory answers are still to come; ``position`` Out, index of the
    instruction under way or, after the end, of the last; ``steps`` Out, instructions begun since the start.
    ``command`` Out stream of launcher commands; ``idle`` In, per group; ``loading`` In, a program load is under way.
    ``token`` In, pulse per AGCU; ``watch`` Out with ``select`` Out: a counter is wanted, ``seen`` In: ``value`` In is its value.
    ``doorbell``, ``doorbells`` Out, value and number of SIGNALs; pulses: ``signal``, ``done``, ``failed`` Out with ``code`` Out.
    ``memory[0]`` Out(MemoryPort), data; ``memory[1]`` Out, the schedule.

    Contract: 2 cycles per instruction of one or two words and 3 of three, while the buffer has the words; LOAD, ARGUMENT and
    EXECUTE are complete when the launcher has taken them. NEXT takes 2 cycles, and a loop of up to DEPTH / 2 words is not fetched
    again. A schedule ends with its END when no load is under way; an opcode, comparison or operand that does not exist, a
    NEXT or LEAVE outside a loop and a fifth nested LOOP are ILLEGAL. Registers, tokens and loops are cleared at the start.
    """

    def __init__(self, config: RDUConfig):
        self.config, self.agcus = config, len(config.agcu_ports)
        port = MemoryPort(beat_bytes=config.beat_bytes, tag_bits=config.agcu.tag_bits - CLIENT_BITS)
        super().__init__({
            "start": In(1), "address": In(device_address()), "length": In(LENGTH_BITS), "abort": In(1),
            "active": Out(1), "busy": Out(1), "position": Out(LENGTH_BITS), "steps": Out(32),
            "command": Out(stream.Signature(command_layout())), "idle": In(config.groups), "loading": In(1),
            "token": In(self.agcus), "watch": Out(1), "select": Out(counter_select()), "seen": In(1), "value": In(32),
            "doorbell": Out(32), "doorbells": Out(32), "signal": Out(1), "done": Out(1), "failed": Out(1), "code": Out(4),
            "memory": Out(port).array(2),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = self.buffer = buffer = InstructionBuffer(self.config)
        m.submodules.access = self.access = access = WordAccess(self.config)
        m.submodules.loops = self.loops = LoopStack()
        connect(m, access.memory, flipped(self.memory[0]))
        connect(m, buffer.memory, flipped(self.memory[1]))
        self.state, self.header, self.first, self.left = Signal(State), Signal(32), Signal(32), Signal(2)
        self.act, self.took, self.illegal, self.misaligned = Signal(), Signal(), Signal(), Signal()
        self.pause, self.tokens, self.spend = Signal(range(POLL_CYCLES)), Signal(self.agcus), Signal(self.agcus)
        begin, over = Signal(), Signal()
        m.d.comb += [
            begin.eq(self.start & ~self.busy), over.eq(self.done | self.failed | self.abort),
            self.active.eq(self.state != State.IDLE), self.busy.eq(self.active | buffer.busy | access.busy),
            buffer.start.eq(begin), buffer.address.eq(self.address), buffer.length.eq(self.length), buffer.stop.eq(over),
            self.loops.clear.eq(begin),
        ]
        self._walk(m)
        self._registers(m, begin)
        with m.If(self.act), m.Switch(self.header[:4]):
            for opcode, action in self._actions().items():
                with m.Case(opcode):
                    action(m)
            with m.Default():
                m.d.comb += self.illegal.eq(1)
        self._memory(m)
        self._counter(m)
        self._tokens(m, begin)
        self._errors(m)
        with m.If(begin):
            m.d.sync += [self.state.eq(State.HEADER), self.steps.eq(0)]
        with m.If(over):
            m.d.sync += self.state.eq(State.IDLE)
        return m

    def _actions(self) -> dict:
        return {
            Opcode.END: self._end, Opcode.EXECUTE: self._execute, Opcode.LOAD: self._load, Opcode.ARGUMENT: self._argument,
            Opcode.COMPUTE: self._compute, Opcode.READ: self._access, Opcode.WRITE: self._access,
            Opcode.WAIT_MEMORY: self._access, Opcode.SIGNAL: self._signal, Opcode.LOOP: self._loop, Opcode.NEXT: self._next,
            Opcode.LEAVE: self._leave, Opcode.WAIT_IDLE: self._wait_idle, Opcode.WAIT_COUNTER: self._watch,
            Opcode.WAIT_TOKEN: self._wait_token,
        }

    def _field(self, opcode: Opcode, name: str):
        """A header field of the instruction under way."""
        word, field = INSTRUCTIONS[opcode].fields[name]
        assert word == 0
        return self.header[field.lsb:field.lsb + field.width]

    def _walk(self, m: Module) -> None:
        """Takes the words of an instruction. ``act`` is high from when its last word is there until ``took``."""
        word, body = self.buffer.word, self.state == State.BODY
        operands = Array([item.words - 1 for item in INSTRUCTIONS.values()] + [0])
        m.d.comb += [
            self.act.eq(body & ((self.left == 0) | ((self.left == 1) & word.valid & ~word.p.error))),
            word.ready.eq((self.state == State.HEADER) | (body & ((self.left == 2) | (self.took & (self.left == 1))))),
        ]
        with m.If((self.state == State.HEADER) & word.valid):
            m.d.sync += [self.header.eq(word.p.data), self.left.eq(operands[word.p.data[:4]]), self.state.eq(State.BODY),
                         self.position.eq(self.buffer.index), self.steps.eq(self.steps + 1)]
        with m.If(body & (self.left == 2) & word.valid):
            m.d.sync += [self.first.eq(word.p.data), self.left.eq(1)]
        with m.If(self.took):
            m.d.sync += self.state.eq(State.HEADER)

    def _registers(self, m: Module, begin) -> None:
        """The registers, and what is computed of them and of the last operand word."""
        m.submodules.registers = registers = Memory(shape=32, depth=REGISTERS_IN_SCHEDULE, init=[])
        first, second, write = registers.read_port(domain="comb"), registers.read_port(domain="comb"), registers.write_port()
        known, value = Signal(REGISTERS_IN_SCHEDULE), self.buffer.word.p.data
        uses_b = Cat(self.header[:4] == opcode for opcode in (Opcode.COMPUTE, Opcode.LEAVE, Opcode.WAIT_MEMORY)).any()
        self.a, self.sum, self.result, self.target = Signal(32), Signal(32), Signal(32), Signal(device_address())
        self.other, self.write = Signal(32), write
        shifted, base = Signal(40), Mux(self.header[:4] == Opcode.WAIT_MEMORY, self.first, value)
        shift, right, tier, high = (self._field(Opcode.READ, name) for name in ("shift", "right", "tier", "high"))
        m.d.comb += [
            first.addr.eq(self.header[8:12]), second.addr.eq(Mux(uses_b, self.header[12:16], self.header[4:8])),
            self.a.eq(Mux(known.bit_select(first.addr, 1), first.data, 0)),
            self.other.eq(Mux(known.bit_select(second.addr, 1), second.data, 0)),
            shifted.eq(Mux(right, self.a >> shift, (self.a << shift)[:40])),
            self.sum.eq(self.other + value),
            self.result.eq(Mux(self._field(Opcode.COMPUTE, "minus"), self.sum - shifted[:32], self.sum + shifted[:32])),
            self.target.offset.eq(Cat(base, high) + shifted), self.target.tier.eq(tier),
            write.addr.eq(self.header[4:8]),
        ]
        with m.If(write.en & (write.addr != 0)):
            m.d.sync += known.eq(known | (1 << write.addr))
        with m.If(begin):
            m.d.sync += known.eq(0)

    def _compare(self, left, right):
        """Whether ``left`` compares to ``right`` as the instruction wants."""
        kind, less = self.header[4:6], left < right
        return Mux(kind[1], Mux(kind[0], ~less, less), (left == right) ^ kind[0])

    # The launcher's work --------------------------------------------------------------------------------------------------
    def _send(self, m: Module, operation: Operation) -> None:
        m.d.comb += [self.command.valid.eq(1), self.command.p.operation.eq(operation), self.took.eq(self.command.ready)]

    def _execute(self, m: Module) -> None:
        self._send(m, Operation.EXECUTE)
        m.d.comb += [self.command.p.groups.eq(self._field(Opcode.EXECUTE, "groups")),
                     self.command.p.shadow.eq(self._field(Opcode.EXECUTE, "exchange"))]

    def _load(self, m: Module) -> None:
        self._send(m, Operation.LOAD)
        place = self.command.p.operand.place
        m.d.comb += [
            self.command.p.groups.eq(self._field(Opcode.LOAD, "groups")),
            self.command.p.shadow.eq(self._field(Opcode.LOAD, "shadow")),
            place.address.tier.eq(self._field(Opcode.LOAD, "tier")), place.words.eq(self.buffer.word.p.data),
            place.address.offset.eq(Cat(self.first, self.buffer.word.p.data[24:32])),
        ]

    def _argument(self, m: Module) -> None:
        self._send(m, Operation.ARGUMENT)
        word = self.command.p.operand.word
        m.d.comb += [word.data.eq(self.sum), word.word.eq(self._field(Opcode.ARGUMENT, "word")),
                     word.unit.eq(self._field(Opcode.ARGUMENT, "unit"))]

    # What takes its time by itself ----------------------------------------------------------------------------------------
    def _compute(self, m: Module) -> None:
        m.d.comb += [self.took.eq(1), self.write.en.eq(1), self.write.data.eq(self.result)]

    def _signal(self, m: Module) -> None:
        m.d.comb += [self.took.eq(1), self.signal.eq(self._field(Opcode.SIGNAL, "interrupt"))]
        m.d.sync += [self.doorbell.eq(self.sum), self.doorbells.eq(self.doorbells + 1)]

    def _end(self, m: Module) -> None:
        m.d.comb += self.done.eq(~self.loading & ~self.abort)

    def _wait_idle(self, m: Module) -> None:
        wanted = self._field(Opcode.WAIT_IDLE, "groups")[:len(self.idle)]
        m.d.comb += self.took.eq((self.idle | ~wanted).all())

    def _loop(self, m: Module) -> None:
        loop, loops, buffer = self.loops.loop, self.loops, self.buffer
        m.d.comb += [
            loop.body.eq(buffer.index + 1), loop.end.eq(loop.body + self._field(Opcode.LOOP, "length")), loop.left.eq(self.sum),
            self.illegal.eq(loops.full), self.took.eq(~loops.full),
        ]
        with m.If(self.sum == 0):
            m.d.comb += [buffer.jump.eq(self.took), buffer.target.eq(loop.end)]
        with m.Else():
            m.d.comb += loops.push.eq(self.took)

    def _next(self, m: Module) -> None:
        top, loops = self.loops.top, self.loops
        m.d.comb += [self.illegal.eq(loops.empty), self.took.eq(~loops.empty)]
        with m.If(top.left == 1):
            m.d.comb += loops.pop.eq(self.took)
        with m.Else():
            m.d.comb += [loops.step.eq(self.took), self.buffer.jump.eq(self.took), self.buffer.target.eq(top.body)]

    def _leave(self, m: Module) -> None:
        loops, wrong = self.loops, self.loops.empty | (self.header[6:8] != 0)
        m.d.comb += [self.illegal.eq(wrong), self.took.eq(~wrong)]
        with m.If(~wrong & self._compare(self.a, self.sum)):
            m.d.comb += [loops.pop.eq(1), self.buffer.jump.eq(1), self.buffer.target.eq(loops.top.end)]

    # Memory, counters, tokens -----------------------------------------------------------------------------------------------
    def _access(self, m: Module) -> None:
        """READ, WRITE, WAIT_MEMORY: begins the access."""
        polls = self.header[:4] == Opcode.WAIT_MEMORY
        wrong = polls & (self.header[6:8] != 0)
        aligned = self.target.offset[:2] == 0
        m.d.comb += [self.illegal.eq(wrong), self.misaligned.eq(~aligned), self.access.start.eq(~wrong & aligned),
                     self.took.eq(self.access.start & ~polls)]
        with m.If(self.access.start):
            m.d.sync += self.state.eq(State.MEMORY)

    def _memory(self, m: Module) -> None:
        """Ends READ and WRITE; repeats the access of WAIT_MEMORY, whose last operand word stays due all the time."""
        access, polls = self.access, self.header[:4] == Opcode.WAIT_MEMORY
        m.d.comb += [access.write.eq(self.header[:4] == Opcode.WRITE), access.address.eq(self.target), access.data.eq(self.other)]
        with m.If((self.state == State.MEMORY) & access.done & ~access.error):
            m.d.sync += self.state.eq(State.HEADER)
            with m.If(self.header[:4] == Opcode.READ):
                m.d.comb += [self.write.en.eq(1), self.write.data.eq(access.value)]
            with m.If(polls & ~self._compare(access.value, self.sum)):
                m.d.sync += [self.state.eq(State.PAUSE), self.pause.eq(POLL_CYCLES - 1)]
            with m.Elif(polls):
                m.d.comb += self.buffer.word.ready.eq(1)
        with m.If(self.state == State.PAUSE):
            m.d.sync += self.pause.eq(self.pause - 1)
            with m.If(self.pause == 0):
                m.d.sync += self.state.eq(State.BODY)

    def _watch(self, m: Module) -> None:
        wrong = self.header[6:8] != 0
        m.d.comb += self.illegal.eq(wrong)
        with m.If(~wrong):
            m.d.sync += self.state.eq(State.COUNTER)

    def _counter(self, m: Module) -> None:
        """WAIT_COUNTER: its operand word stays due until the counter compares."""
        m.d.comb += [self.watch.eq(self.state == State.COUNTER), self.select.unit.eq(self._field(Opcode.WAIT_COUNTER, "unit")),
                     self.select.index.eq(self._field(Opcode.WAIT_COUNTER, "index"))]
        with m.If(self.watch & self.seen):
            with m.If(self._compare(self.value, self.buffer.word.p.data)):
                m.d.comb += self.buffer.word.ready.eq(1)
                m.d.sync += self.state.eq(State.HEADER)
            with m.Else():
                m.d.sync += [self.state.eq(State.PAUSE), self.pause.eq(POLL_CYCLES - 1)]

    def _wait_token(self, m: Module) -> None:
        number, known = self._field(Opcode.WAIT_TOKEN, "agcu"), Signal()
        m.d.comb += [known.eq(number < self.agcus), self.illegal.eq(~known), self.took.eq(known & (self.tokens >> number)[0]),
                     self.spend.eq(Mux(self.took, 1 << number, 0))]

    def _tokens(self, m: Module, begin) -> None:
        for number in range(self.agcus):
            count = Signal(TOKEN_BITS, name=f"tokens_{number}")
            m.d.comb += self.tokens[number].eq(count != 0)
            with m.If(self.token[number] & ~self.spend[number] & ~count.all()):
                m.d.sync += count.eq(count + 1)
            with m.Elif(self.spend[number] & ~self.token[number]):
                m.d.sync += count.eq(count - 1)
            with m.If(begin):
                m.d.sync += count.eq(0)

    def _errors(self, m: Module) -> None:
        """Checked before anything happens; ``position`` names the instruction."""
        wants = (self.state == State.HEADER) | ((self.state == State.BODY) & (self.left != 0))
        word, access = self.buffer.word, self.access
        with m.If(self.active & ~self.abort):
            for wrong, code in ((wants & self.buffer.ended, LauncherError.RUNAWAY),
                                (wants & word.valid & word.p.error, LauncherError.MEMORY),
                                ((self.state == State.MEMORY) & access.done & access.error, LauncherError.MEMORY),
                                (self.act & self.misaligned, LauncherError.MISALIGNED), (self.illegal, LauncherError.ILLEGAL)):
                with m.If(wrong):
                    m.d.comb += [self.failed.eq(1), self.code.eq(code)]
