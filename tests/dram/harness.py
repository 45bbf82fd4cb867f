"""A controller with its device, and streams of requests with a byte-exact model of what they must return."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import DRAMConfig
from hw.dram.controller import ControllerPolicy, DRAMController
from hw.tln.port import ChannelPort
from sim.dram import SOURCES, DRAMDevice, report, storage
from sim.unit_bench import UnitBench

TAG_BITS = 16


class Channel(wiring.Component):
    """A controller beside its device; ``controller`` and ``device`` may be replaced by bad ones."""

    def __init__(self, controller: DRAMController, device: DRAMDevice):
        self.controller, self.device = controller, device
        super().__init__({"port": In(ChannelPort(
            beat_bytes=controller.beat_bytes, address_bits=controller.timing.geometry.address_bits,
            tag_bits=controller.tag_bits)),
            "events": Out(controller.events.shape())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller, m.submodules.device = self.controller, self.device
        wiring.connect(m, wiring.flipped(self.port), self.controller.port)
        wiring.connect(m, self.controller.dfi, self.device.dfi)
        m.d.comb += self.events.eq(self.controller.events)
        return m


class Memory:
    """One channel in a bench: :meth:`run` sends requests and checks every answer."""

    def __init__(self, timing: str = "hbm2", beat_bytes: int = 32, megabytes: int = 4, ecc: bool = False,
                 policy: ControllerPolicy | None = None, controller: DRAMController | None = None,
                 device: DRAMDevice | None = None, fatal: bool = True, **options):
        config = DRAMConfig(channels=1, timing=timing, megabytes_per_channel=megabytes, ecc=ecc)
        self.beat_bytes = beat_bytes
        controller = controller or DRAMController(config, beat_bytes=beat_bytes, tag_bits=TAG_BITS, policy=policy)
        self.timing = controller.timing
        device = device or DRAMDevice(config, 0, beat_bytes, fatal=fatal)
        self.bench = UnitBench(Channel(controller, device), sources=SOURCES, **options)
        self.data = storage(self.bench.lib, 0)
        self.beats = self.data.reshape(-1, beat_bytes)
        self.layout = self.bench.ports.ports[self.bench.ports.index["port.request.payload"]].shape

    @property
    def violations(self) -> list[str]:
        return report(self.bench.lib, 0)

    def pack(self, address, write, tag, mask, data) -> np.ndarray:
        """Payloads of requests as rows of 32-bit words."""
        count, layout = len(address), self.layout
        bits = np.zeros((count, -(-layout.size // 32) * 32), np.uint8)

        def put(name: str, values: np.ndarray) -> None:
            field = layout[name]
            bits[:, field.offset:field.offset + field.width] = values[:, :field.width]

        def unpacked(values) -> np.ndarray:
            return np.unpackbits(np.asarray(values, "<u8").reshape(-1, 1).view(np.uint8), axis=1, bitorder="little")

        put("address", unpacked(address))
        put("write", unpacked(write))
        put("tag", unpacked(tag))
        put("mask", mask)
        put("data", np.unpackbits(data, axis=1, bitorder="little"))
        return np.packbits(bits, axis=1, bitorder="little").view("<u4")

    def run(self, address, write, *, mask=None, data=None, stall_in=0.0, stall_out=0.0, seed: int = 1, limit: int | None = None,
            check: bool = True) -> dict:
        """Sends the requests; returns their response cycles, latencies and the number of cycles from the first request to the
        last answer. Every answer is compared with a model in which the requests take effect in their order."""
        address, write = np.asarray(address), np.asarray(write, np.uint8)
        count = len(address)
        assert count <= 1 << TAG_BITS
        random = np.random.default_rng(seed)
        data = random.integers(0, 256, (count, self.beat_bytes), dtype=np.uint8) if data is None else data
        mask = np.ones((count, self.beat_bytes), np.uint8) if mask is None else mask
        model = self.beats.copy() if check else None
        self.bench.reset()
        if model is not None:
            assert np.array_equal(model, self.beats)
        answers = self.bench.collect("port.response", stall=stall_out, seed=seed + 1)
        self.bench.feed("port.request", self.pack(address, write, np.arange(count), mask, data), stall=stall_in, seed=seed + 2)
        self.bench.run(limit or 200 * count + 20_000, until={"port.response": count}, progress_limit=20_000)
        result = self._judge(address, write, mask, data, answers, model)
        result["sent"] = self.bench.sent("port.request").cycles
        result["latency"] = result["cycles"] - result["sent"]
        result["duration"] = int(result["cycles"].max() - result["sent"].min() + 1)
        return result

    def _judge(self, address, write, mask, data, answers, model) -> dict:
        count, layout = len(address), self.bench.ports.ports[self.bench.ports.index["port.response.payload"]].shape
        raw = np.unpackbits(answers.bytes, axis=1, bitorder="little")

        def get(name: str) -> np.ndarray:
            return raw[:, layout[name].offset:layout[name].offset + layout[name].width]

        tag = (get("tag").astype(np.int64) << np.arange(TAG_BITS)).sum(axis=1)
        assert np.array_equal(np.sort(tag), np.arange(count)), "an answer is missing or was given twice"
        cycles = np.empty(count, np.int64)
        cycles[tag] = answers.cycles
        got, status, kind = (np.empty((count, get(name).shape[1]), np.uint8) for name in ("data", "status", "write"))
        got[tag], status[tag], kind[tag] = get("data"), get("status"), get("write")
        got = np.packbits(got, axis=1, bitorder="little")
        assert np.array_equal(kind[:, 0], write)
        if model is not None:
            assert not status.any()
            for index in range(count):
                if write[index]:
                    np.copyto(model[address[index]], data[index], where=mask[index].astype(bool))
                else:
                    assert np.array_equal(got[index], model[address[index]]), f"request {index}: read of beat {address[index]:#x}"
            assert np.array_equal(model, self.beats), "the storage differs from the model"
        return {"cycles": cycles, "data": got, "status": status, "tag": tag}
