"""A compiled graph: kernels, the order in which they run, and the tensors in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np

from hw.config import RDUConfig
from sw_driver.device import Device
from sw_driver.kernel import Kernel
from sw_driver.memory import Buffer
from sw_driver.schedule import Schedule

from .errors import CompileError
from .fabric.netlist import Netlist
from .fabric.place import build_kernel, route_netlist
from .graph import exact
from .graph.ir import DType, Graph, Tensor
from .mapping.memory import SLACK, Symbol, round_bytes

__all__ = ["KernelRecord", "Launch", "Program", "Statistics"]


@dataclass(frozen=True)
class KernelRecord:
    """A kernel, what it is predicted to take, and ``bottleneck``: the unit with the most work, ``share`` of the predicted cycles."""

    index: int
    name: str
    kernel: Kernel
    predicted_cycles: int
    bottleneck: str
    share: float
    bytes: dict[str, int]
    nodes: tuple[str, ...]
    units: dict[str, int]
    macs: int = 0

    @classmethod
    def of(cls, net: Netlist, index: int, seed: int, nodes: tuple[str, ...], **settings: bool) -> KernelRecord:
        """Builds the kernel of a netlist; ``settings`` as of :func:`~compiler.place.build_kernel`."""
        from .fabric.balance import check_balance
        from .timing.cost import predict
        for number, unit in enumerate(net.units):
            unit.name = f"{unit.kind}{number}"
        check_balance(net)
        net.placement = net.placement or route_netlist(net, seed)
        kernel = build_kernel(net, seed, **settings)
        prediction = predict(net, net.placement)
        kernel = dataclasses.replace(kernel, symbols={"predicted_cycles": prediction.cycles, "bottleneck": prediction.bottleneck,
                                                      "nodes": list(nodes)})
        used = net.used()
        return cls(index, net.name, kernel, prediction.cycles, prediction.bottleneck, prediction.share, prediction.bytes, nodes,
                   {"pcu": used.pcu, "pmu": used.pmu, "load": used.load, "store": used.store},
                   sum(unit.note.get("macs", 0) for unit in net.units))

    def roofline(self, config: RDUConfig) -> tuple[float, str]:
        """(cycles, "compute" or "memory"): of the MACs on all PCUs, or of the bytes at their channels' peak, whichever is more."""
        from .timing.cost import DDR_BYTES_PER_CYCLE, peak_macs
        compute = self.macs / peak_macs(config)
        memory = max(self.bytes["hbm"] / (config.hbm.channels * config.beat_bytes), self.bytes["ddr"] / DDR_BYTES_PER_CYCLE)
        return max((compute, "compute"), (memory, "memory"))


@dataclass(frozen=True)
class Launch:
    """One launch: the kernel and the addresses of its engines as (tier, address in the tier's region)."""

    kernel: int
    arguments: dict[str, tuple[int, int]]
    nodes: tuple[str, ...]


@dataclass
class Statistics:
    """What a run took: ``cycles`` of all kernels (Execute to finished), ``total_cycles`` including loads and arguments,
    ``kernels`` launched, ``bytes`` moved per tier, and by launch (name, cycles)."""

    cycles: int = 0
    predicted_cycles: int = 0
    total_cycles: int = 0
    kernels: int = 0
    bytes: dict[str, int] = field(default_factory=lambda: {"hbm": 0, "ddr": 0})
    launches: list[tuple[str, int]] = field(default_factory=list)


@dataclass
class _Bound:
    """The program on one device; ``first``: address of each tier's region."""

    regions: dict[int, Buffer]
    first: dict[int, int]

    def arguments(self, launch: Launch) -> dict[str, int]:
        """Addresses of a launch's engines."""
        return {name: self.first[tier] + offset for name, (tier, offset) in launch.arguments.items()}

    def offset(self, symbol: Symbol) -> int:
        """Where a symbol lies in the buffer of its tier."""
        return self.first[symbol.tier] - self.regions[symbol.tier].address + symbol.address


