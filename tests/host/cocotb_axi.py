"""cocotb tests of the AXI window: random bursts of every kind, size, strobe and error, with pauses on every channel.

``SABOTAGE`` in the environment: one defect of ``HostTop`` that the traffic and the protocol checker must find.
"""

from __future__ import annotations

import os
import random
from collections import deque

import cocotb
from cocotb.triggers import ClockCycles
from cocotbext.axi.axi_channels import (
    AxiARBus,
    AxiARSource,
    AxiARTransaction,
    AxiAWBus,
    AxiAWSource,
    AxiAWTransaction,
    AxiBBus,
    AxiBSink,
    AxiRBus,
    AxiRSink,
    AxiWBus,
    AxiWSource,
    AxiWTransaction,
)

from .axi_bursts import Burst, random_burst
from .cocotb_host_port import CAPACITY, CONFIG, Bench

ROUNDS = int(os.environ.get("ROUNDS", "8"))
SEED = int(os.environ.get("SEED", "1"))
BUS = CONFIG.beat_bytes
WRITES, READS = (0, 16384), (32768, 16384)        # regions: the first is written, the second only read
OKAY, SLVERR, DECERR = 0, 2, 3


class Channels:
    """The five channels as cocotbext-axi drives them, each with its own pauses."""

    def __init__(self, dut):
        clock = dut.clk, dut.rst
        self.aw, self.w = AxiAWSource(AxiAWBus.from_prefix(dut, "s_axi"), *clock), AxiWSource(AxiWBus.from_prefix(dut, "s_axi"), *clock)
        self.b, self.r = AxiBSink(AxiBBus.from_prefix(dut, "s_axi"), *clock), AxiRSink(AxiRBus.from_prefix(dut, "s_axi"), *clock)
        self.ar = AxiARSource(AxiARBus.from_prefix(dut, "s_axi"), *clock)

    def pauses(self, rng: random.Random) -> None:
        """A probability of its own for each channel, also none and nearly always."""
        for channel in (self.aw, self.w, self.b, self.ar, self.r):
            share, own = rng.choice([0, 0, 0.3, 0.9]), random.Random(rng.random())
            channel.set_pause_generator(iter(lambda share=share, own=own: own.random() < share, None))


class Traffic:
    """Bursts in flight on both sides, and what they must do."""

    def __init__(self, bench: Bench, channels: Channels, rng: random.Random):
        self.bench, self.channels, self.rng = bench, channels, rng
        self.model = {(0, address): bench.memory.read(0, address, 1)[0] for address in range(*self._span(WRITES))}

    @staticmethod
    def _span(region):
        return region[0], region[0] + region[1]

    def expected(self, burst: Burst) -> list[int]:
        """The memory's answer to each transfer."""
        tier, found = burst.address >> 40, []
        for beat in burst.beats():
            address = beat & (1 << 40) - 1
            outside = tier > 1 or address + BUS > CAPACITY[tier]
            found.append(DECERR if outside else SLVERR if (tier, address) in self.bench.memory.broken else OKAY)
        return found

    def burst(self, region) -> Burst:
        tier = self.rng.choice([0] * 12 + [3])                    # now and then where no memory is
        burst = random_burst(self.rng, BUS, region, self.rng.randrange(16))
        return Burst(burst.kind, burst.address | tier << 40, burst.length, burst.size, BUS, burst.identity)

    async def write(self, count: int) -> None:
        bursts, channels = [self.burst(WRITES) for _ in range(count)], self.channels
        for burst in bursts:
            channels.aw.send_nowait(AxiAWTransaction(awid=burst.identity, awaddr=burst.address, awlen=burst.length - 1,
                                                     awsize=burst.size.bit_length() - 1, awburst=int(burst.kind)))
            answers = self.expected(burst)
            for number, (place, lane, lanes) in enumerate(burst.transfers()):
                data, strobes = self.rng.randbytes(BUS), self.rng.choice([(1 << lanes) - 1, self.rng.randrange(1 << lanes)])
                channels.w.send_nowait(AxiWTransaction(wdata=int.from_bytes(data, "little"), wstrb=strobes << lane,
                                                       wlast=number == burst.length - 1))
                for index in range(lanes):
                    if strobes >> index & 1 and answers[number] == OKAY:
                        self.model[0, place + index] = data[lane + index]
        waiting: dict[int, deque[int]] = {}
        for burst in bursts:
            waiting.setdefault(burst.identity, deque()).append(max(self.expected(burst)))
        for _ in bursts:
            answer = await channels.b.recv()
            queue = waiting.get(int(answer.bid))
            assert queue, f"a write response of id {int(answer.bid)}, which has none to come"
            wanted = queue.popleft()
            assert int(answer.bresp) == wanted, f"BRESP {int(answer.bresp)}, expected {wanted}"

    async def read(self, count: int) -> None:
        bursts, channels = [self.burst(READS) for _ in range(count)], self.channels
        for burst in bursts:
            channels.ar.send_nowait(AxiARTransaction(arid=burst.identity, araddr=burst.address, arlen=burst.length - 1,
                                                     arsize=burst.size.bit_length() - 1, arburst=int(burst.kind)))
        for burst in bursts:                              # the window answers in order of request
            for number, ((place, lane, lanes), wanted) in enumerate(zip(burst.transfers(), self.expected(burst), strict=True)):
                beat = await channels.r.recv()
                assert int(beat.rid) == burst.identity, f"RID {int(beat.rid)}, expected {burst.identity}"
                assert int(beat.rlast) == (number == burst.length - 1), "RLAST"
                assert int(beat.rresp) == wanted, f"RRESP {int(beat.rresp)}, expected {wanted} ({burst})"
                if wanted == OKAY:
                    data = int(beat.rdata).to_bytes(BUS, "little")[lane:lane + lanes]
                    content = self.bench.memory.read(0, place, lanes)
                    assert data == content, f"transfer {number} of {burst}: {data.hex()} for {content.hex()}"

    def written(self) -> None:
        wrong = [address for (_, address), value in self.model.items() if self.bench.memory.read(0, address, 1)[0] != value]
        assert not wrong, f"bytes at {wrong[:8]} differ from what the bursts wrote"


