"""All ports of a socket's memory at once: TLN, controllers with ECC and refresh, devices that check every rule."""

import dataclasses

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.common.packet import MemoryPort, Status, memory_request, memory_response
from hw.config import DRAMConfig, preset
from hw.dram.controller import DRAMController
from hw.hierarchy import instantiate
from hw.tln.model import Interleave
from hw.tln.port import channel_tag_bits, requester_count
from hw.tln.tln import TLN
from sim.dram import SOURCES, DRAMDevice, commands, inject, report
from sim.unit_bench import UnitBench

SMALL = preset("small")
CONFIG = dataclasses.replace(
    SMALL, agcu=dataclasses.replace(SMALL.agcu, outstanding=1024),       # more tags than requests can be under way
    hbm=DRAMConfig(channels=2, timing="hbm2", megabytes_per_channel=2, ecc=True),
    ddr=DRAMConfig(channels=1, timing="ddr4-3200", megabytes_per_channel=2, ecc=True))
BEAT, TAG_BITS = CONFIG.beat_bytes, CONFIG.agcu.tag_bits
PORTS, OWN = requester_count(CONFIG), 1500        # beats of its own that each port has in each tier
SLOTS = 1 << TAG_BITS                             # tags of a port: more than its requests that find room in the system
ERRORS = 40                                       # beats of each port and tier in which a round plants an error
REQUEST, RESPONSE = memory_request(BEAT, TAG_BITS), memory_response(BEAT, TAG_BITS)


