"""cocotb tests of the whole host port: random AXI traffic by an independent master, the launcher by its registers."""

from __future__ import annotations

import logging
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBurstType, AxiBus, AxiLiteBus, AxiLiteMaster, AxiMaster, AxiResp

from hw.common.packet import Status, memory_request, memory_response
from hw.config import preset
from hw.host.model import play
from hw.host.registers import ID_VALUE, LauncherError, register

from .axi_checker import AxiChecker

CONFIG = preset(os.environ.get("PRESET", "small"))
REQUEST = memory_request(CONFIG.beat_bytes, CONFIG.agcu.tag_bits)
RESPONSE = memory_response(CONFIG.beat_bytes, CONFIG.agcu.tag_bits)
CAPACITY = (CONFIG.hbm.bytes, CONFIG.ddr.bytes)


class Memory:
    """Byte-addressed memory behind both ports: random latency and stalls, answers out of order, errors in ``broken`` beats."""

    def __init__(self, dut, seed: int):
        self.random, self.bytes, self.broken, self.outstanding = random.Random(seed), {}, set(), 0
        self.latency, self.stall = (1, 40), 0.3
        for number in range(2):
            cocotb.start_soon(self._serve(dut, number))

    def read(self, tier: int, address: int, length: int) -> bytes:
        return bytes(self.bytes.get((tier, address + i), 0) for i in range(length))

    def write(self, tier: int, address: int, values: bytes) -> None:
        for i, value in enumerate(values):
            self.bytes[tier, address + i] = value

    async def _serve(self, dut, number: int):
        names = (f"memory__{number}__{part}__{signal}" for part in ("request", "response") for signal in ("valid", "ready",
                                                                                                          "payload"))
        valid, ready, payload, answer, _, answer_payload = (getattr(dut, name) for name in names)
        waiting, cycle = [], 0
        ready.value = answer.value = answer_payload.value = 0
        while True:
            await RisingEdge(dut.clk)
            cycle += 1
            if int(ready.value) and int(valid.value):
                waiting.append((cycle + self.random.randint(*self.latency), self._access(REQUEST.from_bits(int(payload.value)))))
                self.outstanding += 1
            ready.value = int(self.random.random() >= self.stall)
            due = [entry for entry in waiting if entry[0] <= cycle]
            answer.value = bool(due)
            if due:
                chosen = self.random.choice(due)
                waiting.remove(chosen)
                self.outstanding -= 1
                answer_payload.value = chosen[1]

    def _access(self, request) -> int:
        tier, address, data = request.tier.value, request.address, 0
        size, status = CONFIG.beat_bytes, Status.OKAY
        if tier > 1 or address + size > CAPACITY[tier]:
            status = Status.DECODE_ERROR
        elif (tier, address) in self.broken:
            status = Status.UNCORRECTABLE
        elif request.write:
            for i in range(size):
                if request.mask >> i & 1:
                    self.bytes[tier, address + i] = request.data >> 8 * i & 0xFF
        else:
            data = int.from_bytes(self.read(tier, address, size), "little")
        return RESPONSE.const({"tag": request.tag, "status": status, "write": request.write, "data": data}).as_bits()


async def check(dut, prefix: str, checker: AxiChecker):
    """Feeds the checker; its failure fails the test."""
    parts = {"aw": ("id", "len"), "w": ("last",), "b": ("id", "resp"), "ar": ("id", "len"), "r": ("id", "data", "resp", "last")}
    names = [channel + part for channel, own in parts.items() for part in (*own, "valid", "ready")]
    signals = {name: getattr(dut, prefix + name) for name in names if hasattr(dut, prefix + name)}
    while True:
        await RisingEdge(dut.clk)
        checker.step({name: int(signal.value) for name, signal in signals.items()})


