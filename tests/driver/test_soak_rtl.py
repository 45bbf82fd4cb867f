"""Kills, faults, timeouts, damaged schedules and random register writes on the simulated socket: it is usable after each."""

import contextlib
import random

import numpy as np
import pytest

from coe_app.kernels import copy_kernel
from hw.config import preset
from hw.host.registers import REGISTERS, Access
from sim.device import VerilatedBackend
from sw_driver.device import DDR, HBM, Device, DeviceError, DeviceFault, DeviceTimeout
from sw_driver.schedule import Schedule

CONFIG = preset("small")
BEAT = CONFIG.beat_bytes
VECTORS = 100
WRITE = 6                        # opcode of WRITE: the one instruction of a damaged schedule that could change memory
# Registers that random writes leave alone: the map of memory, the reset that ends every round, schedules (damaged ones are a kind).
KEPT = ("INTERLEAVE", "TILE_RESET", "SCHEDULE")
KINDS = ("kill", "fault", "timeout", "schedule killed", "schedule fault", "damaged schedule", "damaged image", "registers")


class Round:
    """A device with data that must survive, and a copy that must work, after everything that is done to it."""

    def __init__(self, device: Device, seed: int):
        self.device, self.rng = device, random.Random(seed)
        self.copy = copy_kernel(CONFIG)
        random_bytes = np.random.default_rng(seed)
        self.values = random_bytes.integers(0, 256, VECTORS * BEAT, np.uint8)
        self.guards = [(device.upload(tier, guard), guard) for tier in (HBM, DDR)
                       for guard in [random_bytes.integers(0, 256, 2048, np.uint8)]]
        self.source, self.target = device.upload(DDR, self.values), device.allocate(HBM, self.values.nbytes)
        self.scratch = device.allocate(HBM, 1024)
        self.arguments = {"source": self.source.address, "destination": self.target.address, "vectors": VECTORS}

    def start(self, **changes: int) -> None:
        self.device.load(self.copy)
        self.device.set_arguments(self.copy, **self.arguments | changes)
        self.device.execute(self.copy)

    def disturb(self, kind: str) -> None:
        device, rng = self.device, self.rng
        match kind:
            case "kill":
                self.start()
                device.backend.run(rng.randrange(1, 200))
            case "fault":
                with pytest.raises(DeviceFault, match="OUT_OF_RANGE"):
                    device.launch(self.copy, **self.arguments | {rng.choice(["source", "destination"]): CONFIG.ddr.bytes - BEAT})
            case "timeout":
                self.start()
                with pytest.raises(DeviceTimeout, match="kernel 'copy' has not finished in"):
                    device.wait(self.copy, rng.randrange(1, 60))
            case "schedule killed" | "schedule fault":
                schedule = Schedule(kind)
                with schedule.loop(50) as loop:
                    step = loop.index * (CONFIG.hbm.bytes // 8 if "fault" in kind else 0)
                    schedule.launch(self.copy, **self.arguments | {"destination": step + self.target.address})
                with pytest.raises(DeviceFault if "fault" in kind else DeviceTimeout):
                    device.run_schedule(schedule, max_cycles=50_000 if "fault" in kind else rng.randrange(10, 900))
            case "damaged schedule":
                words = [rng.randrange(1 << 32) & ~0xF | rng.choice([op for op in range(16) if op != WRITE]) for _ in range(40)]
                device.write(self.scratch, np.array(words, np.uint32))
                device._start_schedule(self.scratch)
                device.backend.run(rng.randrange(50, 2000))
            case "damaged image":
                device.write(self.scratch, np.array([rng.randrange(1 << 32) for _ in range(60)], np.uint32))
                with contextlib.suppress(DeviceError):
                    device._play_from(self.scratch, 0, 2000, shadow=rng.randrange(2))
            case "registers":
                # A changed program that is started may write anywhere, as it should: one or the other.
                kept = KEPT + rng.choice([("EXECUTE",), ("ARGUMENT", "LOAD")])
                for _ in range(12):
                    item = rng.choice([item for item in REGISTERS if item.access is not Access.RO and item.name not in kept])
                    try:
                        device.backend.reg_write(item.address, rng.choice([0, 1, 0xFFFF_FFFF, rng.randrange(1 << 32)]))
                    except AssertionError as refused:            # the queue may be full
                        assert "SLVERR" in str(refused)

    def recover(self) -> None:
        device = self.device
        device.reset()
        device.write(self.target, np.zeros_like(self.values))
        run = device.launch(self.copy, max_cycles=20_000, **self.arguments)
        assert run.cycles < 20_000
        np.testing.assert_array_equal(device.read(self.target, np.uint8, self.values.shape), self.values)
        for buffer, guard in self.guards:
            np.testing.assert_array_equal(device.read(buffer, np.uint8, guard.shape), guard)


@pytest.mark.long
@pytest.mark.parametrize("rounds", [1000])
def test_usable_after_every_disturbance(rounds):
    with Device(VerilatedBackend(CONFIG)) as device:
        soak, free = Round(device, 1), None
        for number in range(rounds):
            kind = soak.rng.choice(KINDS)
            try:
                soak.disturb(kind)
                soak.recover()
            except BaseException as error:
                error.add_note(f"round {number}: {kind}")
                raise
            if number == 200:
                free = device.memory[HBM].free_bytes
        assert free - device.memory[HBM].free_bytes < 64 << 10, "buffers pile up"
