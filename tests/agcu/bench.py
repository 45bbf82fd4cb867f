"""An AGCU with a memory of random delays behind it, on a UnitBench."""

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from hw.agcu.agcu import AGCU
from hw.agcu.program import AGCUProgram, Segment, Tier, argument
from sim.unit_bench import UnitBench
from tests.tln.random_memory import SOURCES, MemoryControl, attach

TIER_BYTES = 1 << 18
SEGMENTS = {
    0: Segment(base=0x0000, size=0x8000),
    1: Segment(base=0x9000, size=0x3000, tier=Tier.DDR),
    2: Segment(base=0x10000, size=0x4000, write=False),
    3: Segment(base=0x14000, size=0x4000, read=False),
    5: Segment(base=0x20000, size=0x10000, tier=Tier.DDR),
}


class WithMemory(wiring.Component):
    """An AGCU whose memory port ends in a random memory; all other ports are the AGCU's."""

    def __init__(self, config, make=AGCU):
        self.config, self.make = config, make
        self.agcu = make(config)
        super().__init__({name: member for name, member in self.agcu.signature.members.items() if name != "memory"})

    def elaborate(self, platform):
        m = Module()
        m.submodules.agcu = agcu = self.agcu
        m.submodules.memory = attach(agcu.memory, 0, bytes_per_beat=self.config.beat_bytes)
        for name, member in self.signature.members.items():
            for outer, inner in zip(*(_each(getattr(of, name), member) for of in (self, agcu)), strict=True):
                if member.is_signature:
                    connect(m, flipped(outer), inner)
                else:
                    m.d.comb += inner.eq(outer) if member.flow is wiring.In else outer.eq(inner)
        return m


def _each(value, member):
    return list(value) if member.dimensions else [value]


class Bench:
    """Runs programs on the hardware."""

    def __init__(self, config, make=AGCU, optimize: str = "-O2"):
        self.config = config
        self.unit = UnitBench(WithMemory(config, make), sources=SOURCES, optimize=optimize)

    def start(self, program: AGCUProgram, segments=None, seed: int = 1, arguments=None, **memory) -> None:
        """Resets, fills the memory with noise, and sets the program; ``arguments``: fields replaced afterwards, unchecked;
        ``memory``: see MemoryControl."""
        self.unit.reset()
        self.memory = MemoryControl(self.unit.lib, 0, tier_bytes=TIER_BYTES, tiers=2, seed=seed, **memory)
        self.memory.bytes[:] = np.random.default_rng(seed).integers(0, 256, self.memory.bytes.shape, dtype=np.uint8)
        table = AGCUProgram(loads=program.loads, stores=program.stores, segments=SEGMENTS if segments is None else segments)
        bits = table.pack(self.config)
        for path, value in (arguments or {}).items():
            word, shift, width = argument(self.config, path)
            at = 32 * word + shift
            bits = bits & ~(((1 << width) - 1) << at) | value << at
        self.unit.set("program", bits)

    def run(self, max_cycles: int, **until) -> int:
        return self.unit.run(max_cycles, until=until)

    @property
    def fault(self):
        return self.unit.fields("fault")
