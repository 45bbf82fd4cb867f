"""One MLP layer of two sockets, tensor-parallel: y = relu(x w1) w2, half of the hidden features on each, partial sums exchanged.

Each socket has the columns of w1 and the rows of w2 of its hidden features in its HBM, and the whole x. ``Layer`` holds the sizes,
operands and kernels; ``run_on`` and ``run_off`` the two ways to the all-reduce:

"on": one kernel. Its partial sums go over the peer link and, in the same multicast, to the PCU that adds what comes from the other
socket; y, the same on both, goes to HBM. "off, copied": the partial sums go to HBM; a copy kernel on each socket brings them over
the link into the other HBM; a third kernel adds. "off, host": the same, the host moves them through its window.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from compiler.fabric.kernel import KernelBuilder
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import RDUConfig
from hw.fp.model import matmul, rounded_to_bf16
from hw.pcu import library
from hw.pcu.model import pack_rows
from sw_driver.cluster import Cluster
from sw_driver.device import HBM, peer_segment
from sw_driver.kernel import Kernel

__all__ = ["Layer", "Placed", "run_off", "run_on"]


@dataclass(frozen=True)
class Layer:
    """Sizes: ``tokens`` rows of ``width`` values, ``hidden`` features in all. ``mlp=False``: only the second product, y = x w2 with
    x[tokens, hidden] split by columns (for a grid of two PCUs)."""

    config: RDUConfig
    tokens: int
    width: int
    hidden: int
    mlp: bool = True

    @property
    def rows(self) -> int:
        """Of one pass through the PCUs."""
        return min(self.tokens, self.config.pcu.stages)

    @property
    def passes(self) -> int:
        return -(-self.tokens // self.rows)

    @property
    def share(self) -> int:
        """Hidden features of one socket."""
        return self.hidden // 2

    @property
    def out_vectors(self) -> int:
        return self.tokens * self.width // self.config.lanes

    def _products(self, kernel: KernelBuilder, agcus: tuple[int, int], points: list[tuple[int, int]]):
        """x, w1 and w2 from memory, the products; the unit whose output 0 are the partial sums."""
        config, beat = self.config, self.config.beat_bytes

        def weights(k: int, features: int) -> LoadProgram:
            return LoadProgram(loops=(Loop(2 * k * features // beat, beat), Loop(self.passes, 0)))

        def product(point, k: int, features: int, **changes):
            return kernel.pcu(*point, library.gemm(config.pcu, rows=self.rows, k=k, features=features, bias=False,
                                                   row_tiles=self.passes, last_rows=self.tokens - (self.passes - 1) * self.rows,
                                                   **changes))

        first = self.width if self.mlp else self.share
        rows = LoadProgram(loops=(Loop(2 * self.tokens * first // beat, beat),))
        loads = [weights(self.width, self.share)] if self.mlp else [weights(self.share, self.width)]
        operands = kernel.agcu(agcus[0], AGCUProgram(loads=(*loads, rows)))
        kernel.argument("x", operands.field("load1.base"))
        kernel.argument("w1" if self.mlp else "w2", operands.field("load0.base"))
        if not self.mlp:
            output = product(points[0], self.share, self.width)
        else:
            hidden = product(points[0], self.width, self.share, relu=True, packed_output=True)
            output = product(points[1], self.share, self.width)
            second = kernel.agcu(agcus[1], AGCUProgram(loads=(weights(self.share, self.width),)))
            kernel.argument("w2", second.field("load0.base"))
            kernel.vector(operands.out(1), hidden.input(1), rate=0.2)
            kernel.vector(operands.out(0), hidden.input(0))
            kernel.vector(hidden.out(0), output.input(1), rate=0.1)
            kernel.vector(second.out(0), output.input(0))
            return output
        kernel.vector(operands.out(1), output.input(1), rate=0.2)
        kernel.vector(operands.out(0), output.input(0))
        return output

    @property
    def _loops(self) -> tuple[Loop, ...]:
        return (Loop(self.out_vectors, self.config.beat_bytes),)

    def _points(self) -> list[tuple[int, int]]:
        return [point for point in self.config.grid if self.config.is_pcu(*point)]

    def _agcus(self) -> tuple[int, int, int]:
        """For the operands, the second weights, and the results with the peer stream."""
        last = len(self.config.agcu_ports) - 1
        return 0, min(1, last), last

    def _adder(self, kernel: KernelBuilder, point):
        return kernel.pcu(*point, library.residual_add(self.config.pcu, rows=self.tokens, n=self.width))

    def kernel(self) -> Kernel:
        """The layer with its all-reduce over link 0. Arguments: ``x``, ``w1``, ``w2``, ``y``."""
        kernel, points = KernelBuilder(self.config, "layer"), self._points()
        *inputs, results = self._agcus()
        output = self._products(kernel, inputs, points)
        adder = self._adder(kernel, points[2 if self.mlp else 1])
        results = kernel.agcu(results, AGCUProgram(
            loads=(LoadProgram(loops=self._loops, segment=peer_segment()),),
            stores=(StoreProgram(loops=self._loops, segment=peer_segment()), StoreProgram(loops=self._loops))))
        kernel.vector(output.out(0), results.input(0), adder.input(0), rate=0.2)
        kernel.vector(results.out(0), adder.input(1), rate=0.2)
        kernel.vector(adder.out(0), results.input(1), rate=0.2)
        kernel.argument("y", results.field("store1.base"))
        return kernel.build()

    def partial_kernel(self) -> Kernel:
        """Only the partial sums, to memory. Arguments: ``x``, ``w1``, ``w2``, ``partial``."""
        kernel = KernelBuilder(self.config, "partial")
        *inputs, results = self._agcus()
        output = self._products(kernel, inputs, self._points())
        results = kernel.agcu(results, AGCUProgram(stores=(StoreProgram(loops=self._loops),)))
        kernel.vector(output.out(0), results.input(0), rate=0.2)
        kernel.argument("partial", results.field("store0.base"))
        return kernel.build()

    def exchange_kernel(self) -> Kernel:
        """``partial`` over link 0, what comes from there to ``other``."""
        kernel = KernelBuilder(self.config, "exchange")
        unit = kernel.agcu(0, AGCUProgram(
            loads=(LoadProgram(loops=self._loops), LoadProgram(loops=self._loops, segment=peer_segment())),
            stores=(StoreProgram(loops=self._loops, segment=peer_segment()), StoreProgram(loops=self._loops))))
        for engine in (0, 1):
            kernel.vector(unit.out(engine), unit.input(engine), rate=0.5)
        kernel.argument("partial", unit.field("load0.base"))
        kernel.argument("other", unit.field("store1.base"))
        return kernel.build()

    def add_kernel(self) -> Kernel:
        """y = ``partial`` + ``other``."""
        kernel = KernelBuilder(self.config, "add")
        unit = kernel.agcu(0, AGCUProgram(loads=(LoadProgram(loops=self._loops), LoadProgram(loops=self._loops)),
                                          stores=(StoreProgram(loops=self._loops),)))
        adder = self._adder(kernel, self._points()[0])
        for engine in (0, 1):
            kernel.vector(unit.out(engine), adder.input(engine))
        kernel.vector(adder.out(0), unit.input(0))
        for name, field in (("partial", "load0.base"), ("other", "load1.base"), ("y", "store0.base")):
            kernel.argument(name, unit.field(field))
        return kernel.build()

    # Operands and the model -------------------------------------------------------------------------------------------------
    @cached_property
    def operands(self) -> dict[str, np.ndarray]:
        """x, w1, w2 as float32 that BF16 holds."""
        random = np.random.default_rng(7)
        first = self.width if self.mlp else self.hidden
        shapes = {"x": (self.tokens, first), "w1": (self.width, self.hidden), "w2": (self.hidden, self.width)}
        return {name: rounded_to_bf16(random.normal(size=shape).astype(np.float32)) for name, shape in shapes.items()
                if name != "w1" or self.mlp}

    def part(self, socket: int) -> dict[str, np.ndarray]:
        """The words that a socket holds, by argument."""
        mine = slice(socket * self.share, (socket + 1) * self.share)
        cut = {"x": np.s_[:] if self.mlp else np.s_[:, mine], "w1": np.s_[:, mine], "w2": np.s_[mine]}
        return {name: pack_rows(values[cut[name]], self.config.lanes) for name, values in self.operands.items()}

    def expected(self) -> np.ndarray:
        """y, float32, as every socket must have it."""
        x, sums = self.operands["x"], []
        for socket in (0, 1):
            mine = slice(socket * self.share, (socket + 1) * self.share)
            hidden = x[:, mine]
            if self.mlp:
                hidden = rounded_to_bf16(np.maximum(matmul(x, self.operands["w1"][:, mine]), np.float32(0)))
            sums.append(matmul(hidden, self.operands["w2"][mine]))
        return sums[0] + sums[1]


class Placed:
    """A layer with its operands in both sockets."""

    def __init__(self, cluster: Cluster, layer: Layer):
        self.cluster, self.layer = cluster, layer
        size = layer.out_vectors * layer.config.beat_bytes
        self.buffers = []
        for socket, device in enumerate(cluster):
            held = {name: device.upload(HBM, words) for name, words in layer.part(socket).items()}
            self.buffers.append(held | {name: device.allocate(HBM, size) for name in ("y", "partial", "other")})

    def arguments(self, kernel: Kernel) -> list[dict[str, int]]:
        return [{name: held[name].address for name in kernel.arguments} for held in self.buffers]

    def launch(self, kernel: Kernel) -> int:
        return self.cluster.launch(kernel, kernel, arguments=self.arguments(kernel)).cycles

    def memory_bytes(self) -> int:
        """What all DRAM devices have read and written so far."""
        counts = [count for device in self.cluster for count in device.backend.memory_commands().values()]
        return sum(count["RD"] + count["WR"] for count in counts) * self.layer.config.beat_bytes

    def clear(self) -> None:
        """Nothing of an earlier run is left to be compared."""
        for device, held in zip(self.cluster, self.buffers, strict=True):
            for name in ("y", "partial", "other"):
                device.write(held[name], np.full(held[name].size, 0xA5, np.uint8))

    def check(self) -> None:
        """Raises RuntimeError unless both sockets hold y, bit for bit."""
        expected = self.layer.expected()
        for socket, (device, held) in enumerate(zip(self.cluster, self.buffers, strict=True)):
            if not (device.read(held["y"], np.uint32, expected.shape) == expected.view(np.uint32)).all():
                raise RuntimeError(f"socket {socket}: y differs from the model")


def run_on(placed: Placed) -> tuple[int, int]:
    """(cycles, bytes that memory moved) of the layer over the link, loaded before."""
    kernel = placed.layer.kernel()
    for device in placed.cluster:
        device.load(kernel)
    placed.clear()
    before = placed.memory_bytes()
    cycles = placed.launch(kernel)
    moved = _settled(placed) - before
    placed.check()
    return cycles, moved


def run_off(placed: Placed, host: bool = False) -> tuple[int, int]:
    """The same through memory; cycles are those of the kernels from Execute to finished (loading them is left out) and, if the ``host``
    moves the partial sums, of its transfers."""
    cluster, layer = placed.cluster, placed.layer
    placed.clear()
    cycles = moved = 0
    for kernel in (layer.partial_kernel(), None if host else layer.exchange_kernel(), layer.add_kernel()):
        if kernel is not None:
            for device in cluster:
                device.load(kernel)
        before = placed.memory_bytes()
        if kernel is not None:
            cycles += placed.launch(kernel)
        else:
            begin = cluster[0].backend.cycles
            for source, target in ((0, 1), (1, 0)):
                values = cluster[source].read(placed.buffers[source]["partial"], np.uint8, (placed.buffers[source]["partial"].size,))
                cluster[target].write(placed.buffers[target]["other"], values)
            cycles += cluster[0].backend.cycles - begin
        moved += _settled(placed) - before
    placed.check()
    return cycles, moved


def _settled(placed: Placed) -> int:
    """Bytes after the writes that are still on their way."""
    placed.cluster[0].backend.run(500)
    return placed.memory_bytes()
