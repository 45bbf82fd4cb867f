"""A device with data that must survive, and everything that can go wrong with a launch, done to it at random.

    python -m tests.driver.soak [--size tiny_soak|small] [--rounds 1000] [--seed 1]

Prints a line every 25 rounds and, at the end, how often each kind of event came.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import random
import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from coe_app.kernels import copy_kernel
from compiler.fabric.kernel import KernelBuilder
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, Segment, StoreProgram, Tier
from hw.common.program import field_position
from hw.config import RDUConfig, preset
from hw.host.instructions import Opcode
from hw.host.registers import REGISTERS, Access
from hw.pmu.program import Inject
from hw.pmu.recipes import stage_buffer
from hw.programs import unit_program_of
from sim.device import VerilatedBackend, channel_index
from sim.dram.device import inject
from sw_driver.device import DDR, HBM, SEGMENT_OF_TIER, BusError, Device, DeviceError, DeviceFault, DeviceHang, DeviceTimeout
from sw_driver.kernel import Kernel
from sw_driver.memory import Buffer
from sw_driver.schedule import Schedule

TINY = preset("tiny")
SIZES: dict[str, RDUConfig] = {
    # One channel a tier, so that all of memory can be compared after every round; SECDED in every memory.
    "tiny_soak": dataclasses.replace(TINY, name="tiny_soak", **{part: dataclasses.replace(getattr(TINY, part), ecc=True)
                                                               for part in ("pmu", "hbm", "ddr")}),
    "small": preset("small"),
}
VECTORS, COUNT = 8, 5            # of a buffer kernel: this many vectors to a buffer, and so many buffers
COPIED = 40                      # vectors of a copy
EDGE = 4096                      # bytes at the end of HBM where a store that runs out of range may begin
MASK = (1 << 32) - 1


def buffer_kernel(config: RDUConfig, name: str, row: int, column: int) -> Kernel:
    """HBM -> PMU -> HBM in group 0. Arguments: ``source``, ``target``, ``loaded``, the vectors that come of those that the
    store wants; with ECC ``flips``: bits turned over in vector 21."""
    builder = KernelBuilder(config, name)
    loops = (Loop(VECTORS * COUNT, config.beat_bytes),)
    load = builder.agcu(0, AGCUProgram(loads=(LoadProgram(loops=loops),)))
    store = builder.agcu(1, AGCUProgram(stores=(StoreProgram(loops=loops),)))
    program = stage_buffer(config.pmu, vectors=VECTORS, count=COUNT)
    if config.pmu.ecc:
        program = dataclasses.replace(program, inject=Inject(access=21, half_lane=3, flips=0))
    pmu = builder.pmu(row, column, program)
    builder.vector(load.out(0), pmu.input(0))
    builder.vector(pmu.out(0), store.input(0))
    builder.argument("source", load.field("load0.base"))
    builder.argument("target", store.field("store0.base"))
    builder.argument("loaded", load.field("load0.bounds[0]"))
    if config.pmu.ecc:
        builder.argument("flips", pmu.field("ecc.flips"))
    return builder.build()


class Soak:
    """``disturb`` does something to the device; ``recover`` resets it, and raises AssertionError unless two kernels then give
    right results and no byte of memory has changed that had no reason to.

    Data: ``values`` in DDR at ``source`` (the copy's) and in HBM at ``staged`` (the buffer kernels'); the kernels write
    ``target`` and ``passed``. ``free_to_change``: other pieces of HBM that a round may write.
    """

    def __init__(self, device: Device, seed: int):
        self.device, self.config, self.rng = device, device.config, random.Random(seed)
        device.stall_cycles = 2000
        config, beat, numbers = self.config, self.config.beat_bytes, np.random.default_rng(seed)
        self.copy = copy_kernel(config)
        self.pair = [buffer_kernel(config, "even", 0, 1), buffer_kernel(config, "odd", 1, 0)]
        self.values = numbers.integers(0, 256, COPIED * beat, np.uint8)
        self.guards = [(device.upload(tier, guard), guard) for tier in (HBM, DDR) for guard in [numbers.integers(0, 256, 4096, np.uint8)]]
        self.source, self.staged = device.upload(DDR, self.values), device.upload(HBM, self.values)
        self.target, self.passed = (device.allocate(HBM, self.values.nbytes) for _ in range(2))
        self.scratch = device.allocate(HBM, 1024)
        self.edge = Buffer(HBM, config.hbm.bytes - EDGE, EDGE)
        self.free_to_change = [self.target, self.passed, self.scratch, self.edge]
        self.whole = config.hbm.channels == config.ddr.channels == 1
        if self.whole:
            for tier in (HBM, DDR):
                room = device.memory[tier]
                place = Buffer(tier, room.capacity // 4, room.capacity // 2)      # most of what nobody uses
                device.backend.mem_write(tier, place.address, numbers.integers(0, 256, place.size, np.uint8))
        self.before: dict[int, np.ndarray] = {}
        self.seen: Counter[str] = Counter()
        self.compare = True

    # One round ------------------------------------------------------------------------------------------------------------
    def round(self) -> None:
        kind = self.rng.choice([kind for kind in KINDS if self.config.pmu.ecc or "error" not in kind])
        self.seen[kind] += 1
        self.compare = True
        self.before = {tier: self.memory(tier).copy() for tier in (HBM, DDR)} if self.whole else {}
        try:
            KINDS[kind](self)
            self.recover()
        except BaseException as error:
            error.add_note(f"round {self.seen.total()}: {kind}")
            raise

    def memory(self, tier: int) -> np.ndarray:
        return self.device.backend.storage(("hbm", "ddr")[tier], 0)

    def recover(self) -> None:
        device, (even_or_odd, arguments) = self.device, self.buffer_launch()
        device.reset()
        for buffer in (self.target, self.passed):
            device.write(buffer, np.zeros(buffer.size, np.uint8))
        assert device.launch(self.copy, max_cycles=20_000, **self.copy_arguments()).cycles < 20_000
        assert device.launch(even_or_odd, max_cycles=20_000, **arguments).cycles < 20_000
        for buffer, values in ((self.target, self.values), (self.passed, self.values), (self.source, self.values),
                               (self.staged, self.values), *self.guards):
            np.testing.assert_array_equal(device.read(buffer, np.uint8, values.shape), values)
        if self.compare:
            self.unchanged()

    def unchanged(self) -> None:
        """No byte of memory differs from before the round, but where the round, or the driver, may write."""
        resident = [buffer for _, buffer in self.device.resident]
        for tier, before in self.before.items():
            changed = self.memory(tier) != before
            for buffer in (buffer for buffer in [*self.free_to_change, *resident] if buffer.tier == tier):
                changed[buffer.address:buffer.address + buffer.size] = False
            assert not changed.any(), f"tier {tier}: bytes changed at {np.flatnonzero(changed)[:8].tolist()}"
        for words, buffer in self.device.resident:
            assert self.device.read(buffer, np.uint8, (buffer.size,)).tobytes() == words, "an image or a schedule has changed"

    # Parts ----------------------------------------------------------------------------------------------------------------
    def copy_arguments(self, **changes: int) -> dict[str, int]:
        return {"source": self.source.address, "destination": self.target.address, "vectors": COPIED} | changes

    def buffer_launch(self, **changes: int) -> tuple[Kernel, dict[str, int]]:
        arguments = {"source": self.staged.address, "target": self.passed.address, "loaded": VECTORS * COUNT}
        return self.rng.choice(self.pair), arguments | ({"flips": 0} if self.config.pmu.ecc else {}) | changes

    def start(self, kernel: Kernel, arguments: dict[str, int]) -> None:
        self.device.load(kernel)
        self.device.set_arguments(kernel, **arguments)
        self.device.execute(kernel)

    def some_launch(self) -> tuple[Kernel, dict[str, int]]:
        return self.rng.choice([(self.copy, self.copy_arguments()), self.buffer_launch()])

    def faulting_copy(self) -> dict[str, int]:
        """Arguments of a copy whose load or store leaves its segment after some vectors."""
        before = self.rng.randrange(COPIED) * self.config.beat_bytes
        return self.copy_arguments(**self.rng.choice([{"source": self.config.ddr.bytes - before},
                                                      {"destination": self.config.hbm.bytes - before}]))

    def faults(self, cause: str, kernel: Kernel, arguments: dict[str, int]) -> None:
        try:
            self.device.launch(kernel, **arguments)
        except DeviceFault as fault:
            assert f": {cause} at " in str(fault), fault
        else:
            raise AssertionError(f"no fault {cause}")

    def segment_of_copier(self, segment: int, words: list[int]) -> None:
        """Replaces an entry in the segment table of the AGCU that copies."""
        unit = next(unit for unit in self.copy.programs if unit >= self.config.agcu_id(0))
        table, _ = field_position(unit_program_of(self.config, "agcu"), "core.segments")
        self.device.write_register("ARGUMENT_SELECT", unit=unit, word=table // 32 + 2 * segment)
        for word in words:
            self.device.write_register("ARGUMENT", word)

    def two_in_turn(self, count: int, last: int | None = None) -> Schedule:
        """Both buffer kernels in a loop, each loaded into the shadows beside the other; after it a store to ``last``."""
        schedule, launch = Schedule("two in turn"), self.buffer_launch()[1]
        with schedule.loop(count):
            for kernel in self.pair:
                schedule.launch(kernel, **launch)
        if last is not None:
            schedule.launch(self.pair[0], **launch | {"target": last})
            with schedule.loop(10):
                schedule.launch(self.pair[1], **launch)
        return schedule

    def expect(self, kind: type[DeviceError], action: Callable[[], object]) -> None:
        try:
            action()
        except kind:
            return
        raise AssertionError(f"no {kind.__name__}")

    # Stops at any moment ----------------------------------------------------------------------------------------------------
    def do_kill(self) -> None:
        self.start(*self.some_launch())
        self.device.backend.run(self.rng.randrange(1, 300))

    def do_kill_both_groups(self) -> None:
        self.start(self.copy, self.copy_arguments())
        if self.config.agcus_per_edge > 1:               # else the kernels share an AGCU
            self.start(*self.buffer_launch())
        self.device.backend.run(self.rng.randrange(1, 300))

    def do_kill_program_load(self) -> None:
        image = self.device._resident(self.rng.choice(self.pair).image())
        self.device.write_register("IMAGE_LO", image.address)
        self.device.write_register("IMAGE_HI", address=0, tier=image.tier)
        self.device.write_register("IMAGE_WORDS", words=image.size // 4)
        self.device.write_register("LOAD", after=0, shadow=self.rng.randrange(2))
        self.device.backend.run(self.rng.randrange(1, 120))

    def do_timeout(self) -> None:
        kernel, arguments = self.some_launch()
        self.start(kernel, arguments)
        self.expect(DeviceTimeout, lambda: self.device.wait(kernel, self.rng.randrange(1, 60)))

    def do_hang(self) -> None:
        kernel, arguments = self.buffer_launch(loaded=self.rng.randrange(1, VECTORS * COUNT))
        self.expect(DeviceHang, lambda: self.device.launch(kernel, **arguments))

    def do_restart(self) -> None:
        """Resets of an idle device, and of one that is being reset."""
        for _ in range(self.rng.randrange(1, 5)):
            self.device.write_register("TILE_RESET", 1)
            self.device.backend.run(self.rng.randrange(40))

    # Illegal accesses -------------------------------------------------------------------------------------------------------
    def do_out_of_range(self) -> None:
        self.faults("OUT_OF_RANGE", self.copy, self.faulting_copy())

    def do_segment_missing(self) -> None:
        self.segment_of_copier(self.rng.randrange(2), [0, 0])
        self.faults("SEGMENT_MISS", self.copy, self.copy_arguments())

    def do_wrong_rights(self) -> None:
        tier, right = self.rng.choice([(DDR, "read"), (HBM, "write")])
        size = (self.config.hbm, self.config.ddr)[tier].bytes
        self.segment_of_copier(SEGMENT_OF_TIER[tier], Segment(base=0, size=size, tier=Tier(tier), **{right: False}).words())
        self.faults("RIGHTS", self.copy, self.copy_arguments())

    def do_misaligned(self) -> None:
        name = self.rng.choice(["source", "destination"])
        arguments = self.copy_arguments()
        self.faults("MISALIGNED", self.copy, arguments | {name: arguments[name] + self.rng.randrange(1, self.config.beat_bytes)})

    def do_no_memory_there(self) -> None:
        tier = self.rng.choice([DDR, HBM])
        size = (self.config.hbm, self.config.ddr)[tier].bytes
        self.segment_of_copier(SEGMENT_OF_TIER[tier], Segment(base=size, size=size, tier=Tier(tier)).words())
        self.faults("DECODE_ERROR", self.copy, self.copy_arguments())

    # Bits that turn over ----------------------------------------------------------------------------------------------------
    def flip(self, buffer: Buffer, bits: int) -> None:
        """Turns over ``bits`` bits of one 64-bit word of a buffer."""
        word, tier = self.rng.randrange(buffer.size // 8), ("hbm", "ddr")[buffer.tier]
        for place in self.rng.sample(range(64), bits):
            inject(self.device.backend.lib, channel_index(self.config, tier, 0), buffer.address + 8 * word + place // 8, place % 8)

    def do_memory_error(self) -> None:
        (kernel, arguments), buffer = self.rng.choice([((self.copy, self.copy_arguments()), self.source),
                                                       (self.buffer_launch(), self.staged)])
        self.flip(buffer, 2)
        self.faults("UNCORRECTABLE", kernel, arguments)
        self.device.reset()
        try:
            self.device.read(buffer, np.uint8, self.values.shape)
        except BusError as error:
            assert "SLVERR" in str(error)
        else:
            raise AssertionError("the host reads a damaged word as if it were none")
        self.device.write(buffer, self.values)

    def do_corrected_memory_error(self) -> None:
        self.flip(self.source, 1)
        self.device.launch(self.copy, **self.copy_arguments())
        np.testing.assert_array_equal(self.device.read(self.target, np.uint8, self.values.shape), self.values)
        self.device.write(self.source, self.values)

    def do_scratchpad_error(self) -> None:
        self.faults("UNCORRECTABLE", *self.buffer_launch(flips=0b101))

    # Shadow loads -----------------------------------------------------------------------------------------------------------
    def do_fault_beside_shadow_load(self) -> None:
        self.start(self.copy, self.faulting_copy())

        def prepare_and_wait():
            self.device.prepare(self.rng.choice(self.pair))
            self.device.wait(self.copy)
        self.expect(DeviceFault, prepare_and_wait)

    def do_kill_after_shadow_load(self) -> None:
        self.start(self.copy, self.copy_arguments())
        self.device.prepare(self.rng.choice(self.pair))
        self.device.backend.run(self.rng.randrange(1, 50))

    # Schedules --------------------------------------------------------------------------------------------------------------
    def do_schedule_fault(self) -> None:
        schedule = Schedule("faulty")
        with schedule.loop(50) as loop:
            schedule.launch(self.copy, **self.copy_arguments(
                destination=loop.index * (self.config.hbm.bytes - self.target.address) + self.target.address))
        self.expect(DeviceFault, lambda: self.device.run_schedule(schedule))

    def do_schedule_fault_beside_shadow_loads(self) -> None:
        last = self.config.hbm.bytes - self.rng.randrange(COPIED) * self.config.beat_bytes
        self.expect(DeviceFault, lambda: self.device.run_schedule(self.two_in_turn(self.rng.randrange(1, 6), last)))

    def do_schedule_killed(self) -> None:
        with contextlib.suppress(DeviceTimeout):
            self.device.run_schedule(self.two_in_turn(self.rng.randrange(1, 40)), max_cycles=self.rng.randrange(10, 3000))

    def do_schedule_hangs(self) -> None:
        schedule, kind = Schedule("stuck"), self.rng.randrange(4)
        kernel, arguments = self.buffer_launch(**{"loaded": 3} if kind == 0 else {})
        schedule.launch(kernel, **arguments)
        match kind:
            case 1:
                schedule.wait_memory(self.staged, "==", 0x1234_5678)
            case 2:
                schedule.wait_token(0)
            case 3:
                schedule.wait_counter("agcu0", "busy", "<", 1)
        self.expect(DeviceHang, lambda: self.device.run_schedule(schedule))

    def do_damaged_schedule(self) -> None:
        """Random words, but nothing that writes memory."""
        opcodes = [opcode for opcode in range(16) if opcode not in (Opcode.WRITE, Opcode.EXECUTE)]
        words = [self.rng.randrange(1 << 32) & ~0xF | self.rng.choice(opcodes) for _ in range(40)]
        self.device.write(self.scratch, np.array(words, np.uint32))
        self.device._start_schedule(self.scratch)
        self.device.backend.run(self.rng.randrange(50, 2000))

    def do_damaged_image(self) -> None:
        self.device.write(self.scratch, np.array([self.rng.randrange(1 << 32) for _ in range(60)], np.uint32))
        with contextlib.suppress(DeviceError):
            self.device._play_from(self.scratch, 0, 2000, shadow=self.rng.randrange(2))

    def do_registers(self) -> None:
        """Random writes, but not to the map of memory, nor to what ends the round, nor schedules (other kinds do that). A changed
        program that is started may write anywhere, as it should: one or the other."""
        kept = ("INTERLEAVE", "TILE_RESET", "SCHEDULE", *self.rng.choice([("EXECUTE",), ("ARGUMENT", "LOAD")]))
        for _ in range(12):
            item = self.rng.choice([item for item in REGISTERS if item.access is not Access.RO and item.name not in kept])
            try:
                self.device.backend.reg_write(item.address, self.rng.choice([0, 1, MASK, self.rng.randrange(1 << 32)]))
            except BusError as refused:                  # the queue may be full
                assert "SLVERR" in str(refused)


# Everything that can be done to a device, by name; those with "error" need ECC.
KINDS: dict[str, Callable[[Soak], None]] = {name.removeprefix("do_").replace("_", " "): action for name, action in vars(Soak).items()
                                            if name.startswith("do_")}


def run(size: str, rounds: int, seed: int, report=None) -> Counter:
    """``rounds`` rounds; returns how often each kind came. Raises if the device was not whole after one."""
    with Device(VerilatedBackend(SIZES[size])) as device:
        soak, begin, free = Soak(device, seed), time.monotonic(), None
        for number in range(1, rounds + 1):
            soak.round()
            if number == 200:
                free = device.memory[HBM].free_bytes
            if report and (number % 25 == 0 or number == rounds):
                report(f"{number} of {rounds} rounds, {device.backend.cycles:,} cycles, {time.monotonic() - begin:.0f} s")
        assert free is None or free - device.memory[HBM].free_bytes < 64 << 10, "buffers pile up"
        return soak.seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="tiny_soak")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    seen = run(options.size, options.rounds, options.seed, lambda text: print(text, flush=True))
    print(*(f"{count:5}  {kind}" for kind, count in sorted(seen.items())), sep="\n")


if __name__ == "__main__":
    main()