@cocotb.test(timeout_time=60, timeout_unit="us" if ROUNDS < 50 else "ms")
async def random_bursts(dut):
    dut.sabotage.value = int(os.environ.get("SABOTAGE", "0"))
    bench = await Bench.start(dut, seed=SEED, master=False)
    rng, channels = random.Random(SEED), Channels(dut)
    for address in range(READS[0], READS[0] + READS[1], 1 << 10):
        bench.memory.write(0, address, rng.randbytes(1 << 10))
    for region in (WRITES, READS):
        for _ in range(12):
            bench.memory.broken.add((0, region[0] + rng.randrange(region[1] // BUS) * BUS))
    for _ in range(ROUNDS):
        channels.pauses(rng)
        bench.memory.stall, bench.memory.latency = rng.choice([0, 0.3, 0.8]), (1, rng.choice([3, 40]))
        traffic = Traffic(bench, channels, rng)
        both = [cocotb.start_soon(traffic.write(8)), cocotb.start_soon(traffic.read(8))]
        for task in both:
            await task
        traffic.written()
    await ClockCycles(dut.clk, 20)
    bench.finish()
    counts = bench.checkers[0].transfers
    dut._log.info(f"{ROUNDS} rounds, {counts}")
    assert counts["b"] == counts["aw"] == 8 * ROUNDS == counts["ar"]


@cocotb.test(timeout_time=30, timeout_unit="us" if ROUNDS < 50 else "ms")
async def random_registers(dut):
    """Reads and writes of any address with any strobes; a model of the registers that only the host changes."""
    from cocotbext.axi import AxiResp

    from hw.host.registers import REGISTERS, Access

    dut.sabotage.value = 0
    bench = await Bench.start(dut, seed=SEED, master=False)
    bench.throttle(bench.lite, SEED)
    rng = random.Random(SEED)
    moving = ("ARGUMENT_SELECT", "COUNTER_SELECT")        # the device changes these too
    own = {item.address: item.reset for item in REGISTERS if item.access is Access.RW and item.name not in moving}
    known = {item.address + 4 * index: item for item in REGISTERS for index in range(item.count)}
    for _ in range(25 * ROUNDS):
        address = rng.choice([rng.choice(list(known)), rng.randrange(1 << 10) * 4])
        item = known.get(address)
        if rng.random() < 0.5:
            lane = rng.randrange(4)
            data = rng.randbytes(rng.randint(1, 4 - lane))
            answer = await bench.lite.write(address + lane, data)
            if item is None:
                assert answer.resp == AxiResp.DECERR
            elif item.access is Access.RO:
                assert answer.resp == AxiResp.SLVERR
            elif item.access is Access.RW:
                assert answer.resp == AxiResp.OKAY
                if address in own:
                    kept = bytearray(own[address].to_bytes(4, "little"))
                    kept[lane:lane + len(data)] = data
                    own[address] = int.from_bytes(kept, "little")
        else:
            answer = await bench.lite.read(address, 4)
            assert answer.resp == (AxiResp.DECERR if item is None else AxiResp.OKAY)
            if address in own:
                assert int.from_bytes(answer.data, "little") == own[address], f"{item.name}"
    bench.finish()

