"""The whole simulated RDU behind the driver's ``Backend`` interface."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from hw.common.event_counters import EventCounters
from hw.config import RDUConfig
from hw.shell import UnitShell
from hw.socket import Socket
from hw.switch_shell import SwitchShell
from hw.tile import Tile
from sw_driver.errors import BusError

from .dram import device as dram
from .generate import cached_text
from .partition import Partition, build_partition, partition
from .top import SimulationTop, channel_index
from .triggers import TriggeredWaves, parse_trigger
from .unit_bench import ModelError
from .verilated import TIER_SHIFT, VerilatedHost
from .wide_nets import wide_nets

__all__ = ["VerilatedBackend", "open_backend", "open_sockets", "parse_window"]


class RefusedAccess(ModelError, BusError):
    """An access that the device answered with an error, as simulators and as drivers know it."""


def _partition(config: RDUConfig, name: str) -> Partition:
    with wide_nets():                # the pins of all units of `medium`
        return partition(SimulationTop(config), name, units=(UnitShell, SwitchShell, EventCounters), containers=(Socket, Tile))


class VerilatedBackend(VerilatedHost):
    """A socket of ``config`` with its memory, as ``sw_driver.backend.Backend``, each distinct unit Verilated once.

    ``trace``: None, "vcd" or "fst", able to write waveforms (see :meth:`~sim.verilated.VerilatedHost.waves`); a model that is not
    runs at full speed. The first use of a configuration builds the model (minutes), later ones take it from the cache.
    Memory is accessed through the device's own AXI window; :meth:`storage` shows a channel's bytes as they lie in the DRAM.
    ``beside``: another socket of the same configuration in the same simulation; they share the clock (:func:`open_sockets`).
    """

    def __init__(self, config: RDUConfig, *, trace: str | None = None, optimize: str = "-O2", timeout: int = 100_000,
                 beside: VerilatedBackend | None = None):
        self.config = config
        self.first_channel = beside.first_channel + config.hbm.channels + config.ddr.channels if beside else 0
        name = f"rdu_{config.name}"
        design = Partition.from_json(cached_text(lambda: _partition(config, name).to_json(), f"units-{name}", config.to_json()))
        top = SimulationTop(config)
        top._MustUse__silence = top.socket._MustUse__silence = True      # only their ports are looked at here
        super().__init__(top, name, timeout=timeout, verilog=design.rest, beside=beside, library=lambda ports: build_partition(
            design, ports, sources=dram.SOURCES, optimize=optimize, trace=trace))

    def reset(self) -> None:
        dram.number_from(self.lib, self.first_channel)       # the devices number themselves in the first cycle of a model
        super().reset()

    def mem_read(self, tier: int, address: int, length: int) -> np.ndarray:
        """``length`` bytes of device memory, uint8."""
        return self.window_read(tier << TIER_SHIFT | address, length)

    def mem_write(self, tier: int, address: int, values) -> None:
        """Writes the bytes of an array to device memory."""
        self.window_write(tier << TIER_SHIFT | address, values)

    def storage(self, tier: str, channel: int) -> np.ndarray:
        """The bytes of one channel ("hbm" or "ddr"), channel-local order, without a copy; valid until :meth:`close`."""
        return dram.storage(self.lib, self._channels()[f"{tier}{channel}"])

    def memory_commands(self) -> dict[str, dict[str, int]]:
        """Commands that each channel's devices have seen, by channel name and kind."""
        return {name: dram.commands(self.lib, index) for name, index in self._channels().items()}

    def _channels(self) -> dict[str, int]:
        return {f"{tier}{channel}": self.first_channel + channel_index(self.config, tier, channel)
                for tier in ("hbm", "ddr") for channel in range(getattr(self.config, tier).channels)}

    def _check(self, status: int) -> None:
        try:
            super()._check(status)
        except ModelError as error:
            if "bus error: " in str(error):
                raise RefusedAccess(str(error)) from None
            broken = [line for index in self._channels().values() for line in dram.report(self.lib, index)]
            raise ModelError("\n".join([str(error), *broken])) if broken else error from None

    def waves_window(self, file: Path | str, cycles: int) -> None:
        """Writes the next ``cycles`` cycles to ``file``."""
        self.waves(file, self.cycles, self.cycles + cycles)


def open_sockets(config: RDUConfig, sockets: int = 2, *, link_cycles: int = 20) -> list[VerilatedBackend]:
    """Sockets of one simulation, joined by their peer links, each ``link_cycles`` registers long each way.

    Two sockets: link k of one to link k of the other. More: a ring, link 1 of each to link 0 of the next one.
    """
    if not 1 <= link_cycles <= 10_000:
        raise ValueError(f"link_cycles={link_cycles} must be from 1 to 10000")
    if sockets < 2 or config.peer.links < min(2, sockets - 1):
        raise ValueError(f"sockets={sockets} of preset {config.name} with peer.links={config.peer.links}: two sockets need a link "
                         "at least, more of them two")
    backends = [VerilatedBackend(config)]
    for _ in range(1, sockets):
        backends.append(VerilatedBackend(config, beside=backends[-1]))
    if sockets == 2:
        for number in range(config.peer.links):
            backends[0].link(number, backends[1], number, link_cycles)
    else:
        for backend, following in zip(backends, [*backends[1:], backends[0]], strict=True):
            backend.link(1, following, 0, link_cycles)
    return backends


def open_backend(config: RDUConfig, waves: str | None = None) -> VerilatedBackend:
    """A backend for ``config``; ``waves`` also writes a waveform (.vcd or .fst): "FILE[:FROM-TO]" of all cycles or of a window,
    "FILE:kernel=N[+CYCLES]" from the N-th launch on, "FILE:fault[+CYCLES]" of the cycles before a fault.

    Raises ``ValueError`` naming what is wrong with ``waves``.
    """
    if waves is None:
        return VerilatedBackend(config)
    if trigger := parse_trigger(waves):
        trigger[0].parent.mkdir(parents=True, exist_ok=True)
        return TriggeredWaves(VerilatedBackend(config, trace=trigger[0].suffix[1:]), *trigger)
    file, window = parse_window(waves)
    file.parent.mkdir(parents=True, exist_ok=True)
    backend = VerilatedBackend(config, trace=file.suffix[1:])
    backend.waves(file, *window)
    return backend


def parse_window(text: str) -> tuple[Path, tuple[int, int]]:
    """The file and the cycles [from, to) of "FILE[:FROM-TO]"."""
    found = re.fullmatch(r"(.+?\.(?:vcd|fst))(?::(\d+)-(\d+))?", text)
    if not found:
        raise ValueError(f"waves={text!r} must be FILE.vcd or FILE.fst, optionally with a window of cycles, as run.fst:1000-2000, "
                         "or a trigger, as run.fst:kernel=3+500 or run.fst:fault")
    first, last = int(found[2] or 0), int(found[3] or 2**62)
    if first >= last:
        raise ValueError(f"waves={text!r}: the window {first}-{last} is empty")
    return Path(found[1]), (first, last)