@dataclass(eq=False)
class Program:
    """See :func:`compiler.compile.compile`. ``outputs``: name of an output -> tensor that holds it."""

    config: RDUConfig
    graph: Graph
    fuse: str
    kernels: list[KernelRecord]
    launches: list[Launch]
    symbols: dict[str, Symbol]
    homes: dict[str, str]
    outputs: dict[str, str]
    constants: dict[str, Tensor]
    _bound: WeakKeyDictionary = field(default_factory=WeakKeyDictionary, repr=False)

    @property
    def predicted_cycles(self) -> int:
        return sum(self.kernels[launch.kernel].predicted_cycles for launch in self.launches)

    def reference(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs, bit for bit, computed in numpy in the hardware's order."""
        return exact.run(self.graph, inputs, self.config.lanes)

    def run(self, device: Device, inputs: Mapping[str, np.ndarray], *, max_cycles: int = 50_000_000,
            observe: Callable[[int], None] | None = None, settle: Callable[[int], None] | None = None
            ) -> tuple[dict[str, np.ndarray], Statistics]:
        """Runs on a device, each kernel launched by the host; constants are uploaded by the first run. Returns outputs by name and
        statistics.

        ``observe`` is called after each launch with its cycles, ``settle`` with those predicted before each kernel starts, when it is
        loaded.
        """
        bound = self._upload(device, inputs)
        statistics = Statistics()
        start = device.cycles
        for launch in self.launches:
            record = self.kernels[launch.kernel]
            device.load(record.kernel)
            device.set_arguments(record.kernel, **bound.arguments(launch))
            if settle:
                settle(record.predicted_cycles)
            device.execute(record.kernel)
            cycles = device.wait(record.kernel, max_cycles)
            if observe:
                observe(cycles)
            statistics.cycles += cycles
            statistics.predicted_cycles += record.predicted_cycles
            statistics.kernels += 1
            for tier, count in record.bytes.items():
                statistics.bytes[tier] += count
            statistics.launches.append((record.name, cycles))
        statistics.total_cycles = device.cycles - start
        return self._download(device, bound), statistics

    def run_scheduled(self, device: Device, inputs: Mapping[str, np.ndarray], *, max_cycles: int = 50_000_000
                      ) -> tuple[dict[str, np.ndarray], int]:
        """Runs as one schedule, which the device's sequencer walks by itself: outputs by name, and cycles from its start to its end."""
        bound, schedule = self._upload(device, inputs), Schedule(self.graph.name)
        for launch in self.launches:
            schedule.launch(self.kernels[launch.kernel].kernel, **bound.arguments(launch))
        done = device.run_schedule(schedule, max_cycles=max_cycles)
        return self._download(device, bound), done.cycles

    def _upload(self, device: Device, inputs: Mapping[str, np.ndarray]) -> _Bound:
        bound = self._bind(device)
        for name in self.graph.inputs:
            tensor = self.graph[name]
            if name not in inputs or tuple(np.shape(inputs[name])) != tensor.shape:
                raise CompileError(f"input {name!r} is {list(np.shape(inputs.get(name, ())))}, the graph wants {tensor}")
            if self.homes[name] in self.symbols:
                self._write(device, bound, self.homes[name], inputs[name], tensor.dtype)
        return bound

    def _download(self, device: Device, bound: _Bound) -> dict[str, np.ndarray]:
        return {name: self._read(device, bound, tensor, self.graph[name]) for name, tensor in self.outputs.items()}

    def release(self, device: Device) -> None:
        """Gives the program's memory on a device back."""
        bound = self._bound.pop(device, None)
        for buffer in bound.regions.values() if bound else ():
            device.free(buffer)

    def _bind(self, device: Device) -> _Bound:
        if device in self._bound:
            return self._bound[device]
        regions, whole = {}, round_bytes(self.config)
        for tier in (0, 1):
            size = max((s.address + s.bytes for s in self.symbols.values() if s.tier == tier), default=0)
            if size:
                regions[tier] = device.allocate(tier, size + SLACK + whole)
        first = {tier: -(-region.address // whole) * whole for tier, region in regions.items()}
        bound = self._bound[device] = _Bound(regions, first)
        for name, tensor in self.constants.items():
            self._write(device, bound, name, tensor.value, tensor.dtype)
        return bound

    def _write(self, device: Device, bound: _Bound, name: str, value: np.ndarray, dtype: DType) -> None:
        symbol = self.symbols[name]
        value = np.ascontiguousarray(value)
        if symbol.size == 4 and dtype is not DType.FP32:
            value = exact.to_bits(value, dtype)
        if value.size:
            device.write(bound.regions[symbol.tier], value, bound.offset(symbol))

    def _read(self, device: Device, bound: _Bound, name: str, tensor: Tensor) -> np.ndarray:
        symbol = self.symbols[name]
        region, offset = bound.regions[symbol.tier], bound.offset(symbol)
        if symbol.size == 2:
            return device.read(region, np.uint16, tensor.shape, offset).view(tensor.dtype.numpy)
        return exact.from_bits(device.read(region, np.uint32, tensor.shape, offset), tensor.dtype)
