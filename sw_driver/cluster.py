"""Several devices of one clock, joined by peer links."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hw.agcu.program import Segment, Tier
from hw.config import RDUConfig, preset
from hw.peer.link import peer_address

from .device import Device
from .errors import DeviceError, DeviceFault, DeviceTimeout
from .kernel import Kernel
from .launch import Launched

__all__ = ["Cluster", "ClusterRun"]


@dataclass(frozen=True)
class ClusterRun:
    """Kernels that have run together: cycles from the first Execute to the last one finished, and each by itself."""

    cycles: int
    launched: tuple[Launched, ...]


class Cluster:
    """Devices that share a clock; ``cluster[s]`` is the one of socket s. A context manager, as :class:`Device` is.

        config = dataclasses.replace(preset("small"), peer=PeerConfig(links=1))
        with Cluster.open(config) as (first, second):
            ...

    Parameters: ``backends``, one of each socket (:func:`sim.device.open_sockets`).
    Contract: a call of one device lets the clock of all of them run. A kernel's streams to another socket use the segments of
    :func:`sw_driver.device.peer_segment`. After a fault, a timeout or a hang of any device, :meth:`reset` makes all of them usable
    again; memory stays as it is.
    """

    def __init__(self, backends: Sequence):
        self.devices: list[Device] = []
        try:
            self.devices += [Device(backend) for backend in backends]
        except BaseException:
            for backend in backends:
                backend.close()
            raise
        for device in self.devices:
            device._lock = self.devices[0]._lock         # one clock, one call at a time

    @classmethod
    def open(cls, config: RDUConfig | str, sockets: int = 2, *, link_cycles: int = 20) -> Cluster:
        """Sockets of a preset (or any configuration) with peer links, simulated; see :func:`sim.device.open_sockets`."""
        from sim.device import open_sockets

        return cls(open_sockets(preset(config) if isinstance(config, str) else config, sockets, link_cycles=link_cycles))

    def __getitem__(self, socket: int) -> Device:
        return self.devices[socket]

    def __iter__(self) -> Iterator[Device]:
        return iter(self.devices)

    def __len__(self) -> int:
        return len(self.devices)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_exception) -> None:
        self.close()

    def close(self) -> None:
        """Ends the simulation; a second call does nothing."""
        for device in self.devices:
            device.close()

    def route(self, socket: int, agcu: int, segment: int, *, link: int, to_agcu: int) -> None:
        """What AGCU ``agcu`` of a socket stores to ``segment`` arrives at AGCU ``to_agcu`` of the socket behind ``link``."""
        device = self.devices[socket]
        for name, value, count in (("link", link, device.config.peer.links), ("to_agcu", to_agcu, len(device.config.agcu_ports))):
            if not 0 <= value < count:
                raise DeviceError(f"{name}={value}: preset {device.config.name} has {count}")
        device.set_segment(agcu, segment, Segment(base=peer_address(link=link, agcu=to_agcu), size=1 << 32, tier=Tier.PEER))

    def launch(self, *kernels: Kernel, arguments: Sequence[dict[str, int]] = (), max_cycles: int = 10_000_000) -> ClusterRun:
        """One kernel on each socket, loaded first, then all started, then all awaited. ``arguments``: of each kernel.

        Errors are those of :meth:`Device.launch`, with the number of the socket. Where one waits for ever because another one has
        faulted, it is the fault that is raised.
        """
        arguments = arguments or [{}] * len(kernels)
        if not len(kernels) == len(arguments) == len(self.devices):
            raise DeviceError(f"{len(kernels)} kernels with {len(arguments)} sets of arguments for {len(self.devices)} sockets")
        words = []
        for device, kernel, values in zip(self.devices, kernels, arguments, strict=True):
            words.append(device.load(kernel))
            device.set_arguments(kernel, **values)
        begun = []
        for device, kernel in zip(self.devices, kernels, strict=True):
            device.execute(kernel)
            begun.append(device.backend.cycles)
        launched = tuple(Launched(kernel, self._wait(socket, kernel, max_cycles), count)
                         for socket, (kernel, count) in enumerate(zip(kernels, words, strict=True)))
        ends = [begin + run.cycles for begin, run in zip(begun, launched, strict=True)]
        return ClusterRun(max(ends) - begun[0], launched)

    def _wait(self, socket: int, kernel: Kernel, max_cycles: int) -> int:
        try:
            return self.devices[socket].wait(kernel, max_cycles)
        except DeviceTimeout as late:
            for other, device in enumerate(self.devices):
                if device.read_fields("IRQ_STATUS")["fault"]:
                    raise DeviceFault(f"socket {other}: {device._fault()}") from late
            raise type(late)(f"socket {socket}: {late}") from None
        except DeviceError as error:
            raise type(error)(f"socket {socket}: {error}") from None

    def reset(self) -> None:
        """Drains and resets all tiles and empties the links between them.

        Twice: what a tile that still ran sent to one that was reset already is dropped by the second round.
        """
        for _ in range(2):
            for device in self.devices:
                device.reset()
