"""Waveforms of a whole socket: the credit protocol of its links, read back from VCD with vcdvcd and from FST with pywellen."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from vcdvcd import VCDVCD

from coe_app.kernels import copy_kernel
from hw.config import preset
from sim.device import VerilatedBackend
from sim.waves import Waves
from sw_driver.device import DDR, HBM, Device

pytestmark = pytest.mark.long

CYCLES = 3000
Signal = Callable[[int], int]            # its settled value in a cycle


def signals_of(file: Path) -> tuple[Callable[[str], Signal], range]:
    """A reader of signals by name, and the cycles of the dump, by the library for the file's format."""
    if file.suffix == ".vcd":
        dump = VCDVCD(str(file))
        full = {name.rpartition("[")[0] or name: name for name in dump.references_to_ids}
        return (lambda name: lambda cycle: int(dump[full[name]][2 * cycle], 2)), range(dump.begintime // 2, dump.endtime // 2)
    waves = Waves(file)

    def signal(name: str) -> Signal:
        values = waves.values(name)
        return lambda cycle: values[cycle - waves.start]
    return signal, range(waves.start, waves.end)


def credits_hold(signal: Callable[[str], Signal], link: str, way: str, depth: int, cycles: range) -> int:
    """Checks one link at a unit in every cycle: as many packets under way as credits allow, none returned unspent; returns packets."""
    valid, label, credit = (signal(f"{link}.{way}__{part}") for part in ("valid", "label", "credit"))
    used, packets = {}, 0
    for cycle in cycles:
        returned = credit(cycle)
        if valid(cycle):
            where = label(cycle)
            used[where], packets = used.get(where, 0) + 1, packets + 1
            assert used[where] <= depth, f"cycle {cycle}: label {where} of {link} sends its packet {used[where]} with {depth} credits"
        for where in range(returned.bit_length()):
            if returned >> where & 1:
                used[where] = used.get(where, 0) - 1
                assert used[where] >= 0, f"cycle {cycle}: label {where} of {link} returns a credit that was not spent"
    return packets


@pytest.mark.parametrize("form", ["vcd", "fst"])
def test_links_of_a_socket_keep_to_their_credits(form, tmp_path):
    config = preset("tiny")
    file = tmp_path / f"socket.{form}"
    with Device(VerilatedBackend(config, trace=form)) as device:
        values = np.arange(64 * config.lanes, dtype=np.uint32)
        source, target = device.upload(DDR, values), device.allocate(HBM, values.nbytes)
        kernel = copy_kernel(config)
        device.load(kernel)
        start = device.cycles
        device.backend.waves(file, device.backend.cycles, device.backend.cycles + CYCLES)
        device.launch(kernel, source=source.address, destination=target.address, vectors=64)
        assert (device.read(target, np.uint32, values.shape) == values).all() and device.cycles > start
        device.backend.run(CYCLES)
        device.backend.end_waves()
    signal, cycles = signals_of(file)
    assert len(cycles) in (CYCLES - 1, CYCLES)
    unit = f"agcu_{len(config.agcu_ports) - 1}"
    assert credits_hold(signal, unit, "vector_out__0", config.rdn.buffer_depth, cycles) == 64
    assert credits_hold(signal, unit, "vector_in__0", config.rdn.buffer_depth, cycles) == 64
    # The check bites: with one credit fewer the same run breaks it.
    with pytest.raises(AssertionError, match="sends its packet 2 with 1 credits"):
        credits_hold(signal, unit, "vector_out__0", 1, cycles)