class Everything(wiring.Component):
    """The TLN with its channels; the requesters are ports. ``corrected``, ``uncorrectable``: the controllers' events since the reset."""

    def __init__(self):
        port = MemoryPort(beat_bytes=BEAT, tag_bits=TAG_BITS)
        super().__init__({"requesters": In(port).array(PORTS), "corrected": Out(32), "uncorrectable": Out(32)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.tln = tln = TLN(CONFIG)
        for outer, inner in zip(self.requesters, tln.requesters, strict=True):
            connect(m, flipped(outer), inner)
        tiers = [CONFIG.hbm] * CONFIG.hbm.channels + [CONFIG.ddr] * CONFIG.ddr.channels
        total = {"corrected": 0, "uncorrectable": 0}
        for number, (tier, channel) in enumerate(zip(tiers, tln.channels, strict=True)):
            controller = DRAMController(tier, beat_bytes=BEAT, tag_bits=channel_tag_bits(CONFIG))
            m.submodules[f"controller_{number}"] = instantiate(platform, controller)
            m.submodules[f"device_{number}"] = device = DRAMDevice(tier, number, BEAT)
            connect(m, channel, controller.port)
            connect(m, controller.dfi, device.dfi)
            for name in ("corrected", "uncorrectable"):
                count = Signal(32, name=f"{name}_{number}")
                m.d.sync += count.eq(count + getattr(controller.events, name))
                total[name] = total[name] + count
        m.d.comb += [self.corrected.eq(total["corrected"]), self.uncorrectable.eq(total["uncorrectable"])]
        return m


def pack(fields: dict[str, np.ndarray], count: int) -> np.ndarray:
    """Requests as rows of words; a field is an array of bits, one row each."""
    bits = np.zeros((count, -(-REQUEST.size // 32) * 32), np.uint8)
    for name, values in fields.items():
        field = REQUEST[name]
        bits[:, field.offset:field.offset + field.width] = values[:, :field.width]
    return np.packbits(bits, axis=1, bitorder="little").view("<u4")


def bits_of(values, width: int) -> np.ndarray:
    return (np.asarray(values, np.uint64)[:, None] >> np.arange(width, dtype=np.uint64) & np.uint64(1)).astype(np.uint8)


class Port:
    """Random requests of one port to beats of its own, and what they must be answered with. Reads and writes of an AGCU are not ordered
    among each other, nor those of its engines: in each round it only reads some of its beats and only writes the others."""

    def __init__(self, number: int):
        self.number, self.random = number, np.random.default_rng(number)
        self.model = [np.zeros((OWN, BEAT), np.uint8) for _ in range(2)]
        self.wrong = np.zeros((2, OWN), int)              # bits that are wrong in each beat: 0, 1 or 2
        self.seen = {Status.CORRECTED: 0, Status.UNCORRECTABLE: 0}        # reads of such beats so far

    def plant(self, lib) -> int:
        """One or two wrong bits in a word of some beats that have none. Returns how many beats."""
        for tier, channels, first in ((0, Interleave.of(CONFIG, CONFIG.hbm), 0), (1, Interleave.of(CONFIG, CONFIG.ddr), 2)):
            for beat in self.random.choice(np.flatnonzero(self.wrong[tier] == 0), ERRORS, replace=False):
                channel, local = (int(value) for value in channels.locate(self.number * OWN + beat))
                word, count = 8 * int(self.random.integers(BEAT // 8)), int(self.random.integers(1, 3))
                for bit in map(int, self.random.choice(72, count, replace=False)):
                    inject(lib, first + channel, local * BEAT + word + bit % 64 // 8, bit % 8 if bit < 64 else bit - 56)
                self.wrong[tier, beat] = count
        return 2 * ERRORS

    def _access(self, tier: int, beat: int, write: bool, mask: np.ndarray, data: np.ndarray) -> tuple[Status, np.ndarray | None]:
        """The answer to a request, of which the bytes count if it is a read of what is not lost."""
        held, wrong = self.model[tier][beat], self.wrong[tier, beat]
        status = (Status.OKAY, Status.CORRECTED, Status.UNCORRECTABLE)[0 if write and mask.all() else wrong]
        if status != Status.OKAY:
            self.seen[status] += 1
        if write and status != Status.UNCORRECTABLE:      # a part of a beat goes into the corrected whole
            np.copyto(held, data, where=mask.astype(bool))
            self.wrong[tier, beat] = 0
            return Status.OKAY, None
        return status, None if write or status == Status.UNCORRECTABLE else held.copy()

    def round(self, count: int):
        """(payloads, tags, expected answers) of the next requests."""
        random = self.random
        tier, write = (random.random(count) < 0.15).astype(int), random.random(count) < random.random()
        # Streams, hot spots and single places.
        beat = np.where(random.random(count) < 0.5, (np.arange(count) + random.integers(OWN)) % OWN,
                        random.integers(0, random.choice([3, 40, OWN]), count))
        if self.number < PORTS - 2:
            write = random.integers(0, 2, (2, OWN), dtype=bool)[tier, beat]
        engine = random.integers(0, CONFIG.agcu.load_engines, count)
        data = random.integers(0, 256, (count, BEAT), dtype=np.uint8)
        mask = random.integers(0, 2, (count, BEAT), dtype=np.uint8)
        mask[random.random(count) < 0.7] = 1
        tag = np.arange(count) % SLOTS
        address = (self.number * OWN + beat) * BEAT
        payloads = pack({"tier": bits_of(tier, 2), "address": bits_of(address, 40), "write": write[:, None].astype(np.uint8),
                         "engine": bits_of(engine, 2), "tag": bits_of(tag, TAG_BITS), "mask": mask,
                         "data": np.unpackbits(data, axis=1, bitorder="little")}, count)
        return payloads, tag, [self._access(tier[index], beat[index], write[index], mask[index], data[index]) for index in range(count)]


def check(answers, expected) -> None:
    """One answer for each request; equal tags in the order of their requests, with the right status and bytes."""
    raw = np.unpackbits(answers.bytes, axis=1, bitorder="little")

    def field(name):
        return raw[:, RESPONSE[name].offset:RESPONSE[name].offset + RESPONSE[name].width]

    tags = field("tag").astype(int) @ (1 << np.arange(TAG_BITS))
    data = np.packbits(field("data"), axis=1, bitorder="little")
    status = field("status").astype(int) @ (1, 2, 4)
    assert len(tags) == len(expected)
    order = np.argsort(tags, kind="stable")
    asked = np.argsort(np.arange(len(expected)) % SLOTS, kind="stable")
    for got, number in zip(order, asked, strict=True):
        how, bytes_ = expected[number]
        assert status[got] == how.value, f"request {number}: {status[got]} instead of {how}"
        assert bytes_ is None or (data[got] == bytes_).all(), f"request {number}"


def soak(rounds: int, count: int, make=Port) -> dict:
    """All ports send ``count`` requests in each round. Returns what happened."""
    bench = UnitBench(Everything(), sources=SOURCES)
    ports, worst, cycles, planted = [make(number) for number in range(PORTS)], 0, 0, 0
    for number in range(rounds):
        bench.reset()
        stalls = np.random.default_rng(number).random(PORTS) * (number % 3 > 0) * 0.6
        sent, before = [], {status: sum(port.seen[status] for port in ports) for status in ports[0].seen}
        for port in ports:
            planted += port.plant(bench.lib)
            payloads, _, expected = port.round(count)
            name = f"requesters[{port.number}]"
            answers = bench.collect(f"{name}.response", stall=float(stalls[port.number]) / 2, seed=number)
            bench.feed(f"{name}.request", payloads, stall=float(stalls[port.number]), seed=number)
            sent.append((name, answers, expected))
        cycles += bench.run(400 * count, until={f"{name}.response": count for name, *_ in sent})
        for name, answers, expected in sent:
            check(answers, expected)
            # Answers of one tag are in order: the n-th answer of a tag belongs to its n-th request.
            raw = np.unpackbits(answers.bytes, axis=1, bitorder="little")
            tags = raw[:, RESPONSE["tag"].offset:][:, :TAG_BITS].astype(int) @ (1 << np.arange(TAG_BITS))
            got, asked = np.argsort(tags, kind="stable"), np.argsort(np.arange(count) % SLOTS, kind="stable")
            worst = max(worst, int((answers.cycles[got] - bench.sent(f"{name}.request").cycles[asked]).max()))
        bench.tick(1500)                                  # what was answered early is in the devices before the reset
        for status, name in ((Status.CORRECTED, "corrected"), (Status.UNCORRECTABLE, "uncorrectable")):
            assert bench.get(name) == sum(port.seen[status] for port in ports) - before[status], f"{name}: not all are counted"
        broken = [line for channel in range(3) for line in report(bench.lib, channel)]
        assert not broken, broken[0]
    return {"requests": rounds * count * PORTS, "cycles": cycles, "worst": worst, "planted": planted,
            "corrected": sum(port.seen[Status.CORRECTED] for port in ports),
            "uncorrectable": sum(port.seen[Status.UNCORRECTABLE] for port in ports),
            "refreshes": sum(commands(bench.lib, channel)["REF"] for channel in range(3))}


@pytest.mark.long
def test_a_million_requests_from_all_ports():
    """Nothing lost, doubled, or reordered within a tag; every byte right; no timing rule broken; refresh on; every single-bit error
    that is read corrected, every double-bit error reported, all of them counted."""
    result = soak(rounds=17, count=10_000)
    print(result)
    assert result["requests"] >= 1_000_000 and result["refreshes"] > 500
    assert result["worst"] < 10_000                      # with the wait in the port's queue, behind runs of 13 others
    assert result["corrected"] > 1_000 and result["uncorrectable"] > 1_000


class Forgetful(Port):
    """Does not expect the single-bit errors that it has planted."""

    def plant(self, lib) -> int:
        planted = super().plant(lib)
        self.wrong[self.wrong == 1] = 0
        return planted


@pytest.mark.long
def test_an_error_that_is_not_expected_is_found():
    with pytest.raises(AssertionError, match=r"1 instead of Status\.OKAY"):
        soak(rounds=1, count=1500, make=Forgetful)
