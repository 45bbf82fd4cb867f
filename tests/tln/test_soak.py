"""All ports of a socket's memory at once: TLN, controllers with ECC and refresh, devices that check every rule."""

import dataclasses

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped

from hw.common.packet import MemoryPort, memory_request, memory_response
from hw.config import DRAMConfig, preset
from hw.dram.controller import DRAMController
from hw.hierarchy import instantiate
from hw.tln.port import channel_tag_bits, requester_count
from hw.tln.tln import TLN
from sim.dram import SOURCES, DRAMDevice, commands, report
from sim.unit_bench import UnitBench

SMALL = preset("small")
CONFIG = dataclasses.replace(
    SMALL, agcu=dataclasses.replace(SMALL.agcu, outstanding=1024),       # more tags than requests can be under way
    hbm=DRAMConfig(channels=2, timing="hbm2", megabytes_per_channel=2, ecc=True),
    ddr=DRAMConfig(channels=1, timing="ddr4-3200", megabytes_per_channel=2, ecc=True))
BEAT, TAG_BITS = CONFIG.beat_bytes, CONFIG.agcu.tag_bits
PORTS, OWN = requester_count(CONFIG), 1500        # beats of its own that each port has in each tier
SLOTS = 1 << TAG_BITS                             # tags of a port: more than its requests that find room in the system
REQUEST, RESPONSE = memory_request(BEAT, TAG_BITS), memory_response(BEAT, TAG_BITS)


class Everything(wiring.Component):
    """The TLN with its channels; the requesters are ports."""

    def __init__(self):
        port = MemoryPort(beat_bytes=BEAT, tag_bits=TAG_BITS)
        super().__init__({"requesters": In(port).array(PORTS)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.tln = tln = TLN(CONFIG)
        for outer, inner in zip(self.requesters, tln.requesters, strict=True):
            connect(m, flipped(outer), inner)
        tiers = [CONFIG.hbm] * CONFIG.hbm.channels + [CONFIG.ddr] * CONFIG.ddr.channels
        for number, (tier, channel) in enumerate(zip(tiers, tln.channels, strict=True)):
            controller = DRAMController(tier, beat_bytes=BEAT, tag_bits=channel_tag_bits(CONFIG))
            m.submodules[f"controller_{number}"] = instantiate(platform, controller)
            m.submodules[f"device_{number}"] = device = DRAMDevice(tier, number, BEAT)
            connect(m, channel, controller.port)
            connect(m, controller.dfi, device.dfi)
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
    """Random requests of one port to beats of its own, and what they must be answered with."""

    def __init__(self, number: int):
        self.number, self.random = number, np.random.default_rng(number)
        self.model = [np.zeros((OWN, BEAT), np.uint8) for _ in range(2)]

    def round(self, count: int):
        """(payloads, tags, expected data or None) of the next requests."""
        random = self.random
        tier, write = (random.random(count) < 0.15).astype(int), random.random(count) < random.random()
        # Streams, hot spots and single places.
        beat = np.where(random.random(count) < 0.5, (np.arange(count) + random.integers(OWN)) % OWN,
                        random.integers(0, random.choice([3, 40, OWN]), count))
        data = random.integers(0, 256, (count, BEAT), dtype=np.uint8)
        mask = random.integers(0, 2, (count, BEAT), dtype=np.uint8)
        mask[random.random(count) < 0.7] = 1
        tag = np.arange(count) % SLOTS
        address = (self.number * OWN + beat) * BEAT
        payloads = pack({"tier": bits_of(tier, 2), "address": bits_of(address, 40), "write": write[:, None].astype(np.uint8),
                         "tag": bits_of(tag, TAG_BITS), "mask": mask, "data": np.unpackbits(data, axis=1, bitorder="little")}, count)
        expected = []
        for index in range(count):
            held = self.model[tier[index]][beat[index]]
            if write[index]:
                np.copyto(held, data[index], where=mask[index].astype(bool))
            expected.append(None if write[index] else held.copy())
        return payloads, tag, expected


def check(answers, expected) -> None:
    """One answer for each request; equal tags in the order of their requests, with the right bytes."""
    raw = np.unpackbits(answers.bytes, axis=1, bitorder="little")

    def field(name):
        return raw[:, RESPONSE[name].offset:RESPONSE[name].offset + RESPONSE[name].width]

    tags = field("tag").astype(int) @ (1 << np.arange(TAG_BITS))
    data = np.packbits(field("data"), axis=1, bitorder="little")
    assert len(tags) == len(expected) and not field("status").any()
    order = np.argsort(tags, kind="stable")
    asked = np.argsort(np.arange(len(expected)) % SLOTS, kind="stable")
    for got, number in zip(order, asked, strict=True):
        if expected[number] is not None:
            assert (data[got] == expected[number]).all(), f"request {number}"


def soak(rounds: int, count: int) -> dict:
    """All ports send ``count`` requests in each round. Returns what happened."""
    bench = UnitBench(Everything(), sources=SOURCES)
    ports, worst, cycles = [Port(number) for number in range(PORTS)], 0, 0
    for number in range(rounds):
        bench.reset()
        stalls = np.random.default_rng(number).random(PORTS) * (number % 3 > 0) * 0.6
        sent = []
        for port in ports:
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
        broken = [line for channel in range(3) for line in report(bench.lib, channel)]
        assert not broken, broken[0]
    return {"requests": rounds * count * PORTS, "cycles": cycles, "worst": worst,
            "refreshes": sum(commands(bench.lib, channel)["REF"] for channel in range(3))}


@pytest.mark.long
def test_a_million_requests_from_all_ports():
    """Nothing lost, doubled, or reordered within a tag; every byte right; no timing rule broken; refresh and ECC on."""
    result = soak(rounds=17, count=10_000)
    assert result["requests"] >= 1_000_000 and result["refreshes"] > 500
    assert result["worst"] < 6_000
    print(result)