class Bench:
    """The device under test with masters, memory, checkers and a tile."""

    @classmethod
    async def start(cls, dut, seed: int = 1, master: bool = True):
        self = cls()
        self.dut, self.random = dut, random.Random(seed)
        for signal in (dut.busy, dut.drained, dut.fault, dut.counter_value, dut.token):
            signal.value = 0
        dut.rst.value = 1
        cocotb.start_soon(Clock(dut.clk, 2, "ns").start())
        self.memory = Memory(dut, seed)
        self.lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        if master:
            self.axi = AxiMaster(AxiBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
        else:
            for name in ("awvalid", "wvalid", "bready", "arvalid", "rready"):
                getattr(dut, "s_axi_" + name).value = 0
        for bus in ("s_axil", "s_axi"):
            logging.getLogger(f"cocotb.{dut._name}.{bus}").setLevel(logging.WARNING)
        await ClockCycles(dut.clk, 4)
        dut.rst.value = 0
        await ClockCycles(dut.clk, 2)
        self.checkers = [AxiChecker("window"), AxiChecker("registers", lite=True)]
        cocotb.start_soon(check(dut, "s_axi_", self.checkers[0]))
        cocotb.start_soon(check(dut, "s_axil_", self.checkers[1]))
        self.writes, self.executed, self.work, self.resets = [], [], 40, 0
        cocotb.start_soon(self._tile())
        return self

    def throttle(self, master, seed: int):
        """Random pauses on every channel of a master."""
        for number, channel in enumerate((master.write_if.aw_channel, master.write_if.w_channel, master.write_if.b_channel,
                                          master.read_if.ar_channel, master.read_if.r_channel)):
            channel.set_pause_generator(self._pauses(random.Random(seed + number)))

    @staticmethod
    def _pauses(rng):
        while True:
            yield rng.random() < 0.4

    async def _tile(self):
        dut, end, number = self.dut, [0] * CONFIG.groups, 0
        values = [dut.config_write__valid, dut.config_write__unit, dut.config_write__word, dut.config_write__data, dut.execute,
                  dut.tile_reset, dut.quiesce]
        cycle = 0
        while True:
            await RisingEdge(dut.clk)
            cycle += 1
            valid, unit, word, data, execute, reset, quiesce = (int(v.value) for v in values)
            if valid:
                assert not execute
                self.writes.append((unit, word, data))
            for group in range(CONFIG.groups):
                if execute >> group & 1:
                    self.executed.append(group)
                    end[group] = cycle + self.work
            if reset:
                end, self.resets = [0] * CONFIG.groups, self.resets + 1
            dut.busy.value = sum((cycle < end[group]) << group for group in range(CONFIG.groups))
            dut.drained.value = quiesce
            select = int(dut.counter_select.value)
            number = (select >> 14) + 256 * (select & 0x3FFF) if cycle % 1 == 0 else number
            dut.counter_value.value = number

    async def write(self, name: str, value: int | None = None, resp=AxiResp.OKAY, **fields):
        answer = await self.lite.write(register(name).address,
                                       (register(name).pack(**fields) if value is None else value).to_bytes(4, "little"))
        assert answer.resp == resp, f"{name}: {answer.resp}"

    async def read(self, name: str, index: int = 0) -> int:
        answer = await self.lite.read(register(name).address + 4 * index, 4)
        assert answer.resp == AxiResp.OKAY, f"{name}: {answer.resp}"
        return int.from_bytes(answer.data, "little")

    async def fields(self, name: str) -> dict[str, int]:
        return register(name).unpack(await self.read(name))

    async def until(self, signal, value: int = 1, cycles: int = 5000):
        for _ in range(cycles):
            await RisingEdge(self.dut.clk)
            if int(signal.value) == value:
                return
        raise AssertionError(f"{signal._name} is not {value} after {cycles} cycles")

    async def load(self, tier: int, address: int, words: int):
        await self.write("IMAGE_LO", address & 0xFFFF_FFFF)
        await self.write("IMAGE_HI", address=address >> 32, tier=tier)
        await self.write("IMAGE_WORDS", words=words)
        await self.write("LOAD", 0)

    def finish(self):
        for checker in self.checkers:
            checker.finish()


@cocotb.test(timeout_time=20, timeout_unit="us")
async def registers_answer(dut):
    bench = await Bench.start(dut)
    bench.throttle(bench.lite, 3)
    assert await bench.read("ID") == ID_VALUE
    assert await bench.read("CONFIG_HASH") == CONFIG.digest
    geometry = await bench.fields("GEOMETRY")
    assert geometry == {"rows": CONFIG.rows, "columns": CONFIG.columns, "agcus": len(CONFIG.agcu_ports), "groups": CONFIG.groups}
    assert await bench.read("HBM_MEGABYTES") == CONFIG.hbm.bytes >> 20
    first = await bench.read("CYCLES_LO")
    assert await bench.read("CYCLES_LO") > first and await bench.read("CYCLES_HI") == 0
    assert await bench.read("INTERLEAVE") == 0xFF
    await bench.write("IMAGE_LO", 0x1234_5678)
    await bench.lite.write(register("IMAGE_LO").address + 1, b"\xAA")
    assert await bench.read("IMAGE_LO") == 0x1234_AA78
    await bench.write("ID", 1, resp=AxiResp.SLVERR)
    assert (await bench.lite.read(0xF00, 4)).resp == AxiResp.DECERR
    assert (await bench.lite.write(0xF00, bytes(4))).resp == AxiResp.DECERR
    await bench.write("COUNTER_SELECT", unit=37, index=5)
    assert [await bench.read("COUNTER_VALUE") for _ in range(3)] == [37 * 0 + 5 + 256 * 37 + n for n in range(3)]
    bench.finish()


@cocotb.test(timeout_time=20, timeout_unit="us")
async def window_random_traffic(dut):
    """Random bursts against a byte-wise model; writes and reads of disjoint places run at once."""
    bench = await Bench.start(dut, seed=2)
    bench.throttle(bench.axi, 11)
    rng, model = bench.random, {}
    for _ in range(4):
        jobs = []
        for slot in range(6):
            tier, address = rng.randrange(2), slot * 8192 + rng.randrange(4096)
            data = rng.randbytes(rng.choice([1, 3, 32, 77, 500, 1500]))
            size = rng.choice([None, 0, 1, 2, 3])
            data = data[:64] if size in (0, 1) else data
            jobs.append((tier, address, data, size, cocotb.start_soon(bench.axi.write(address | tier << 40, data, size=size))))
        for tier, address, data, _, job in jobs:
            answer = await job
            assert answer.resp == AxiResp.OKAY
            model |= {(tier, address + i): value for i, value in enumerate(data)}
        assert all(bench.memory.bytes.get(key, 0) == value for key, value in model.items())
        reads = [(tier, address, len(data), cocotb.start_soon(bench.axi.read(address | tier << 40, len(data), size=size)))
                 for tier, address, data, size, _ in jobs]
        for tier, address, length, job in reads:
            answer = await job
            assert answer.resp == AxiResp.OKAY
            assert answer.data == bench.memory.read(tier, address, length)
    assert {key for key, value in bench.memory.bytes.items() if value} <= set(model), "a byte outside the bursts was written"
    bench.finish()


@cocotb.test(timeout_time=20, timeout_unit="us")
async def window_wrap_and_fixed(dut):
    bench = await Bench.start(dut, seed=3, master=False)
    rng, beat = bench.random, CONFIG.beat_bytes
    for length in (2, 4, 8, 16):
        for size in (beat.bit_length() - 1, 2):
            width = 1 << size
            container = rng.randrange(64) * width * length
            start = container + rng.randrange(length) * width
            content = rng.randbytes(width * length)
            bench.memory.write(0, container, content)
            turned = start - container
            answer = await raw_read(bench, start, length, size, AxiBurstType.WRAP)
            assert answer == content[turned:] + content[:turned], (length, size, start)
            fixed = await raw_read(bench, start, length, size, AxiBurstType.FIXED)
            assert fixed == content[turned:turned + width] * length
    bench.finish()


async def raw_read(bench, address: int, length: int, size: int, burst) -> bytes:
    """One burst by hand: cocotbext-axi makes INCR only."""
    dut, width, beat = bench.dut, 1 << size, CONFIG.beat_bytes
    for name, value in (("araddr", address), ("arlen", length - 1), ("arsize", size), ("arburst", burst), ("arid", 5)):
        getattr(dut, "s_axi_" + name).value = int(value)
    dut.s_axi_arvalid.value = 1
    await RisingEdge(dut.clk)
    while not int(dut.s_axi_arready.value):
        await RisingEdge(dut.clk)
    dut.s_axi_arvalid.value = 0
    dut.s_axi_rready.value = 1
    result, place = b"", address
    for number in range(length):
        await RisingEdge(dut.clk)
        while not int(dut.s_axi_rvalid.value):
            await RisingEdge(dut.clk)
        assert int(dut.s_axi_rid.value) == 5 and int(dut.s_axi_rlast.value) == (number == length - 1)
        lane = place % beat
        result += int(dut.s_axi_rdata.value).to_bytes(beat, "little")[lane:lane + width]
        if burst != AxiBurstType.FIXED:
            container = address // (width * length) * (width * length)
            place = container + (place - container + width) % (width * length)
    dut.s_axi_rready.value = 0
    await RisingEdge(dut.clk)
    return result


@cocotb.test(timeout_time=20, timeout_unit="us")
async def window_errors(dut):
    bench = await Bench.start(dut, seed=4)
    beat = CONFIG.beat_bytes
    bench.memory.broken.add((0, 10 * beat))
    outside = CAPACITY[0]
    assert (await bench.axi.read(10 * beat, 4)).resp == AxiResp.SLVERR
    assert (await bench.axi.write(9 * beat, bytes(3 * beat))).resp == AxiResp.SLVERR
    assert (await bench.axi.read(outside, 4)).resp == AxiResp.DECERR
    assert (await bench.axi.write(3 << 40, bytes(4))).resp == AxiResp.DECERR
    assert (await bench.axi.write(8 * beat, bytes(4))).resp == AxiResp.OKAY, "an error does not stick"
    bench.finish()


@cocotb.test(timeout_time=20, timeout_unit="us")
async def window_throughput(dut):
    """One beat a cycle each way with a memory of 12 cycles."""
    bench = await Bench.start(dut, seed=5)
    bench.memory.latency, bench.memory.stall = (12, 12), 0
    beat, count = CONFIG.beat_bytes, 2048 // CONFIG.beat_bytes
    await bench.axi.write(0, bytes(beat))
    for action in ((bench.axi.write, bytes(count * beat)), (bench.axi.read, count * beat)):
        before = bench.checkers[0].cycle
        await action[0](0, action[1])
        assert bench.checkers[0].cycle - before <= count + 30
    bench.finish()


@cocotb.test(timeout_time=20, timeout_unit="us")
async def launch(dut):
    """Load, arguments and execute by registers while the window is in use; interrupts; cycles."""
    bench = await Bench.start(dut, seed=6)
    rng = bench.random
    image = []
    for _ in range(5):
        count = rng.choice([1, 3, 40])
        image += [rng.randrange(1 << 14) << 18 | rng.randrange(900) << 8 | count, *(rng.randrange(1 << 32) for _ in range(count))]
    image.append(0)
    blob = b"".join(word.to_bytes(4, "little") for word in image)
    await bench.axi.write(0x100_1004 | 0 << 40 if CAPACITY[0] > 0x100_2000 else 0x1004, blob)
    address = 0x100_1004 if CAPACITY[0] > 0x100_2000 else 0x1004
    await bench.write("IRQ_ENABLE", load_done=1, group_done=2)
    busy_window = cocotb.start_soon(bench.axi.read(0, 3000))
    await bench.load(0, address, len(image))
    await bench.write("ARGUMENT_SELECT", unit=3, word=7)
    await bench.write("ARGUMENT", 111)
    await bench.write("ARGUMENT", 222)                     # word 8: the selection moves on
    await bench.write("EXECUTE", groups=2)
    await bench.until(dut.irq)
    assert (await bench.fields("IRQ_STATUS"))["load_done"]
    await bench.write("IRQ_STATUS", load_done=1)
    await bench.until(dut.irq)
    assert (await bench.fields("IRQ_STATUS"))["group_done"] == 2
    assert bench.writes == [*play(image)[0], (3, 7, 111), (3, 8, 222)]
    assert bench.executed == [1]
    assert bench.work <= await bench.read("KERNEL_CYCLES", 1) <= bench.work + 6
    assert await bench.read("KERNEL_COUNT", 1) == 1
    await busy_window
    bench.finish()


@cocotb.test(timeout_time=20, timeout_unit="us")
async def faults_errors_and_reset(dut):
    bench = await Bench.start(dut, seed=7)
    await bench.write("IRQ_ENABLE", fault=1, error=1, reset_done=1)
    bench.work = 1 << 40
    await bench.write("EXECUTE", groups=1)
    await bench.write("EXECUTE", groups=1)                 # waits behind the first
    from hw.common.program import tile_fault_layout
    fault = tile_fault_layout().const({"valid": 1, "cause": 2, "segment": 5, "offset": 0xDEAD_BEE0, "unit": 33}).as_bits()
    dut.fault.value = fault
    await bench.until(dut.irq)
    assert (await bench.fields("FAULT")) == {"valid": 1, "cause": 2, "segment": 5, "unit": 33}
    assert await bench.read("FAULT_OFFSET") == 0xDEAD_BEE0
    assert (await bench.fields("STATUS"))["running"] == 1
    await bench.write("IRQ_STATUS", 0xFFFF_FFFF)
    await bench.write("TILE_RESET", 1)
    await bench.until(dut.tile_reset)
    dut.fault.value = 0
    await bench.until(dut.irq)
    assert (await bench.fields("IRQ_STATUS")) | {"reset_done": 1} == await bench.fields("IRQ_STATUS")
    status = await bench.fields("STATUS")
    assert status["running"] == 0 and not status["launcher_busy"] and not status["fault"] and status["queue_free"] == 64
    assert bench.executed == [0] and bench.resets == 8
    # The queue refuses what it cannot hold.
    bench.work = 400
    await bench.write("EXECUTE", groups=1)
    await bench.write("EXECUTE", groups=1)
    for _ in range(63):
        await bench.write("ARGUMENT", 5)
    await bench.write("ARGUMENT", 5, resp=AxiResp.SLVERR)
    # A bad image halts the launcher, and the reset makes it whole.
    await bench.write("IRQ_STATUS", 0xFFFF_FFFF)
    await bench.write("TILE_RESET", 1)
    await bench.write("ARGUMENT", 5, resp=AxiResp.SLVERR)  # nor does the queue take anything during the reset
    await bench.until(dut.irq)
    await bench.write("IRQ_STATUS", 0xFFFF_FFFF)
    await bench.load(3, 0x40, 8)
    await bench.until(dut.irq)
    assert await bench.fields("ERROR") == {"code": LauncherError.MEMORY, "position": 0}
    assert (await bench.fields("STATUS"))["halted"]
    bench.finish()
