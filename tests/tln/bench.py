"""A TLN with a random memory behind every channel, on a UnitBench."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from hw.tln.model import Interleave
from hw.tln.tln import TLN
from sim.unit_bench import UnitBench
from tests.tln.random_memory import SOURCES, MemoryControl, attach


class WithMemories(wiring.Component):
    """A TLN whose channels end in random memories 0, 1, ...; its requesters and settings are ports."""

    def __init__(self, config, make=TLN):
        self.config = config
        self.tln = make(config)
        super().__init__({name: member for name, member in self.tln.signature.members.items() if name not in ("hbm", "ddr")})

    def elaborate(self, platform):
        m = Module()
        m.submodules.tln = tln = self.tln
        for number, channel in enumerate(tln.channels):
            m.submodules[f"memory_{number}"] = attach(channel, number, bytes_per_beat=self.config.beat_bytes)
        for outer, inner in zip(self.requesters, tln.requesters, strict=True):
            connect(m, flipped(outer), inner)
        m.d.comb += [tln.interleave.eq(self.interleave), self.events.eq(tln.events)]
        return m


class Bench:
    """A TLN and its memories."""

    def __init__(self, config, make=TLN):
        self.config = config
        self.unit = UnitBench(WithMemories(config, make), sources=SOURCES)
        self.tiers = {"hbm": config.hbm, "ddr": config.ddr}

    def start(self, interleave: dict, **memory) -> None:
        """Resets; ``interleave`` as the TLN's port takes it; ``memory``: see MemoryControl (a list: one value per channel)."""
        self.unit.reset()
        self.unit.set("interleave", interleave)
        sizes = [tier.megabytes_per_channel << 20 for tier in self.tiers.values() for _ in range(tier.channels)]
        self.memories = []
        for number, size in enumerate(sizes):
            own = {name: value[number] if isinstance(value, list) else value for name, value in memory.items()}
            self.memories.append(MemoryControl(self.unit.lib, number, tier_bytes=size, unique_tags=False, **own))
        self.maps = {name: Interleave.of(self.config, tier, **interleave[name]) for name, tier in self.tiers.items()}
        self.first = {"hbm": 0, "ddr": self.config.hbm.channels}

    def fill(self, tier: str, image) -> None:
        """Contents ``image[beats, bytes]`` of a tier, from its first beat on."""
        channels = self.memories[self.first[tier]:][:self.tiers[tier].channels]
        for memory, (beats, content) in zip(channels, self.maps[tier].split(image), strict=True):
            memory.bytes.reshape(-1, self.config.beat_bytes)[beats] = content

    def beats(self, tier: str, first: int, count: int):
        """Contents of a tier, in order of its addresses."""
        channels = self.memories[self.first[tier]:][:self.tiers[tier].channels]
        storage = [memory.bytes.reshape(-1, self.config.beat_bytes) for memory in channels]
        return self.maps[tier].join(storage, first, count)
