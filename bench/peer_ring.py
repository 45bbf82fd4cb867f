"""All-reduce over a ring of sockets: every socket has a vector, afterwards every one has the sum of all, added up by PCUs.

One kernel on each of n sockets. The vector is cut into n chunks. Socket s sends its own chunk s over link 1 (step 0). In step t = 1 .. 2n-3
it takes what comes from the socket before it, adds its own part of chunk s - t or, from step n on, nothing (-0.0: the sum is
complete by then and goes round once more), sends the result on and stores it; that of the first n-2 steps is not complete and
left aside. What comes in step 2n-2 only goes to memory. So every link moves 2 (n-1)/n of a vector, the least that is possible.

Chunk c is added in the order of the ring: that of socket c first, then socket c + 1 and so on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from compiler.fabric.kernel import KernelBuilder
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import RDUConfig
from hw.pcu import library
from hw.pmu.recipes import stage_buffer
from sw_driver.cluster import Cluster
from sw_driver.device import HBM, peer_segment
from sw_driver.kernel import Kernel

__all__ = ["Ring", "all_reduce"]

UNIT = 16          # vectors that the buffer behind the link hands on at a time


@dataclass(frozen=True)
class Ring:
    """``sockets`` of ``config`` (with two links each), chunks of ``vectors`` vectors, a multiple of 16.

    The chunk must fit the PMU behind the link: while a socket still sends its own chunk, it holds the one that comes.
    """

    config: RDUConfig
    sockets: int
    vectors: int
    seed: int = 1

    @property
    def adds(self) -> int:
        """Chunks that pass a socket's adder."""
        return 2 * self.sockets - 3

    @cached_property
    def kernel(self) -> Kernel:
        """Arguments: ``own`` (the chunk to begin with), ``rest`` (what the adder adds), ``passed`` and ``last`` (results)."""
        config, beat = self.config, self.config.beat_bytes
        kernel = KernelBuilder(config, "all_reduce")
        once, adds = (Loop(self.vectors, beat),), (Loop(self.vectors, beat), Loop(self.adds, self.vectors * beat))
        memory = kernel.agcu(0, AGCUProgram(loads=(LoadProgram(loops=once), LoadProgram(loops=adds)),
                                            stores=(StoreProgram(loops=adds), StoreProgram(loops=once))))
        before, after = peer_segment(0), peer_segment(1)
        link = kernel.agcu(1, AGCUProgram(
            loads=(LoadProgram(loops=adds, segment=before, send_tokens=(1,)), LoadProgram(loops=once, segment=before, wait_tokens=(1,))),
            stores=(StoreProgram(loops=once, segment=after, send_tokens=(0,)), StoreProgram(loops=adds, segment=after, wait_tokens=(0,)))))
        pcu = next(point for point in config.grid if config.is_pcu(*point))
        pmu = next(point for point in config.grid if not config.is_pcu(*point))
        adder = kernel.pcu(*pcu, library.residual_add(config.pcu, rows=self.adds, n=self.vectors * config.lanes))
        buffer = kernel.pmu(*pmu, stage_buffer(config.pmu, vectors=UNIT, count=self.adds * self.vectors // UNIT,
                                               buffers=self.vectors // UNIT + 1))
        for wire in (0, 1):
            kernel.token(link, wire, link)
        kernel.vector(memory.out(0), link.input(0), rate=0.5)
        kernel.vector(link.out(0), buffer.input(0), rate=0.5)
        kernel.vector(buffer.out(0), adder.input(0), rate=0.5)
        kernel.vector(memory.out(1), adder.input(1), rate=0.5)
        kernel.vector(adder.out(0), link.input(1), memory.input(0), rate=0.5)
        kernel.vector(link.out(1), memory.input(1), rate=0.5)
        for name, field in (("own", "load0.base"), ("rest", "load1.base"), ("passed", "store0.base"), ("last", "store1.base")):
            kernel.argument(name, memory.field(field))
        return kernel.build()

    @cached_property
    def operands(self) -> np.ndarray:
        """Of each socket, by chunk: float32 [sockets, sockets, values]."""
        shape = self.sockets, self.sockets, self.vectors * self.config.lanes
        return np.random.default_rng(self.seed).normal(size=shape).astype(np.float32)

    def image(self, socket: int) -> np.ndarray:
        """What a socket reads, in the order of the steps."""
        order = [(socket - step) % self.sockets for step in range(self.sockets)]
        nothing = np.full((self.sockets - 2, self.operands.shape[-1]), -0.0, np.float32)
        return np.concatenate([self.operands[socket][order], nothing])

    def expected(self) -> np.ndarray:
        """The sum, float32 [sockets, values] by chunk."""
        chunks = []
        for chunk in range(self.sockets):
            total = self.operands[chunk][chunk]
            for further in range(1, self.sockets):
                total = total + self.operands[(chunk + further) % self.sockets][chunk]
            chunks.append(total)
        return np.stack(chunks)


def all_reduce(cluster: Cluster, ring: Ring) -> int:
    """Cycles from the first Execute to the last socket that has finished. Raises RuntimeError unless all have the sum, bit for bit."""
    size, arguments, results = 4 * ring.operands.shape[-1], [], []
    for socket, device in enumerate(cluster):
        own, result = device.upload(HBM, ring.image(socket)), device.allocate(HBM, (ring.adds + 1) * size)
        device.write(result, np.full(result.size, 0xA5, np.uint8))
        arguments.append({"own": own.address, "rest": own.address + size, "passed": result.address,
                          "last": result.address + ring.adds * size})
        results.append((own, result))
    run = cluster.launch(*[ring.kernel] * ring.sockets, arguments=arguments)
    expected, count = ring.expected(), ring.sockets
    for socket, (device, (own, result)) in enumerate(zip(cluster, results, strict=True)):
        passed = device.read(result, np.uint32, (ring.adds + 1, size // 4))
        for step in range(count - 1, 2 * count - 1):
            if not np.array_equal(passed[step - 1], expected[(socket - step) % count].view(np.uint32)):
                raise RuntimeError(f"socket {socket}: chunk {(socket - step) % count} differs from the model")
        device.free(own)
        device.free(result)
    return run.cycles
