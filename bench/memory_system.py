"""A socket without its tile: every AGCU, the TLN, the memory controllers and their devices, on one bench."""

from __future__ import annotations

import dataclasses

import numpy as np
from amaranth.hdl import Module, Mux
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.agcu.agcu import AGCU
from hw.agcu.layout import agcu_layout
from hw.agcu.program import AGCUProgram, Segment, Tier
from hw.common.packet import fault_layout
from hw.config import RDUConfig
from hw.dram.controller import DRAMController
from hw.hierarchy import instantiate
from hw.peer.link import PeerLink
from hw.peer.port import PeerPort
from hw.tln.model import Interleave
from hw.tln.port import channel_tag_bits
from hw.tln.tln import TLN
from sim.dram import SOURCES, DRAMDevice, commands, report, storage
from sim.unit_bench import UnitBench

__all__ = ["BUFFER_VECTORS", "MemoryBench", "MemorySystem"]

BUFFER_VECTORS = 256         # what a kernel keeps between an AGCU and its units: an eighth of a PMU of `small`


class MemorySystem(wiring.Component):
    """Everything of a socket between the tile and the DRAM devices.

    Members: ``program[i]``, ``execute`` (bit i) In, ``busy`` (bit i), ``fault[i]`` Out: of AGCU i; ``vector[i]`` Out stream: what
    load engine 0 of AGCU i emits, behind a buffer of :data:`BUFFER_VECTORS`; what its other engines emit is taken
    at once. ``given[i]`` In stream: what its store engine 0 takes.
    ``loop`` In, bit i: the stream of load engine 0 turns round into store engine 0 instead, as a copy kernel's does.
    ``peer_tx[k]``, ``peer_rx[k]``, ``flush``: if the configuration has peer links.
    ``first_channel``: number of the first device model.
    """

    def __init__(self, config: RDUConfig, first_channel: int = 0):
        self.config, self.first_channel = config, first_channel
        count = len(config.agcu_ports)
        super().__init__({
            "program": In(agcu_layout(config.agcu)).array(count), "execute": In(count), "busy": Out(count), "loop": In(count),
            "fault": Out(fault_layout()).array(count),
            "vector": Out(stream.Signature(data.ArrayLayout(32, config.lanes))).array(count),
            "given": In(stream.Signature(data.ArrayLayout(32, config.lanes))).array(count),
            **({"peer_tx": Out(PeerLink(config.beat_bytes)).array(config.peer.links),
                "peer_rx": In(PeerLink(config.beat_bytes)).array(config.peer.links), "flush": In(1)} if config.peer.links else {}),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.tln = tln = TLN(config)
        for number in range(len(self.program)):
            agcu, buffer = AGCU(config.agcu), SyncFIFOBuffered(width=32 * config.lanes, depth=BUFFER_VECTORS)
            m.submodules[f"agcu_{number}"] = instantiate(platform, agcu)
            m.submodules[f"buffer_{number}"] = buffer
            connect(m, agcu.memory, tln.requesters[number])
            out, back, looped = agcu.vector_out[0], agcu.vector_in[0], self.loop[number]
            m.d.comb += [
                agcu.program.eq(self.program[number]), agcu.execute.eq(self.execute[number]), self.busy[number].eq(agcu.busy),
                self.fault[number].eq(agcu.fault), back.valid.eq(Mux(looped, out.valid, self.given[number].valid)),
                back.payload.data.eq(Mux(looped, out.payload, self.given[number].payload)),
                self.given[number].ready.eq(back.ready & ~looped),
                out.ready.eq(back.ready & looped | buffer.w_rdy & ~looped), buffer.w_en.eq(out.valid & ~looped),
                buffer.w_data.eq(out.payload), self.vector[number].valid.eq(buffer.r_rdy),
                self.vector[number].payload.eq(buffer.r_data), buffer.r_en.eq(self.vector[number].ready),
                *(other.ready.eq(1) for other in agcu.vector_out[1:]),
            ]
        tiers = [config.hbm] * config.hbm.channels + [config.ddr] * config.ddr.channels
        for number, (tier, port) in enumerate(zip(tiers, [*tln.hbm, *tln.ddr], strict=True)):
            controller = DRAMController(tier, beat_bytes=config.beat_bytes, tag_bits=channel_tag_bits(config))
            m.submodules[f"controller_{number}"] = instantiate(platform, controller)
            m.submodules[f"device_{number}"] = device = DRAMDevice(tier, self.first_channel + number, config.beat_bytes)
            connect(m, port, controller.port)
            connect(m, controller.dfi, device.dfi)
        for number in range(config.peer.links):
            m.submodules[f"peer_{number}"] = end = PeerPort(config)
            connect(m, tln.peer[number], end.port)
            connect(m, end.tx, flipped(self.peer_tx[number]))
            connect(m, flipped(self.peer_rx[number]), end.rx)
            m.d.comb += end.flush.eq(self.flush)
        return m


class MemoryBench:
    """The system on a bench; segment 0 is all of HBM, segment 1 all of DDR.

    ``bench`` and ``prefix``: where the system is a part of another bench; ``first_channel`` as of the system.
    """

    def __init__(self, config: RDUConfig, bench: UnitBench | None = None, prefix: str = "", first_channel: int = 0):
        self.config, self.agcus, self.prefix = config, len(config.agcu_ports), prefix
        self.segments = {0: Segment(base=0, size=config.hbm.bytes),
                         1: Segment(base=0, size=config.ddr.bytes, tier=Tier.DDR)}
        self.bench = bench or UnitBench(MemorySystem(config), sources=SOURCES)
        self.channels = range(first_channel, first_channel + config.hbm.channels + config.ddr.channels)
        self.stores = [storage(self.bench.lib, number).reshape(-1, config.beat_bytes) for number in self.channels]

    def name(self, port: str) -> str:
        """A port of the system in the bench."""
        return self.prefix + port

    def set(self, port: str, value) -> None:
        self.bench.set(self.name(port), value)

    def start(self, loop: int = 0, paces: dict[int, list[int]] | None = None, take: tuple[int, ...] = ()) -> None:
        """Resets; ``loop``: the AGCUs whose stream turns round; ``take``: those whose vectors are taken, every cycle or
        by the repeated pattern in ``paces`` (0 take, 1 wait)."""
        self.bench.reset()
        self.set("loop", loop)
        for number in take:
            self.bench.collect(self.name(f"vector[{number}]"), stall=(paces or {}).get(number, 0.0))

    def program(self, number: int, program: AGCUProgram) -> None:
        self.set(f"program[{number}]", dataclasses.replace(program, segments=self.segments).pack(self.config.agcu))

    def vectors(self, number: int) -> int:
        """Vectors that have been taken from AGCU ``number`` since the reset."""
        return self.bench.transfers(self.name(f"vector[{number}]"))

    def tier(self, segment: int) -> tuple[Interleave, list[np.ndarray]]:
        """Map and channel storages of the tier of a segment."""
        dram, hbm = (self.config.hbm, self.config.ddr)[segment], self.config.hbm.channels
        return Interleave.of(self.config, dram), self.stores[hbm:] if segment else self.stores[:hbm]

    def beats(self, segment: int, first: int, count: int) -> np.ndarray:
        """Contents of a segment."""
        interleave, channels = self.tier(segment)
        return interleave.join(channels, first, count)

    def fill(self, segment: int, first: int, image: np.ndarray) -> None:
        interleave, channels = self.tier(segment)
        for channel, (at, content) in zip(channels, interleave.split(image, first), strict=True):
            channel[at] = content

    def memory_beats(self) -> int:
        """Beats that the devices have read and written since the model was made."""
        counts = [commands(self.bench.lib, number) for number in self.channels]
        return sum(count["RD"] + count["WR"] for count in counts)

    def check(self) -> None:
        """No timing rule was broken and nothing faulted."""
        broken = [line for number in self.channels for line in report(self.bench.lib, number)]
        assert not broken, broken[0]
        for number in range(self.agcus):
            assert not self.bench.fields(self.name(f"fault[{number}]")).valid, f"AGCU {number} faulted"
